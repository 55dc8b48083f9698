"""`featurepaths new` of networks of timm: the normalisation, size and number of classes that it writes."""

import numpy as np
import pytest
import torch
import yaml

from featurepaths.__main__ import main
from featurepaths.experiment.proposal import create
from featurepaths.experiment.proposal.estimate import Speed
from tests.experiments import save_arrays

timm = pytest.importorskip("timm")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(create, "measure", lambda *arguments: Speed(0.001, 0.0003, 1.0, 0.2, 2))
    save_arrays(tmp_path, 150, 3)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "size"), [("resnet10t", None), ("mobilenetv4_conv_small", None), ("vit_tiny_patch16_224", 224)]
)
def test_new_of_timm_network_writes_its_metadata(name, size, folder, capsys):
    """Against timm's own data configuration; the size only where the network accepts no other."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3)
    torch.save({"state_dict": network.state_dict()}, folder / "last.pth.tar")
    main(["new", "mine.yaml", "--network", f"timm:{name}", "--checkpoint", "last.pth.tar", "--data", "data.npz"])
    said, config = capsys.readouterr().out, yaml.safe_load((folder / "mine.yaml").read_text())
    (model,) = config["models"].values()
    expected = timm.data.resolve_data_config({}, model=network)
    assert model["factory"] == "timm:create_model"
    assert model["arguments"] == {"model_name": name, "num_classes": 3}
    assert model["checkpoint"] == "last.pth.tar"
    np.testing.assert_allclose((model["mean"], model["std"]), (expected["mean"], expected["std"]))
    assert model.get("size") == size
    assert "timm's pretrained_cfg" in said
    main(["check", "mine.yaml"])
