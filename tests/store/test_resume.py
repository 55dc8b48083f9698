"""Resume files, intact and damaged."""

import errno

import numpy as np
import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.store.resume import ResumeFiles
from featurepaths.training.state import TrainingState

ARRAYS = {"sums/a": np.random.default_rng(0).normal(size=(7, 300)), "count": np.array(3)}  # one larger than 4,096 bytes


def contents(arrays):
    return {name: (values.dtype, values.shape, values.tobytes()) for name, values in arrays.items()}


def test_progress_saved_arrays_are_loaded(tmp_path):
    progress = ResumeFiles(tmp_path / "folder/artefact.h5", "key")
    progress.save_arrays(ARRAYS, "a.npz")
    assert contents(progress.load_arrays("a.npz")) == contents(ARRAYS)
    assert progress.load_arrays("b.npz") == {}


def test_progress_with_flipped_bit_is_discarded_or_unchanged(tmp_path, capsys):
    """In array headers and the zip directory, NumPy and zipfile raise errors of many types."""
    progress = ResumeFiles(tmp_path / "artefact.h5", "key")
    progress.save_arrays(ARRAYS, "a.npz")
    path = progress.path / "a.npz"
    whole = path.read_bytes()
    values = whole.index(ARRAYS["sums/a"].tobytes())
    places = [*range(values + 64), *range(values + ARRAYS["sums/a"].nbytes - 64, len(whole))]
    refused, random = 0, np.random.default_rng(1)
    capsys.readouterr()
    for place in places:
        bit = random.integers(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        arrays = progress.load_arrays("a.npz")
        log = capsys.readouterr().out
        assert contents(arrays) == ({} if "cannot be read" in log else contents(ARRAYS)), f"bit {bit} of {place}"
        refused += not arrays
    assert refused > 0.5 * len(places)


def test_progress_truncated_or_with_objects_is_discarded(tmp_path):
    progress = ResumeFiles(tmp_path / "artefact.h5", "key")
    progress.save_arrays(ARRAYS, "a.npz")
    path = progress.path / "a.npz"
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert progress.load_arrays("a.npz") == {}
    np.savez(path, a=np.array([{}], dtype=object))
    assert progress.load_arrays("a.npz") == {}


def test_progress_on_full_disk_is_reported(tmp_path, capsys):
    (tmp_path / "folder").write_text("a file in the folder's place")
    ResumeFiles(tmp_path / "folder/artefact.h5", "key").save_arrays(ARRAYS, "a.npz")
    assert "could not be saved" in capsys.readouterr().out


def test_progress_with_system_error_raises(tmp_path, monkeypatch):
    """The file may be intact and hold hours of work."""
    progress = ResumeFiles(tmp_path / "artefact.h5", "key")
    progress.save_arrays(ARRAYS, "a.npz")
    path = progress.path / "a.npz"
    content = path.read_bytes()
    training = ResumeFiles(tmp_path / "a.npz", "key")
    training.path.write_bytes(content)

    def fail(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("featurepaths.store.seal.zipfile.ZipFile", fail)
        with pytest.raises(FeaturePathsError, match=r"a\.npz cannot be read.*Stale"):
            progress.load_arrays("a.npz")
        with pytest.raises(FeaturePathsError, match=r"\.a\.key\.resume cannot be read.*Stale"):
            TrainingState.load(None, training)
    assert path.read_bytes() == content
