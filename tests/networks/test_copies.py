"""Copies of networks that keep a computed weight."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from featurepaths.attacks.runner import run_blocks
from featurepaths.attacks.torchattacks.runner import LibraryAttack
from featurepaths.networks.copies import copy_of
from tests.splits import Images


class Keeping(nn.Module):
    """Keeps what it computed, in an attribute, a list and a map."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.kept, self.list, self.map = self.scale * 2, [self.scale * 3], {"x": (self.scale * 4,)}

    def forward(self, images):
        self.kept = self.scale * 2
        return images * self.kept.view(1, -1, 1, 1)


def convolution(change):
    module = nn.Conv2d(3, 4, 3)
    change(module)
    return module


FIRST = {
    "plain": lambda: nn.Conv2d(3, 4, 3),
    "weight_norm": lambda: convolution(weight_norm),
    "pruned": lambda: convolution(lambda module: prune.l1_unstructured(module, "weight", 0.5)),
    "spectral_norm": lambda: convolution(spectral_norm),
    "parametrised": lambda: convolution(parametrizations.weight_norm),
    "keeping": lambda: nn.Sequential(Keeping(), nn.Conv2d(3, 4, 3)),
}


@pytest.fixture(params=FIRST)
def network(request):
    with (
        pytest.warns(FutureWarning) if request.param == "weight_norm" else torch.enable_grad(),
        torch.random.fork_rng(),
    ):
        torch.manual_seed(0)
        module = nn.Sequential(FIRST[request.param](), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return module.eval().requires_grad_(False)


def test_a_copy_gives_the_same_and_shares_nothing(network):
    images = torch.rand(4, 3, 8, 8)
    expected = network(images)
    copied = copy_of(network)
    assert torch.equal(copied(images), expected)
    for parameter in copied.parameters():
        parameter.data.mul_(2)
    assert torch.equal(network(images), expected)
    assert not torch.allclose(copied(images), expected)


def test_networks_that_keep_a_computed_weight_are_attacked(network):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    attack = LibraryAttack(network, "bim", "linf", 0.03, {}, 0)
    ((_, records),) = run_blocks(attack, Images(images, np.arange(4) % 3, np.arange(4)))
    assert np.isfinite(records["returned/adversarial"]).all()
