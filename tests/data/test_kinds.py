"""Files of data as other tools write them: read as they were written, or refused for what they are."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from featurepaths.attacks.precomputed.files import open_adversarial
from featurepaths.data.array_formats import array_in, open_arrays
from featurepaths.data.sources import open_source
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import fingerprint_inputs
from featurepaths.stages.data import check_unchanged
from tests.data.splits import everything
from tests.data_kinds import ADVERSARIAL, ADVERSARIAL_KINDS, END, INDEX, KINDS, MARK, tables
from tests.experiments import ROOT, small_experiment


def read(section):
    """Return images and labels of each part, and the names, as plan and stage read the section `data`."""
    experiment = read_experiment(small_experiment("kinds", data=section))
    check_unchanged(experiment.data, fingerprint_inputs(experiment).data)
    with ThreadPoolExecutor(1) as pool, open_source(experiment.data, Path("results"), pool) as (parts, names, _):
        return {part: everything(parts, part) for part in parts}, names


@pytest.mark.parametrize("name", KINDS)
def test_data_of_every_kind_are_read_or_refused_for_what_they_are(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    kind = KINDS[name]
    kind.save(kind.parts)
    if kind.outcome == "read":
        parts, _ = read(kind.data)
        for part, (images, labels) in kind.parts.items():
            assert (parts[part][0] == images.reshape(*images.shape[:3], -1)).all()
            assert parts[part][1].tolist() == labels.tolist()
        return
    with pytest.raises(FeaturePathsError, match=re.escape(kind.outcome)) as refused:
        read(kind.data)
    train = kind.data["train"]
    files = train.values() if isinstance(train, dict) else [train]
    assert any(file in str(refused.value) for file in files) or kind.outcome == "first_label: 1"
    assert "safe_globals" not in str(refused.value)
    if kind.converted:
        exec(str(refused.value).partition("In Python:\n")[2], {})
        with open_arrays(kind.converted) as opened:
            images, labels = kind.parts["train"]
            stored = array_in(opened, ("images",))[np.arange(len(images))]
            assert (stored.transpose(0, 2, 3, 1) if name.startswith("pickle") else stored).tolist() == images.tolist()
            if "labels" in opened.names:
                assert array_in(opened, ("labels",))[np.arange(len(labels))].tolist() == labels.tolist()


@pytest.mark.parametrize("name", ADVERSARIAL_KINDS)
def test_adversarial_images_of_every_kind_are_read_or_refused_for_what_they_are(tmp_path, name):
    kind = ADVERSARIAL_KINDS[name]
    path = tmp_path / kind.file
    kind.save(str(path))
    if kind.outcome == "read":
        with open_adversarial(path) as adversarial:
            positions = np.arange(len(ADVERSARIAL)) if kind.all_images else np.sort(INDEX)
            assert adversarial.positions.tolist() == positions.tolist()
            np.testing.assert_array_equal(adversarial[slice(None)], ADVERSARIAL[positions])
    else:
        with (
            pytest.raises(FeaturePathsError, match=rf"(?s)(?=.*{kind.file}).*{re.escape(kind.outcome)}"),
            open_adversarial(path),
        ):
            pass


def test_page_has_tables_of_data():
    text = (ROOT / "docs/data-files.md").read_text()
    rows = [line for line in text.partition(MARK)[2].partition(END)[0].splitlines() if line.startswith("|")]
    assert rows == [line for line in tables().splitlines() if line.startswith("|")]


def test_emnist_letters_have_26_classes_named_by_torchvision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = KINDS["EMNIST's letters"]
    kind.save(kind.parts)
    _, names = read(kind.data)
    assert names == list("abcdefghijklmnopqrstuvwxyz")
