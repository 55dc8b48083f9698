"""Kinds of files: each condition on files that meet it, and the first kind that applies."""

import tarfile
import zipfile

import pytest

from featurepaths.store.file_kinds import kind_of


@pytest.fixture
def files(tmp_path):
    """A file or folder by name."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.CSV").write_text("a,b")
    (tmp_path / "empty").touch()
    (tmp_path / "plain.pkl").write_bytes(b"\x80\x02ctorch.nn Linear")
    with zipfile.ZipFile(tmp_path / "saved.pt", "w") as archive:
        archive.writestr("saved/data.pkl", b"\x80\x02ctorch.nn Linear")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a/1.PNG", b"")
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(tmp_path / "empty")
    return tmp_path


@pytest.mark.parametrize(
    ("condition", "applies_to"),
    [
        ({"start": "\x80"}, {"plain.pkl"}),
        ({"start": "PK"}, {"saved.pt", "images.zip"}),
        ({"pickled": "ctorch.nn"}, {"plain.pkl", "saved.pt"}),
        ({"name": r"\.csv$"}, {"text.CSV"}),
        ({"member": r"\.png$"}, {"images.zip"}),
        ({"tar": True}, {"archive.tar"}),
        ({"folder": True}, {"folder"}),
        ({"folder": False}, {"text.CSV", "empty", "plain.pkl", "saved.pt", "images.zip", "archive.tar"}),
    ],
)
def test_kind_applies_by_its_condition(files, condition, applies_to):
    kinds = [{**condition, "is": "known"}]
    assert {path.name for path in files.iterdir() if kind_of(path, kinds)} == applies_to


def test_first_kind_that_applies_names_what_to_do_and_the_path(files):
    path = files / "text.CSV"
    kinds = [{"start": "x", "is": "other"}, {"start": "a", "is": "this", "do": "Do it.", "code": "f(PATH)"},
             {"name": "csv", "is": "third"}]  # fmt: skip
    assert kind_of(path, kinds) == f"this. Do it. In Python:\nf({str(path)!r})"
