"""Layers of networks that users bring, found and checked."""

import pytest
import torch
import torchvision
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import forward_intermediates, layer_shapes
from featurepaths.networks.layers import find_layers
from featurepaths.networks.resnet import ResNet

SHAPE = (3, 32, 32)


def vision_transformer():
    return torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=10).eval()


class Net(nn.Module):
    """Two convolutions, called as a test wants it."""

    def __init__(self, forward):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.run = forward

    def forward(self, images):
        return self.run(self, images).mean(dim=(2, 3))


FOUND = {
    "the paper's": (lambda: ResNet("resnet18", 10, 4).eval(), [f"blocks.{number}" for number in range(8)]),
    "torchvision's": (
        lambda: torchvision.models.resnet18(num_classes=10).eval(),
        [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)],
    ),
    "a transformer's": (vision_transformer, [f"encoder.layers.encoder_layer_{number}" for number in range(3)]),
    "inverted residuals": (
        lambda: torchvision.models.mobilenet_v3_small().eval(),
        [f"features.{number}" for number in range(1, 12)],
    ),
    "not in a container": (
        lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False).eval(),
        [f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")],
    ),
}


@pytest.mark.parametrize(("make", "expected"), FOUND.values(), ids=FOUND)
def test_blocks_are_found_in_the_order_they_run_in(make, expected):
    assert find_layers(make(), "auto", SHAPE) == expected


def test_stages_that_hold_blocks_are_gone_into():
    def stage():
        made = nn.Module()
        made.blocks = nn.Sequential(*(torchvision.ops.Conv2dNormActivation(3, 3) for _ in range(2)))
        made.forward = made.blocks.forward
        return made

    network = nn.Sequential(nn.Sequential(stage(), stage()), nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).eval()
    expected = ["0.0.blocks.0", "0.0.blocks.1", "0.1.blocks.0", "0.1.blocks.1"]
    assert find_layers(network, "auto", SHAPE) == expected


def test_a_pattern_is_matched_part_by_part():
    network = torchvision.models.resnet18(num_classes=10).eval()
    assert find_layers(network, "layer?.1", SHAPE) == ["layer1.1", "layer2.1", "layer3.1", "layer4.1"]
    assert find_layers(network, "layer*", SHAPE) == ["layer1", "layer2", "layer3", "layer4"]


def test_named_layers_keep_their_order():
    network = torchvision.models.resnet18(num_classes=10).eval()
    assert find_layers(network, ["layer2", "layer1.0"], SHAPE) == ["layer2", "layer1.0"]


@pytest.mark.parametrize(
    ("network", "wanted", "said"),
    [
        (lambda: torchvision.models.resnet18(), ["layer1.7"], "'layer1.7'.*'layer1.[01]'"),
        (
            lambda: torchvision.models.resnet18(),
            "stage?",
            "'stage\\?'.*conv1",
        ),
        (lambda: torchvision.models.resnet18(), ["layer1.0.relu"], "layer1.0.relu runs more than once"),
        (lambda: torchvision.models.resnet18(), ["layer1.0.bn1"], "'layer1.0.bn1' is changed in place"),
        (lambda: torchvision.models.vgg11(), "auto", "no repeated blocks.*features.0"),
        (lambda: Net(lambda net, x: net.second(net.first(x))), ["third"], "'third'.*first, second"),
        (lambda: Net(lambda net, x: net.first(x)), ["second"], "second does not run"),
        (lambda: Net(lambda net, x: net.second(x)), ["first"], "3x32x32"),
        (lambda: nn.Sequential(nn.LSTM(32, 4), nn.Identity()), ["0"], "3x32x32|tuple"),
        (lambda: nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(0)), ["1"], r"Layer 1 .*\[2048\].* 2 images"),
    ],
)
def test_what_is_no_layer_is_told(network, wanted, said):
    with pytest.raises(FeaturePathsError, match=said):
        find_layers(network().eval(), wanted, SHAPE)


def test_features_come_first_in_maps_and_tokens():
    assert layer_shapes(vision_transformer(), ["encoder.layers.encoder_layer_1"], SHAPE) == [(16, 17)]
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=3).eval()
    layers = find_layers(swin, "auto", SHAPE)
    assert layer_shapes(swin, layers, SHAPE) == [(8, 8, 8), (16, 4, 4)]
    images = torch.rand(2, *SHAPE)
    seen = {}
    swin.get_submodule(layers[1]).register_forward_hook(lambda module, inputs, output: seen.update(output=output))
    _, (_, second) = forward_intermediates(swin, images, layers)
    assert torch.equal(second, seen["output"].permute(0, 3, 1, 2))
