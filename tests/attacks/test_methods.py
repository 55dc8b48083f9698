"""The table of attacks: held against what is measured and against the docs.

`python -m tests.attacks.test_methods docs/method.md` writes the table anew.
"""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.attacks.runner import STOPPING_RULE, run_blocks
from featurepaths.attacks.torchattacks.methods import METHODS, least_classes, misfit
from featurepaths.attacks.torchattacks.runner import LibraryAttack
from featurepaths.errors import FeaturePathsError
from tests.experiments import ROOT
from tests.splits import Images, joined

torchattacks = pytest.importorskip("torchattacks")

DOCS = ROOT / "docs/method.md"
EPS = {"linf": 0.05, "l2": 0.6, "l1": 5, "l0": 2}
FEW = {
    "deepfool": {"steps": 4},
    "cw": {"steps": 30, "c": "5", "lr": "0.02"},
    "ead": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": "1", "lr": "0.05"},
    "eaden": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": "1", "lr": "0.05"},
    "onepixel": {"steps": 2},
    "square": {"n_queries": 30},
    "autoattack": {"version": "rand"},
    "spsa": {"nb_iter": 5, "nb_sample": 64},
    "sparsefool": {"steps": 2},
    "jsma": {"gamma": "1/20"},
    "pixle": {"restarts": 3, "max_iterations": 5},
}
"""Parameters that make the slow ones fast."""
ALL = [(method, norm) for method, spec in METHODS.items() for norm in spec.norms]


def network_of(classes=5, channels=3):
    """A network of images of any size, with logits of either sign."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(channels, 12, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, classes)
        )
        net[0].weight.data *= 4  # far from linear, so that where a search begins matters
        several = net(torch.rand(100, channels, 8, 8)).detach()
    # no label stands for granted, and all classes are there
    net[4].bias.data -= several.mean(dim=0)
    net[4].weight.data *= 30
    net[4].bias.data *= 30
    return net.eval()


def problem(network, count=6, shape=(8, 8, 3), seed=0):
    """Images, and the network's predictions as their labels."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    return images, logits.argmax(dim=1).numpy()


def attacked(network, images, labels, method, norm, *, rows=slice(None), **options):
    """The records of some of the images, attacked as if there were no others."""
    indices = np.arange(100, 100 + len(labels))
    settings = {"eps": EPS[norm] if METHODS[method].radius else None, "parameters": FEW.get(method, {}), "seed": 0}
    attack = LibraryAttack(network, method, norm, **settings | options)
    return joined(run_blocks(attack, Images(images[rows], labels[rows], indices[rows])))


def is_independent(method):
    """Whether an image's result does not depend on which other images are attacked."""
    return method.alone or not method.random


def differ(one, other):
    return np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize(("method", "norm"), ALL)
def test_methods_randomness_and_independence_equal_measured_ones(method, norm):
    network = network_of()
    images, labels = problem(network)
    examples = [
        attacked(network, images, labels, method, norm, seed=seed)[f"{STOPPING_RULE}/adversarial"] for seed in (0, 1)
    ]
    assert differ(*examples) == METHODS[method].random
    alone = [
        attacked(network, images, labels, method, norm, rows=slice(row, row + 1))[f"{STOPPING_RULE}/adversarial"]
        for row in range(len(labels))
    ]
    assert differ(np.concatenate(alone), examples[0]) != is_independent(METHODS[method])


def test_methods_contain_every_attack_of_the_library():
    """But for the identity, random noise, and wrappers of other attacks or models."""
    offered = {name for spec in METHODS.values() for name in spec.classes.values()}
    assert set(torchattacks.__all__) - offered == {"VANILA", "GN", "MultiAttack", "LGV"}


SHAPES = [(8, 8, 1), (8, 12, 3), (13, 9, 3), (7, 7, 3), (11, 8, 1)]


@pytest.mark.parametrize(("method", "norm"), ALL)
def test_images_of_other_shapes_are_attacked_or_refused_by_method(method, norm):
    for shape in SHAPES:
        network = network_of(channels=shape[2])
        images, labels = problem(network, 2, shape)
        height, width, channels = shape
        if misfit(method, {}, 5, (channels, height, width)):
            with pytest.raises(FeaturePathsError, match=method):
                attacked(network, images, labels, method, norm)
        else:
            assert attacked(network, images, labels, method, norm)[f"{STOPPING_RULE}/adversarial"].shape == (
                2, channels, height, width,
            )  # fmt: skip


@pytest.mark.parametrize(("method", "norm"), ALL)
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_few_classes_are_attacked_or_refused_by_method(method, norm, classes):
    network = network_of(classes)
    images, labels = problem(network, 2)
    if classes < least_classes(method, FEW.get(method, {})):
        with pytest.raises(FeaturePathsError, match=rf"{method} .* {classes}\b"):
            attacked(network, images, labels, method, norm)
    else:
        records = attacked(network, images, labels, method, norm)
        assert np.isfinite(records[f"{STOPPING_RULE}/adversarial"]).all()


@pytest.mark.parametrize(("method", "norm"), ALL)
@pytest.mark.parametrize("count", [1, 3])
def test_misclassified_and_black_and_white_images_have_finite_results(method, norm, count):
    """None left to attack, one left to attack, pixels at the ends of their range."""
    network = network_of()
    images, labels = problem(network, count)
    wrong = (labels + 1) % 5
    one_right = np.where(np.arange(count) == 0, labels, wrong)
    flat = np.zeros_like(images)
    flat[::2] = 255
    for pixels, given in ((images, wrong), (images, one_right), (flat, one_right)):
        records = attacked(network, pixels, given, method, norm)
        assert np.isfinite(records[f"{STOPPING_RULE}/adversarial"]).all()
        assert records["n_queries"].min() >= 1


def test_jsma_aims_at_an_existing_class():
    """The library aims at (label + 1) modulo 10: of five classes, label 4 has no such class."""
    network = network_of()
    images, labels = problem(network, 30)
    row = int(np.flatnonzero(labels == 4)[0])
    records = attacked(network, images, labels, "jsma", "l0", rows=slice(row, row + 1), parameters={"gamma": "1"})
    with torch.no_grad():
        logits = network(torch.from_numpy(records[f"{STOPPING_RULE}/adversarial"]))
    assert records["success"].all()
    assert logits.argmax(dim=1).item() == 0


def test_library_error_names_method_and_images(monkeypatch):
    class Failing:
        def __init__(self, network, **options):
            pass

        def __call__(self, images, labels):
            raise RuntimeError("The expanded size of the tensor")

    monkeypatch.setattr(torchattacks, "BIM", Failing)
    network = network_of()
    images, labels = problem(network, 3)
    with pytest.raises(FeaturePathsError, match=r"bim \(torchattacks.BIM\) .*100 to 102 .*3x8x8"):
        attacked(network, images, labels, "bim", "linf")


def test_out_of_memory_passes_through_unchanged(monkeypatch):
    def fail(images, labels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LibraryAttack, "build", lambda *given: fail)
    network = network_of()
    images, labels = problem(network, 3)
    with pytest.raises(torch.OutOfMemoryError):
        attacked(network, images, labels, "bim", "linf")


@pytest.mark.parametrize(
    ("method", "norm", "eps"), [("pgd", "linf", 8), ("pgd", "l2", 14), ("onepixel", "l0", 65), ("square", "l2", 128)]
)
def test_radius_beyond_all_images_is_refused(method, norm, eps):
    network = network_of()
    images, labels = problem(network, 2)
    with pytest.raises(FeaturePathsError, match=f"eps: {eps}"):
        attacked(network, images, labels, method, norm, eps=eps)


def docs_table():
    """The rows of the table in the docs: what each attack is, as `METHODS` has it."""
    lines = [
        "| `method` | `norm` | torchattacks | bounded by `eps` | draws random numbers | independent | attacks | "
        "`parameters` |",
        "|:--|:--|:--|:--|:--|:--|:--|:--|",
    ]
    for method, spec in METHODS.items():
        bounded = "no" if spec.radius is None else "yes, a number of pixels" if spec.norms == ["l0"] else "yes"
        independent = "yes, one at a time" if spec.alone else "yes" if is_independent(spec) else "no"
        only = [f"{spec.least_classes} classes or more"] * (spec.least_classes > 2)
        only += [
            f"{least} classes or more with `{name}: {word}`"
            for name, parameter in spec.parameters.items()
            for word, least in parameter.words.items()
            if least > 2
        ]
        only += ["square images"] * spec.square + ["three channels"] * spec.colour
        only += [] if spec.most_values is None else [f"up to {spec.most_values:,} values"]
        cells = [
            f"`{method}`",
            ", ".join(f"`{norm}`" for norm in spec.norms),
            ", ".join(dict.fromkeys(spec.classes.values())),
            bounded,
            "yes" if spec.random else "no",
            independent,
            ", ".join(only) or "all",
            ", ".join(f"`{name}`" for name in spec.parameters),
        ]
        lines.append("| " + " | ".join(cells).rstrip() + " |")
    return "\n".join(lines) + "\n"


TABLE = re.compile(r"^\| `method` \| `norm` \| torchattacks.*?\n(?=\n)", re.DOTALL | re.MULTILINE)


def test_docs_table_equals_methods():
    assert TABLE.search(DOCS.read_text(encoding="utf-8"))[0] == docs_table()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    page = Path(sys.argv[1])
    page.write_text(TABLE.sub(lambda _: docs_table(), page.read_text(encoding="utf-8"), count=1), encoding="utf-8")
