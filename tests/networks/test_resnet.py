import pytest
import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.architectures import BLOCKS, layer_count
from featurepaths.networks.checkpoint import load_checkpoint, save_checkpoint
from featurepaths.networks.forward import forward_intermediates, layer_shapes
from featurepaths.networks.resnet import ResNet
from featurepaths.store.jsonfile import read_description
from featurepaths.store.origin import Origin

TABLE_1 = {
    "resnet20": [(64, 16, 16)] * 2 + [(128, 8, 8)] * 3 + [(256, 4, 4)] * 4,
    "resnet18": [(64, 16, 16)] * 2 + [(128, 8, 8)] * 2 + [(256, 4, 4)] * 2 + [(512, 2, 2)] * 2,
}


def network(architecture="resnet20", width=4, **options):
    torch.manual_seed(0)
    return ResNet(architecture, classes=10, width=width, **options).eval()


@pytest.mark.parametrize("architecture", BLOCKS)
@pytest.mark.parametrize("stem", ["conv", "pool"])
def test_layers_are_those_of_table_1(architecture, stem):
    built = network(architecture, width=64, stem=stem)
    assert layer_shapes(built, built.layer_names, (3, 32, 32)) == TABLE_1[architecture]
    assert len(built.layer_names) == layer_count(architecture)


def test_taps_give_what_the_layers_give_one_after_the_other():
    built, images = network(), torch.rand(3, 3, 32, 32)
    logits, outputs = forward_intermediates(built, images, built.layer_names)
    x = built.stem((images - built.normalise.mean) / built.normalise.std)
    for block, output in zip(built.blocks, outputs, strict=True):
        x = block(x)
        torch.testing.assert_close(output, x)
    torch.testing.assert_close(logits, built.classifier(x.mean(dim=(2, 3))))
    assert not any(module._forward_hooks for module in built.modules())


def test_features_are_those_after_the_last_activation():
    built = network()
    _, outputs = forward_intermediates(built, torch.rand(2, 3, 32, 32), built.layer_names)
    assert all((output >= 0).all() for output in outputs)


def test_normalisation_is_part_of_the_network():
    images = torch.rand(2, 3, 32, 32)
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    inside = network(mean=mean, std=std)
    outside = network()
    by_hand = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(inside(images), outside(by_hand))


@pytest.fixture
def checkpoint(tmp_path):
    build = {"architecture": "resnet18", "classes": 7, "width": 4, "mean": [0.5] * 3, "std": [0.25] * 3}
    module = ResNet(**build)
    with torch.no_grad():
        module(torch.rand(8, 3, 32, 32))  # moves the running statistics
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(
        path, module, build, module.layer_names, (3, 32, 32), Origin("checkpoint", "k", {"data": "d"}), device="cpu"
    )
    return path, module.eval()


def test_a_checkpoint_gives_the_network_back(checkpoint):
    path, network = checkpoint
    loaded, metadata = load_checkpoint(path)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(loaded(images), network(images))
    assert not loaded.training
    assert metadata["layers"][7] == {"name": "blocks.7", "shape": [32, 2, 2]}
    assert metadata["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert metadata["origin"] == {"name": "checkpoint", "digest": "k", "ancestors": {"data": "d"}, "inputs": []}


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_checkpoint_is_named(checkpoint, size):
    path, _ = checkpoint
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FeaturePathsError, match=r"checkpoint\.safetensors"):
        load_checkpoint(path)


def test_a_foreign_safetensors_file_is_named(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(FeaturePathsError, match="not written by featurepaths"):
        read_description(tmp_path / "foreign.safetensors")


def test_weights_that_do_not_fit_are_named(tmp_path):
    build = {"architecture": "resnet18", "classes": 7, "width": 4}
    module = ResNet(**build)
    save_checkpoint(
        tmp_path / "a.safetensors", module, {**build, "width": 8}, module.layer_names, (3, 32, 32), Origin("c", "k")
    )
    with pytest.raises(FeaturePathsError, match="does not fit the network"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    build = {"architecture": "resnet18", "classes": 7, "width": 4}
    module = ResNet(**build)
    module.classifier.bias.data[3] = float("nan")
    save_checkpoint(tmp_path / "a.safetensors", module, build, module.layer_names, (3, 32, 32), Origin("c", "k"))
    with pytest.raises(FeaturePathsError, match=r"not a finite number, in classifier\.bias"):
        load_checkpoint(tmp_path / "a.safetensors")
