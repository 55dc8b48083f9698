"""The Square attack on images of any shape."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.adaptive import controls
from featurepaths.attacks.apgd import Budget
from featurepaths.attacks.runner import STOPPING_RULE, Block, run_blocks
from featurepaths.attacks.torchattacks.library import fit_windows, greatest_share, padded_size
from featurepaths.attacks.torchattacks.runner import LibraryAttack
from tests.splits import Images

torchattacks = pytest.importorskip("torchattacks")

SIDES = range(8, 41)
OBLONG = [(8, 40), (40, 8), (12, 31), (31, 12), (24, 23), (16, 24), (32, 64), (64, 32), (9, 11), (3, 2), (1, 5), (5, 1)]


class Mean(nn.Module):
    """Two classes, by whether the upper half is brighter than the lower; never wrong with `stubborn`."""

    def __init__(self, stubborn=False):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0 if stubborn else 100.0))

    def forward(self, images):
        half = (images.shape[-2] + 1) // 2
        difference = self.weight * (images[..., :half, :].mean(dim=(1, 2, 3)) - 0.5) + 1e-3
        return torch.stack([difference, -difference], dim=1)


def random_images(height, width, count=2, channels=3):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def square(network, **options):
    return torchattacks.Square(network, eps=0.5, seed=0, **options)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
@pytest.mark.parametrize("p_init", [0.8, 0.9, 1.0])
def test_square_windows_fit_images_of_all_sizes(norm, p_init):
    network = Mean(stubborn=True)
    for height, width in [*((side, side) for side in SIDES), *OBLONG]:
        images = random_images(height, width)
        attack = fit_windows(square(network, norm=norm, n_queries=2, p_init=p_init))
        with torch.random.fork_rng():
            adversarial = attack(images, torch.zeros(2, dtype=torch.long))
        assert adversarial.shape == images.shape


def test_square_uses_whole_radius_inside_of_image():
    """The margin takes no part of the perturbation: a gray image can be moved as far as the radius."""
    for height, width in ((12, 12), (14, 14), (19, 19), (24, 24), (16, 24), (40, 8)):
        images = torch.full((1, 1, height, width), 0.5)
        attack = fit_windows(square(Mean(stubborn=True), norm="L2", n_queries=5))
        evaluated = []
        attack.model.register_forward_hook(
            lambda module, given, output, evaluated=evaluated: evaluated.append(given[0])
        )
        with torch.random.fork_rng():
            attack(images, torch.zeros(1, dtype=torch.long))
        lengths = torch.stack([(each - images).norm() for each in evaluated[1:-1]])
        assert all(each.shape == images.shape for each in evaluated)
        assert torch.allclose(lengths, torch.tensor(0.5), atol=1e-4), (height, width)


def runs_in_the_library(height, width):
    """Whether the library's tiles and windows fit, by plain arithmetic and for any share of 0.8."""
    tile = height // 5
    last = max((height - 5 * tile) // 2 + length // tile * tile - length for length in (height, width))
    window = max(round((0.8 * height * width) ** 0.5), 3)
    return last <= 0 and window + (window % 2 == 0) <= min(height, width)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_square_where_library_runs_is_bit_identical(norm):
    network, same = Mean(), 0
    for height, width in [*((side, side) for side in SIDES), *product((20, 25), (20, 22, 25))]:
        images, labels = random_images(height, width), torch.zeros(2, dtype=torch.long)
        if not runs_in_the_library(height, width):
            continue
        results = []
        for change in (fit_windows, lambda attack: attack):
            with torch.random.fork_rng():
                results.append(change(square(network, norm=norm, n_queries=20))(images, labels))
        assert torch.equal(*results), (height, width)
        same += 1
    assert same > 20


@pytest.mark.parametrize("side", [12, 14, 18, 19, 24])
def test_square_of_the_library_fails_on_these_sides(side):
    """If it does no more, `featurepaths.attacks.torchattacks.library.fit_windows` has nothing left to do."""
    assert not runs_in_the_library(side, side)
    with pytest.raises(RuntimeError, match=r"shape|size"), torch.random.fork_rng():
        square(Mean(stubborn=True), norm="L2", n_queries=1)(random_images(side, side), torch.zeros(2, dtype=torch.long))


def test_square_padding_is_small_and_shares_are_exact():
    for height, width in product(range(1, 60), range(1, 60)):
        padded = padded_size(height, width)
        assert padded[0] - height < 5
        assert padded[1] == max(width, 3)
        share = greatest_share(*padded, "L2")
        window = max(round((share * padded[0] * padded[1]) ** 0.5), 3)
        assert window % 2 == 1
        assert min(padded) - 1 <= window <= min(padded)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("version", ["standard", "plus"])
def test_autoattack_square_runs_on_surviving_images(norm, version, monkeypatch):
    real = torchattacks.attacks.autoattack.Square
    monkeypatch.setattr(
        torchattacks.attacks.autoattack, "Square", lambda *given, **named: real(*given, **named | {"n_queries": 2})
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 18, 3), np.uint8)
    with torch.no_grad():
        labels = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(dim=1).numpy()
    attack = LibraryAttack(network, "autoattack", norm, 1e-6, {"version": version}, 0)
    ((_, records),) = run_blocks(attack, Images(images, labels, np.arange(2)))
    assert not records["success"].any()
    assert records[f"{STOPPING_RULE}/adversarial"].shape == (2, 3, 12, 18)


def test_controls_square_fits_oblong_images():
    class Defense:
        def as_recogniser(self):
            return Mean()

    for norm in ("linf", "l2"):
        block = Block(random_images(16, 24), torch.zeros(2, dtype=torch.long), np.arange(2), 2, slice(0, 2))
        budget = Budget(0.5, norm, iterations=1)
        assert controls._square(Defense(), block, budget, 20).shape == block.clean.shape
