"""Trying out a network that is given, before anything is computed with it."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.library.defense import FeaturePathDefense
from featurepaths.networks.external.build import _try_out
from featurepaths.networks.layers import find_layers
from featurepaths.networks.warnings import DOUBTS, are_probabilities
from featurepaths.paths.features import extract_blocks


class Net(nn.Module):
    """A small network with something done to its images, or to its logits."""

    def __init__(self, before=lambda images: images, after=lambda logits: logits):
        super().__init__()
        self.before, self.after = before, after
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, images):
        return self.after(self.b(self.a(self.before(images))))


class WithoutGradient(Net):
    """Computed in a mode without gradients."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, images):
        with self.mode():
            return super().forward(images)


class Squeezing(Net):
    """A batch of one loses its axis."""

    def forward(self, images):
        maps = nn.functional.adaptive_avg_pool2d(self.a(images), 1)
        return self.b[3](maps.squeeze())


def test_ordinary_network_is_beyond_doubt():
    assert _try_out(Net().eval(), (3, 16, 16), 5) == []


@pytest.mark.parametrize(
    "network",
    [
        Net(lambda images: torch.from_numpy(images.detach().numpy())),
        Net(torch.Tensor.detach),
        Net(after=lambda logits: nn.functional.one_hot(logits.argmax(1), 5).float()),
        WithoutGradient(torch.no_grad),
        WithoutGradient(torch.inference_mode),
    ],
    ids=["numpy", "detach", "argmax", "no_grad", "inference_mode"],
)
def test_network_without_a_gradient_is_refused(network):
    network.eval()
    find_layers(network, ["a", "b.0"], (3, 16, 16))
    with pytest.raises(FeaturePathsError, match="no gradient") as caught:
        _try_out(network, (3, 16, 16), 5)
    assert "size" not in str(caught.value)


@pytest.mark.parametrize(
    "before",
    [lambda images: (images * 15).round() / 15, lambda images: (images > 0.5).float() + 0 * images],
    ids=["round", "threshold"],
)
def test_gradient_of_zeros_is_a_doubt(before):
    assert _try_out(Net(before).eval(), (3, 16, 16), 5) == ["gradient"]


def test_undefined_gradient_everywhere_is_a_doubt():
    assert _try_out(Net(lambda images: images + (images * 0).sqrt()).eval(), (3, 16, 16), 5) == ["gradient"]


@pytest.mark.parametrize(
    ("after", "doubts"),
    [
        (lambda logits: logits.softmax(1), ["probabilities"]),
        (lambda logits: logits.softmax(1).bfloat16().float(), ["probabilities"]),
        (lambda logits: logits.log_softmax(1), []),
        (lambda logits: logits.sigmoid(), []),
        (lambda logits: logits / logits.sum(1, keepdim=True), []),
    ],
    ids=["softmax", "rounded softmax", "log_softmax", "sigmoid", "sum of 1"],
)
def test_probabilities_are_a_doubt_and_their_logarithms_are_not(after, doubts):
    torch.manual_seed(0)
    assert _try_out(Net(after=after).eval(), (3, 16, 16), 5) == doubts


@pytest.mark.parametrize("after", [lambda logits: logits, lambda logits: logits.log_softmax(1)])
def test_fit_warns_of_probabilities(after):
    images = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    loader = [(images, torch.arange(20) % 5)]
    with pytest.warns(UserWarning, match="probabilities"):
        FeaturePathDefense(Net(after=lambda logits: logits.softmax(1)), ["a"], "mean").fit(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeaturePathDefense(Net(after=after), ["a"], "mean").fit(loader)


def test_a_row_of_zeros_and_ones_is_a_probability():
    assert are_probabilities(torch.eye(3))
    assert not are_probabilities(torch.eye(3) - torch.tensor([0.1, 0.0, -0.1]))
    assert not are_probabilities(torch.full((2, 3), torch.nan))
    assert set(DOUBTS) == {"probabilities", "gradient"}


def test_network_that_squeezes_a_batch_of_one_is_refused():
    network = Squeezing().eval()
    with pytest.raises(FeaturePathsError, match=r"\(5,\).*1 image"):
        _try_out(network, (3, 16, 16), 5)
    images = np.random.default_rng(0).integers(0, 256, (65, 16, 16, 3), np.uint8)
    with pytest.raises(FeaturePathsError, match=r"\(5,\)"):
        list(extract_blocks(network, ["a"], images, ["mean"]))


@pytest.mark.parametrize(
    "before",
    [
        lambda images: images - images.mean(0),
        lambda images: nn.functional.batch_norm(images, None, None, training=True),
    ],
    ids=["mean", "batch statistics"],
)
def test_network_whose_images_influence_one_another_is_refused(before):
    with pytest.raises(FeaturePathsError, match=r"alone.* differ from"):
        _try_out(Net(before).eval(), (3, 16, 16), 5)


def test_network_that_takes_no_single_image_is_refused():
    def at_least_two(images):
        if len(images) < 2:
            raise ValueError("Expected more than 1 value per channel")
        return images

    with pytest.raises(FeaturePathsError, match="not one alone"):
        _try_out(Net(at_least_two).eval(), (3, 16, 16), 5)


def test_another_size_is_proposed_only_where_it_is_taken():
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
    with pytest.raises(FeaturePathsError, match="size to 32"):
        find_layers(flat, ["0"], (3, 16, 16))
    with pytest.raises(FeaturePathsError, match="1x16x16") as caught:
        find_layers(Net(), ["a"], (1, 16, 16))
    assert "size" not in str(caught.value).partition("(")[0]
    assert "model's size" not in str(caught.value)


def test_images_without_finite_logits_or_features_are_named():
    images = np.full((70, 16, 16, 3), 100, np.uint8)
    images[[3, 66]] = 255

    def nan_when_white(values):
        return torch.where(images_are_white(values), torch.nan, values)

    def images_are_white(values):
        return values.flatten(1).min(1).values.view(-1, *[1] * (values.dim() - 1)) == 1

    with pytest.raises(FeaturePathsError, match=r"layer a .*1 image \(3\)"):
        list(extract_blocks(Net(nan_when_white).eval(), ["a"], images, ["mean"]))
    images[3] = 100
    with pytest.raises(FeaturePathsError, match=r"1 image \(66\)"):
        list(extract_blocks(Net(nan_when_white).eval(), ["a"], images, ["mean"]))
