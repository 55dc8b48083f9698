"""Findings of `featurepaths check` on a sample of the images."""

import numpy as np
import pytest
import torch
import yaml

from featurepaths.__main__ import main
from featurepaths.experiment import samples
from featurepaths.experiment.samples import Sample, correct_in
from tests import data_kinds_folders as kinds
from tests.experiments import save_arrays, small_experiment

NETS = """
import torch
from torch import nn


class ByColour(nn.Module):
    '''Right on the images of tests.experiments.save_arrays, whose classes have 190 / classes levels between them.'''

    def __init__(self, classes, turn):
        super().__init__()
        self.body = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.body.weight, 1 / 3)
        self.register_buffer("centres", (torch.arange(classes).roll(turn) * 190 / classes + 30) / 255)

    def forward(self, images):
        return -((self.body(images).mean(dim=(1, 2, 3))[:, None] - self.centres) ** 2)
"""
ARRAYS = {"source": "arrays", "train": "data.npz", "test": "data.npz"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys, **sections):
    """Return the lines that `featurepaths check` prints, and whether it found nothing wrong."""
    with open("mine.yaml", "w") as file:  # noqa: PTH123 (the working directory)
        yaml.safe_dump(small_experiment("mine", **sections), file)
    try:
        main(["check", "mine.yaml"])
    except SystemExit as error:
        return capsys.readouterr().out.splitlines() + str(error.code).splitlines(), False
    return capsys.readouterr().out.splitlines(), True


@pytest.mark.parametrize("name", [name for name in kinds.KINDS if name not in kinds.FACTORIES])
def test_check_reports_what_reading_a_source_reports(name, folder, capsys):
    if name in kinds.PARQUET:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    kind = kinds.KINDS[name]
    kind.write(folder)
    lines, passed = check(capsys, data=kind.data | {"calibration": 0.5})
    text = "\n".join(lines)
    assert passed == (kind.outcome == "read")
    assert kind.outcome == "read" or kind.outcome in text
    output = [line for line in lines if line.startswith(("NOTE     data: ", "WARNING  data: "))]
    assert [kind.said in line for line in output] == [True] * bool(kind.said)


def arrays(folder, **changed):
    save_arrays(folder, 40, 4)
    with np.load(folder / "data.npz") as file:
        np.savez(folder / "data.npz", **{**file, **{name: change(file[name]) for name, change in changed.items()}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_images": lambda images: images.astype(float)}, "floats should lie in"),
        ({"test_images": lambda images: images.astype(float) / 1e4}, "between the 256 levels"),
        ({"test_labels": lambda labels: labels.clip(0, 2)}, "test split has no image of class 3"),
        ({"train_labels": lambda labels: np.where(labels == 3, 7, labels)}, "no image of class 3"),
        ({"train_labels": lambda labels: np.r_[4, labels[1:]]}, "data.calibration"),
    ],
)
def test_check_reports_arrays_that_the_data_job_refuses(changed, said, folder, capsys):
    arrays(folder, **changed)
    lines, passed = check(capsys, data=ARRAYS)
    assert not passed
    assert any(said in line for line in lines if line.startswith("WRONG    data: "))


def test_check_warns_of_few_levels(folder, capsys):
    arrays(folder, train_images=lambda images: images // 128, test_images=lambda images: images // 128)
    lines, passed = check(capsys, data=ARRAYS)
    assert passed
    assert any(line.startswith("WARNING  data: ") and " 1 of 255" in line for line in lines)


@pytest.mark.parametrize(("turn", "accuracy"), [(0, 100), (1, 0)])
def test_check_tells_accuracy_and_chance(turn, accuracy, folder, capsys):
    (folder / "own_nets.py").write_text(NETS)
    save_arrays(folder, 200, 4)
    model = {"factory": "own_nets:ByColour", "arguments": {"classes": 4, "turn": turn}, "layers": ["body"]}
    lines, passed = check(capsys, data=ARRAYS, models={"own": model}, training=None)
    assert passed, lines
    (line,) = [line for line in lines if line.startswith("ok       models.own: 1 layers, body to body")]
    assert line.endswith(f"; right on {accuracy}.0 % of 200 clean test images")
    warnings = [line for line in lines if line.startswith("WARNING  models.own: ")]
    assert ["200 clean images: chance" in warning for warning in warnings] == [True] * (accuracy == 0)


def test_sample_is_drawn_at_random_and_keeps_labels(monkeypatch):
    labels = np.arange(3200) % 10
    sample = samples._draw(labels.astype(np.uint8)[:, None, None, None], labels)
    assert (sample.images[:, 0, 0, 0] == sample.labels).all()
    assert len(labels[:320]) == len(sample.labels)
    assert np.bincount(sample.labels).max() < 60, "evenly spaced rows would all have one class"
    monkeypatch.setattr(samples, "SECONDS", -1)
    assert len(samples._draw(labels.astype(np.uint8)[:, None, None, None], labels).labels) == samples.PIECE


def test_correct_in_a_sample_is_that_of_the_network(monkeypatch):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
    sample = Sample(np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8), np.arange(50) % 3)
    expected = [
        network(torch.tensor(image.transpose(2, 0, 1)[None] / 255).float()).argmax().item() == label
        for image, label in zip(*sample, strict=True)
    ]
    assert correct_in(network, sample).tolist() == expected
    monkeypatch.setattr(samples, "SECONDS", -1)
    assert correct_in(network, sample) is None, "too few"
