import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurepaths.runtime.blocks import blocks
from featurepaths.store import resume
from featurepaths.store.resume import ResumeFiles


class Attack:
    """Records the blocks that it attacks, and raises after `ends_after` blocks."""

    def __init__(self, ends_after=None):
        self.ends_after, self.attacked = ends_after, []

    def __call__(self, rows_of_blocks):
        for rows in rows_of_blocks:
            if len(self.attacked) == self.ends_after:
                raise KeyboardInterrupt
            self.attacked.append(rows)
            images = np.arange(rows.start, rows.stop, dtype=np.float32)
            yield rows, {"loss": images**2, "max-loss/adversarial": np.repeat(images[:, None], 3, axis=1)}


def progress_in(folder):
    return ResumeFiles(folder / "artefact.h5", "key")


def whole(blocks_of_records):
    return [(rows, {name: values.tolist() for name, values in records.items()}) for rows, records in blocks_of_records]


@settings(max_examples=50, deadline=None)
@given(ends=st.lists(st.integers(0, 8), max_size=4), count=st.integers(1, 500), seconds=st.sampled_from([0, 1000]))
def test_blocks_interrupted_repeatedly_are_each_attacked_once(tmp_path_factory, ends, count, seconds):
    folder = tmp_path_factory.mktemp("attack")
    undisturbed = whole(Attack()(blocks(count)))
    done = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "SECONDS_BETWEEN_SAVES", seconds)
        for ends_after in ends:
            attack = Attack(ends_after)
            try:
                results = whole(resume.resuming(attack, blocks(count), progress_in(folder)))
            except KeyboardInterrupt:
                done += attack.attacked
            else:
                assert results == undisturbed
                done += attack.attacked if seconds == 0 else []
        attack = Attack()
        assert whole(resume.resuming(attack, blocks(count), progress_in(folder))) == undisturbed
    assert done + attack.attacked == blocks(count)


def test_blocks_on_full_disk_are_attacked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 0)
    progress_in(tmp_path).path.write_text("a file in the folder's place")
    assert whole(resume.resuming(Attack(), blocks(200), progress_in(tmp_path))) == whole(Attack()(blocks(200)))
    assert "could not be saved" in capsys.readouterr().out


def test_blocks_above_size_limit_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "UNSAVED_BYTES", 3000)  # three blocks of 64 images, 16 bytes each
    results = resume.resuming(Attack(), blocks(640), progress_in(tmp_path))
    for _ in range(7):
        next(results)
    saved = sorted(int(path.stem) for path in progress_in(tmp_path).path.iterdir())
    assert saved == [0, 192]


@pytest.mark.parametrize("spoil", [lambda content: content[:-100], lambda content: b""])
def test_blocks_in_damaged_file_are_attacked_again(tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 0)
    with pytest.raises(KeyboardInterrupt):
        whole(resume.resuming(Attack(3), blocks(200), progress_in(tmp_path)))
    file = progress_in(tmp_path).path / "64.npz"
    file.write_bytes(spoil(file.read_bytes()))
    attack = Attack()
    assert whole(resume.resuming(attack, blocks(200), progress_in(tmp_path))) == whole(Attack()(blocks(200)))
    assert attack.attacked == blocks(200)[1:]
