"""Passes over streamed features that are stopped and resumed, against passes that are not."""

import numpy as np
import pytest

from featurepaths.paths import stream as streams
from featurepaths.paths.chunks import ClassSums
from featurepaths.paths.collapse import CollapseMeter
from featurepaths.paths.stream import FeatureStream
from featurepaths.store import resume
from featurepaths.store.resume import ResumeFiles
from tests.models import network_and_images

COUNT, CLASSES = 300, 3
NAME = "saved.npz"
LABELS = np.arange(COUNT) % CLASSES


@pytest.fixture(scope="module")
def stream():
    network, images = network_and_images(COUNT, CLASSES)
    return FeatureStream(network, network.layer_names, images, ["mean"])


def sums_of(stream):
    return {key: ClassSums(stream.classes, width) for key, width in stream.widths.items()}


def meters_of(stream):
    chance = np.random.default_rng(0)
    counts = np.bincount(LABELS)
    return {
        key: CollapseMeter(chance.normal(size=(stream.classes, width)), counts) for key, width in stream.widths.items()
    }


def values_of(accumulators):
    """All attributes of accumulators, whether or not they are declared to change."""
    return {(key, name): np.asarray(value).tobytes() for key, accumulator in accumulators.items()
            for name, value in vars(accumulator).items()}  # fmt: skip


def stop_after(blocks):
    asked = iter([False] * (blocks - 1))
    return lambda: next(asked, True)


@pytest.fixture(scope="module", params=[sums_of, meters_of])
def undisturbed(request, stream, tmp_path_factory):
    """The function that creates accumulators, and their attributes after a whole pass."""
    whole = request.param(stream)
    stream.accumulate(whole, LABELS, "test", ResumeFiles(tmp_path_factory.mktemp("whole") / "a.h5", "key"), NAME)
    return request.param, values_of(whole)


@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_a_pass_goes_on_where_it_was_stopped(stream, undisturbed, tmp_path, blocks, capsys):
    make, expected = undisturbed
    saved = ResumeFiles(tmp_path / "folder/a.h5", "key")
    stopped = make(stream)
    stream.accumulate(stopped, LABELS, "test", saved, NAME, stop_after(blocks))
    assert (values_of(stopped) == expected) == (blocks == 5), "what is left after 5 of 5 blocks is nothing"
    resumed = make(stream)
    stream.accumulate(resumed, LABELS, "test", saved, NAME)
    assert f"resumed after {min(blocks * 64, COUNT)} of {COUNT} images" in capsys.readouterr().out
    assert values_of(resumed) == expected


def test_a_killed_pass_goes_on_from_what_it_saved_on_the_way(stream, undisturbed, tmp_path, monkeypatch, capsys):
    make, expected = undisturbed
    saved, rest = ResumeFiles(tmp_path / "a.h5", "key"), []
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 0)
    monkeypatch.setattr(streams, "SHARE_OF_SAVES", np.inf)

    def killed():
        rest.append(None)
        if len(rest) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream.accumulate(make(stream), LABELS, "test", saved, NAME, killed)
    resumed = make(stream)
    stream.accumulate(resumed, LABELS, "test", saved, NAME)
    assert f"resumed after {3 * 64} of" in capsys.readouterr().out
    assert values_of(resumed) == expected


def test_what_is_damaged_is_not_taken_up(stream, undisturbed, tmp_path, capsys):
    make, expected = undisturbed
    saved = ResumeFiles(tmp_path / "a.h5", "key")
    stream.accumulate(make(stream), LABELS, "test", saved, NAME, stop_after(2))
    file = saved.path / NAME
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    resumed = make(stream)
    stream.accumulate(resumed, LABELS, "test", saved, NAME)
    output = capsys.readouterr().out
    assert "saved.npz cannot be read" in output
    assert "resumed" not in output
    assert values_of(resumed) == expected


def test_what_is_of_other_features_or_blocks_is_not_taken_up(stream, tmp_path, capsys):
    saved = ResumeFiles(tmp_path / "a.h5", "key")
    subset = dict(list(sums_of(stream).items())[:2])
    stream.accumulate(subset, LABELS, "test", saved, NAME, stop_after(2))
    whole = sums_of(stream)
    stream.accumulate(whole, LABELS, "test", saved, NAME)
    assert "resumed" not in capsys.readouterr().out

    fewer = FeatureStream(stream.network, stream.layers, stream.images[:100], ["mean"])
    fewer.accumulate(sums_of(fewer), LABELS[:100], "test", saved, NAME)
    assert "resumed" not in capsys.readouterr().out


def test_a_full_disk_does_not_end_the_pass(stream, undisturbed, tmp_path, capsys):
    make, expected = undisturbed
    (tmp_path / "folder").write_text("a file in the folder's place")
    whole = make(stream)
    stream.accumulate(whole, LABELS, "test", ResumeFiles(tmp_path / "folder/a.h5", "key"), NAME)
    assert values_of(whole) == expected
    assert "could not be saved" in capsys.readouterr().out
