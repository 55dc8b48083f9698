"""Layers of networks that users bring, found and checked."""

import pytest
import torch
import torchvision
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.blocks import layer_notes
from featurepaths.networks.forward import forward_intermediates, layer_shapes
from featurepaths.networks.layers import find_layers
from featurepaths.networks.resnet import ResNet
from tests.networks_of_others.families import TORCHVISION

SHAPE = (3, 32, 32)


def vision_transformer():
    return torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=10).eval()


class Shortcut(nn.Sequential):
    def forward(self, images):
        return images + super().forward(images)


class Coloured(nn.Module):
    """Grey images become 16 channels by a weight for each, before three residual blocks."""

    def __init__(self):
        super().__init__()
        self.channels = nn.Parameter(torch.rand(1, 16, 1, 1))
        self.blocks = nn.Sequential(*(Shortcut(nn.Conv2d(16, 16, 3, padding=1)) for _ in range(3)))
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        return self.head(self.blocks(images * self.channels).mean(dim=(2, 3)))


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


@pytest.mark.parametrize(("make", "size", "blocks"), TORCHVISION.values(), ids=TORCHVISION)
def test_layers_of_a_family_are_as_many_as_its_blocks(make, size, blocks):
    assert len(find_layers(make(num_classes=5).eval(), "auto", (3, size, size))) == blocks


def maps_of(output):
    """Return the maps in what a block of a test returns."""
    if isinstance(output, dict):
        return output["maps"]
    return next(each for each in output if each is not None and each.dim() == 4) if type(output) is tuple else output


class Residual(nn.Module):
    """A residual block that returns what a test wants."""

    def __init__(self, returned=lambda maps: maps):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.returned = returned

    def forward(self, maps):
        maps = maps_of(maps)
        return self.returned(maps + self.conv(maps))


class Blocks(nn.Module):
    """A stem, blocks under the names of a test, and a head."""

    def __init__(self, **blocks):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        for name, block in blocks.items():
            setattr(self, name, block)
        self.order = list(blocks)

    def forward(self, images):
        maps = self.stem(images)
        for name in self.order:
            maps = getattr(self, name)(maps)
        return self.head(maps_of(maps).mean(dim=(2, 3)))


def test_modules_that_do_not_run_are_left_out():
    network = Blocks(block1=Residual(), block2=Residual())
    network.unused = nn.Sequential(*(Residual() for _ in range(5)))
    assert find_layers(network, "auto", SHAPE) == ["block1", "block2"]


def test_module_under_two_names_is_one_layer():
    network = Blocks(block1=Residual(), block2=Residual())
    network.again = nn.ModuleList([network.block1, network.block2])
    assert find_layers(network, "auto", SHAPE) == ["block1", "block2"]


def test_gates_are_no_paths():
    def separable():
        gated = torchvision.ops.SqueezeExcitation(4, 2, scale_activation=nn.Sigmoid)
        return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), gated, nn.Conv2d(4, 4, 1))

    network = Blocks(block1=separable(), block2=separable(), block3=separable())
    assert find_layers(network, "auto", SHAPE) == ["block1", "block2", "block3"]


def test_branches_beside_the_trunk_and_what_changes_the_resolution_are_left_out():
    class Aside(Residual):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(Residual(), Residual())

        def forward(self, maps):
            return maps + self.inner(maps)

    down = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1))
    stages = {"stage1": nn.Sequential(Residual(), Aside()), "down1": down, "stage2": nn.Sequential(Residual(), Aside())}
    assert find_layers(Blocks(**stages), "auto", SHAPE) == ["stage1.0", "stage1.1", "stage2.0", "stage2.1"]


@pytest.mark.parametrize(
    "returned",
    [
        lambda maps: (maps, None),
        lambda maps: (torch.zeros(2 * len(maps), 3), torch.zeros(3), maps),
        lambda maps: {"maps": maps, "others": [maps]},
    ],
    ids=["tuple", "first with rows", "mapping"],
)
def test_first_tensor_of_several_is_the_output(returned):
    torch.manual_seed(0)
    network = Blocks(block1=Residual(returned), block2=Residual(returned))
    assert find_layers(network, "auto", SHAPE) == ["block1", "block2"]
    images = torch.rand(2, *SHAPE)
    stem = network.stem(images)
    _, (first, _) = forward_intermediates(network, images, ["block1", "block2"])
    assert torch.equal(first, stem + network.block1.conv(stem))


def test_notes_name_what_is_left_out_and_ends_that_are_far():
    network = torchvision.models.resnet18(num_classes=10).eval()
    assert layer_notes(network, find_layers(network, "auto", SHAPE), SHAPE) == []
    missing, after = layer_notes(network, ["layer1.0", "layer1.1"], SHAPE)
    assert "layer2.0, layer2.1, layer3.0, layer3.1 and 2 more" in missing
    assert "16 of the network's 21" in after  # all but the stem and four convolutions of the first stage
    (before,) = layer_notes(network, ["layer4.0", "layer4.1"], SHAPE)[1:]
    assert "15 of the network's 21" in before  # the stem, and 4 + 5 + 5 convolutions


def test_finding_layers_leaves_a_network_in_training_mode_as_it_is():
    network = torchvision.models.resnet18(num_classes=10)
    network.layer4.eval()
    state = {name: values.clone() for name, values in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    for wanted in ("auto", "layer?.1", ["layer1"]):
        find_layers(network, wanted, SHAPE)
    layer_shapes(network, ["layer1"], SHAPE)
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_layers_of_networks_of_other_types(dtype):
    network = torchvision.models.resnet18(num_classes=10).to(dtype)
    with torch.inference_mode():
        assert len(find_layers(network, "auto", SHAPE)) == 8


def test_compiled_network_shows_its_layers():
    network = Blocks(block1=Residual(), block2=Residual()).eval()
    images = torch.rand(2, *SHAPE)
    _, expected = forward_intermediates(network, images, ["block1", "block2"])
    network.compile(backend="eager")
    network(images)  # compiled without hooks
    assert find_layers(network, "auto", SHAPE) == ["block1", "block2"]
    _, outputs = forward_intermediates(network, images, ["block1", "block2"])
    assert all(map(torch.equal, outputs, expected))


def test_torchscript_layer_is_refused():
    with pytest.warns((FutureWarning, DeprecationWarning)):  # of torch 2.14, of 2.11
        network = Blocks(block1=torch.jit.script(nn.Conv2d(4, 4, 1)), block2=Residual())
    with pytest.raises(FeaturePathsError, match="block1 is a TorchScript"):
        find_layers(network, ["block1"], SHAPE)


class Maps(nn.Module):
    """Eight features at each of 2x2 pixels, with an axis order, and sizes of images that it accepts."""

    def __init__(self, channels_last, fixed):
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)
        self.block = Last(self.mix) if channels_last else self.mix
        self.channels_last, self.fixed = channels_last, fixed

    def forward(self, images):
        assert not self.fixed or images.shape[-1] == self.fixed
        maps = self.patches(images)
        maps = self.block(maps.permute(0, 2, 3, 1) if self.channels_last else maps)
        return self.head(maps.mean(dim=(1, 2) if self.channels_last else (2, 3)))


class Last(nn.Module):
    """A module of maps [N, d, H, W] for maps [N, H, W, d]."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, maps):
        return self.inner(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 8, 16), (3, 16, 8), (3, 24, 16)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("only_this_size", [False, True])
def test_features_come_first_whatever_the_shape(shape, channels_last, only_this_size):
    torch.manual_seed(0)
    network = Maps(channels_last, only_this_size and shape[-1]).eval()
    assert layer_shapes(network, ["block"], shape) == [(8, shape[1] // 2, shape[2] // 2)]
    images = torch.rand(2, *shape)
    expected = network.mix(network.patches(images))
    for _ in range(2):  # measured in the first pass, known in the second
        _, (output,) = forward_intermediates(network, images, ["block"])
        assert torch.allclose(output, expected, atol=1e-6)


def test_stages_that_hold_blocks_are_gone_into():
    def stage():
        module = nn.Module()
        module.blocks = nn.Sequential(*(torchvision.ops.Conv2dNormActivation(3, 3) for _ in range(2)))
        module.forward = module.blocks.forward
        return module

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
        (lambda: Net(lambda net, x: net.second(net.first(x.detach()))), "auto", "no gradient.*Name its layers"),
        (lambda: nn.Sequential(nn.LSTM(32, 4), nn.Identity()), ["0"], "3x32x32|tuple"),
        (lambda: nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(0)), ["1"], r"Layer 1 .*\[2048\].* 2 images"),
    ],
)
def test_what_is_no_layer_is_told(network, wanted, said):
    with pytest.raises(FeaturePathsError, match=said):
        find_layers(network().eval(), wanted, SHAPE)


def test_layer_whose_axes_its_shape_leaves_open_is_refused_if_it_is_changed_in_place():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(512, 4)).eval()
    with pytest.raises(FeaturePathsError, match="'0' is changed in place"):
        forward_intermediates(network, torch.rand(2, *SHAPE), ["0"])


def test_images_that_are_fewer_values_than_their_weights_are_not_taken_for_a_gate():
    assert find_layers(Coloured(), "auto", (1, 2, 2)) == ["blocks.0", "blocks.1", "blocks.2"]


def test_features_come_first_in_maps_and_tokens():
    assert layer_shapes(vision_transformer(), ["encoder.layers.encoder_layer_1"], SHAPE) == [(16, 17)]
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=3).eval()
    layers = find_layers(swin, "auto", SHAPE)
    assert layer_shapes(swin, layers, SHAPE) == [(8, 8, 8), (16, 4, 4)]
    images = torch.rand(2, *SHAPE)
    features = {}
    swin.get_submodule(layers[1]).register_forward_hook(lambda module, inputs, output: features.update(output=output))
    _, (_, second) = forward_intermediates(swin, images, layers)
    assert torch.equal(second, features["output"].permute(0, 3, 1, 2))
