import inspect
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.attacks.norms import size
from featurepaths.attacks.runner import STOPPING_RULE, run_blocks
from featurepaths.attacks.torchattacks.methods import METHODS, complete
from featurepaths.attacks.torchattacks.runner import LibraryAttack
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.resnet import ResNet
from tests.splits import Images, joined

torchattacks = pytest.importorskip("torchattacks")

EPS = {"linf": 0.05, "l2": 1.0, "l0": 3}
FEW = {
    "deepfool": {"steps": 4},
    "cw": {"steps": 30, "c": "5", "lr": "0.02"},
    "ead": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": "1", "lr": "0.05"},
    "onepixel": {"steps": 2},
    "square": {"n_queries": 30},
    "eaden": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": "1", "lr": "0.05"},
    "spsa": {"nb_iter": 5, "nb_sample": 64},
    "sparsefool": {"steps": 2},
    "jsma": {"gamma": "1/1000"},
    "pixle": {"restarts": 3, "max_iterations": 5},
}
"""Parameters that make the slow ones fast."""
ALL = [(method, norm) for method, spec in METHODS.items() for norm in spec.norms]


@pytest.fixture
def quick_autoattack(monkeypatch):
    """AutoAttack asks Square for 5,000 queries of each image that stands."""
    real = torchattacks.attacks.autoattack.Square
    monkeypatch.setattr(
        torchattacks.attacks.autoattack, "Square", lambda *given, **named: real(*given, **named | {"n_queries": 20})
    )


def network_of(seed=0, classes=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 64, classes))
    net[3].weight.data *= 5  # no label stands for granted
    return net.eval()


def problem(count, network, wrong=()):
    """Images, and the network's predictions as their labels, but for some."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    with torch.no_grad():
        labels = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
    for row in wrong:
        labels[row] = (labels[row] + 1) % 5
    return images, labels


def attacked(network, images, labels, method, norm, rows=None, **options):
    """All records of an attack, joined, on images with the rows 1000, 1001, ... of a data set."""
    settings = {"eps": EPS.get(norm) if METHODS[method].radius else None, "parameters": FEW.get(method, {}), "seed": 0}
    indices = np.arange(1000, 1000 + len(labels))
    attack = LibraryAttack(network, method, norm, **settings | options)
    return joined(run_blocks(attack, Images(images, labels, indices), rows))


def as_tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("method", "norm"), ALL)
def test_methods_parameters_equal_the_librarys(method, norm):
    spec = METHODS[method]
    signature = inspect.signature(getattr(torchattacks, spec.classes[norm])).parameters
    named = {*spec.parameters, *spec.context, *spec.fixed, *([spec.radius] if spec.radius else [])}
    assert named <= signature.keys()
    for name, parameter in spec.parameters.items():
        theirs = signature[name].default
        if parameter.kind == "number" and parameter.default is not None:
            assert float(Fraction(parameter.default)) == theirs, name
        elif parameter.default is not None:
            assert parameter.default == theirs, name
            assert type(parameter.default) is type(theirs), name


def test_methods_cover_every_norm_of_eq_4():
    assert {norm for _, norm in ALL} == {"l0", "l1", "l2", "linf"}
    assert {"fgsm", "pgd", "mifgsm", "deepfool", "cw", "square", "autoattack"} <= METHODS.keys()


def test_default_step_at_default_radius_equals_the_librarys():
    assert complete("pgd", {}, Fraction(8, 255))["alpha"] == "2/255"
    assert complete("pgd", {"alpha": "1/255"}, Fraction(8, 255))["alpha"] == "1/255"


def plain_norm(delta, norm):
    """The norm of one perturbation [C, H, W], in NumPy and double precision."""
    if norm == "l0":
        return sum(bool(np.any(delta[:, i, j] != 0)) for i in range(delta.shape[1]) for j in range(delta.shape[2]))
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    return np.linalg.norm(delta.astype(np.float64).ravel(), ord=order)


@pytest.mark.parametrize(("method", "norm"), ALL)
def test_torchattacks_result_keeps_norm_and_range_and_networks_verdict(method, norm, quick_autoattack):
    network = network_of()
    images, labels = problem(12, network, wrong=[3, 7])
    records = attacked(network, images, labels, method, norm)
    clean, adversarial = as_tensor(images).numpy(), records[f"{STOPPING_RULE}/adversarial"]
    assert adversarial.dtype == np.float32
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    norms = [plain_norm(one, norm) for one in adversarial - clean]
    np.testing.assert_allclose(records[f"{STOPPING_RULE}/norm"], norms, rtol=1e-5, atol=1e-6)
    if METHODS[method].radius:
        assert max(norms) <= EPS[norm] * 1.0001 + 1e-6
    with torch.no_grad():
        logits = network(torch.from_numpy(adversarial))
    right = np.ones(12, bool)
    right[[3, 7]] = False
    wrong_now = logits.argmax(dim=1).numpy() != labels
    assert (records["clean_correct"] == right).all()
    assert (records["success"] == (right & wrong_now)).all()
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    np.testing.assert_allclose(records[f"{STOPPING_RULE}/loss"], loss, rtol=1e-4, atol=1e-5)
    assert (records["first_fooled_step"] == -1).all()
    assert (records["vanished_steps"] == 0).all()
    assert records["success"].any() or norm == "l0", "the test needs an attack that succeeds"
    assert records["n_queries"].min() >= 1


@pytest.mark.parametrize(("method", "queries"), [("fgsm", 1), ("pgd", 10), ("mifgsm", 10), ("eotpgd", 20)])
def test_torchattacks_queries_by_hand_are_counted(method, queries):
    network = network_of()
    images, labels = problem(3, network)
    assert attacked(network, images, labels, method, "linf")["n_queries"].tolist() == [queries] * 3


@pytest.mark.parametrize(("method", "norm"), [each for each in ALL if each[0] != "jsma"])  # minutes, and alone anyway
def test_torchattacks_shard_is_bit_identical(method, norm):
    network = network_of()
    images, labels = problem(70, network, wrong=[2, 66])
    quicker = {
        "onepixel": {"steps": 1, "popsize": 5},
        "ead": {**FEW["ead"], "binary_search_steps": 1},
        "autoattack": {"version": "rand"},
    }
    options = {"parameters": quicker.get(method, FEW.get(method, {}))}
    whole = attacked(network, images, labels, method, norm, **options)
    assert len(whole["success"]) == 70
    last = attacked(network, images, labels, method, norm, [slice(64, 70)], **options)
    for name, values in whole.items():
        assert values[64:].tobytes() == last[name].tobytes(), name


def test_queries_of_images_attacked_alone_are_per_image():
    """DeepFool asks once whether it is right already, where others take steps: on average it would be the same."""
    network = network_of()
    images, labels = problem(6, network, wrong=[1, 4])
    queries = attacked(network, images, labels, "deepfool", "l2")["n_queries"]
    assert (queries[[1, 4]] == 1).all()
    assert (queries[[0, 2, 3, 5]] > 1).all()


def test_carlini_wagner_takes_all_steps():
    """The library stops where the summed loss of all images has risen."""
    network = network_of()
    images, labels = problem(3, network)
    queries = attacked(network, images, labels, "cw", "l2", parameters={"steps": 40, "lr": "1/2"})["n_queries"]
    assert queries.tolist() == [40, 40, 40]


def test_random_attacks_depend_on_seed():
    network = network_of()
    images, labels = problem(6, network)
    for method, norm in (("pgd", "linf"), ("pgd", "l2"), ("square", "linf"), ("onepixel", "l0")):
        same, other = (
            [
                attacked(network, images, labels, method, norm, seed=seed)[f"{STOPPING_RULE}/adversarial"]
                for seed in seeds
            ]
            for seeds in ([0, 0], [1, 2])
        )
        assert (same[0] == same[1]).all()
        assert (other[0] != other[1]).any(), method


@pytest.mark.parametrize(("method", "norm"), ALL)
def test_torchattacks_leaves_network_and_generators_unchanged(method, norm, quick_autoattack):
    network = ResNet("resnet18", 5, width=4).eval()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = problem(3, network)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    attacked(network, images, labels, method, norm)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(one.requires_grad and one.grad is None for one in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_network_under_attack_is_in_evaluation_mode():
    modes = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network_of()

        def forward(self, images):
            modes.append(self.training or self.inner.training)
            return self.inner(images)

    network = Watched()
    assert network.training
    images, labels = problem(3, network.inner)
    attacked(network, images, labels, "autoattack", "linf", parameters={"version": "rand"})
    assert not any(modes)


class Linear(nn.Module):
    """Logits w x + b."""

    def __init__(self, classes=4, shift=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 3072, generator=generator) / 10)
        self.bias = nn.Parameter(torch.full((classes,), shift))

    def forward(self, images):
        # around gray, so that the hyperplanes pass near the images
        return (images.flatten(1) - 0.5) @ self.weight.T + self.bias


def gray(count):
    """Images without black and white: no pixel meets 0 or 1 on its way to a hyperplane."""
    return np.random.default_rng(1).integers(30, 226, (count, 32, 32, 3), np.uint8)


def distance_to_the_boundary(network, images, labels):
    """The Euclidean distance to the nearest hyperplane between classes: |margin| / ||w_i - w_j||, in plain loops."""
    weight = network.weight.detach().double().numpy()
    with torch.no_grad():
        logits = network(as_tensor(images)).double().numpy()
    distances = []
    for row, label in enumerate(labels):
        others = [other for other in range(len(weight)) if other != label]
        distances.append(
            min(
                (logits[row, label] - logits[row, other]) / np.linalg.norm(weight[label] - weight[other])
                for other in others
            )
        )
    return np.array(distances)


def linear_problem(count, shift=0.0):
    network, images = Linear(shift=shift), gray(count)
    with torch.no_grad():
        labels = network(as_tensor(images)).argmax(dim=1).numpy()
    return network, images, labels


def test_fgsm_perturbation_is_sign_of_gradient():
    """Two classes: the cross-entropy's gradient points from the own weights to the other's."""
    network, images = Linear(classes=2), gray(5)
    with torch.no_grad():
        labels = network(as_tensor(images)).argmax(dim=1).numpy()
    adversarial = attacked(network, images, labels, "fgsm", "linf")[f"{STOPPING_RULE}/adversarial"]
    weight = network.weight.detach()
    for row, label in enumerate(labels):
        expected = as_tensor(images)[row] + 0.05 * (weight[1 - label] - weight[label]).sign().view(3, 32, 32)
        np.testing.assert_allclose(adversarial[row], expected, atol=1e-6)


def test_deepfool_finds_nearest_hyperplane():
    network, images, labels = linear_problem(10)
    records = attacked(network, images, labels, "deepfool", "l2", parameters={"overshoot": "1/50"})
    nearest = distance_to_the_boundary(network, images, labels)
    assert records["success"].all()
    np.testing.assert_allclose(records[f"{STOPPING_RULE}/norm"], 1.02**2 * nearest, rtol=1e-3)


def test_deepfool_ends_beyond_boundary():
    """Iterated, the library's steps converge to the boundary: there a millionth of a logit decides."""
    network = network_of()
    network[0].weight.data *= 10  # far from linear, so that it takes several steps
    images, labels = problem(20, network)
    records = attacked(network, images, labels, "deepfool", "l2", parameters={})
    with torch.no_grad():
        logits = network(torch.from_numpy(records[f"{STOPPING_RULE}/adversarial"])).numpy()
    assert records["success"].all()
    assert (logits.max(axis=1) - logits[np.arange(20), labels]).min() > 1e-4


@pytest.mark.parametrize("shift", [50.0, -50.0])
def test_carlini_wagner_with_any_logit_sign_comes_near_hyperplane(shift):
    """The library alone finds nothing where all logits are negative."""
    network, images, labels = linear_problem(6, shift)
    parameters = {"steps": 300, "lr": "0.0003", "c": "1"}
    records = attacked(network, images, labels, "cw", "l2", parameters=parameters)
    nearest = distance_to_the_boundary(network, images, labels)
    assert records["success"].all()
    assert (records[f"{STOPPING_RULE}/norm"] >= nearest * 0.999).all()
    step = 0.0003 / 2 * math.sqrt(3072)  # Adam moves every pixel by about lr, in the space of tanh
    assert (nearest > 2 * step).sum() >= 4, "the test needs hyperplanes that are several steps away"
    assert (records[f"{STOPPING_RULE}/norm"] <= nearest * 1.05 + step).all()


def test_elastic_net_comes_near_least_l1_norm():
    """Along one pixel the margin falls fastest by its weight difference: |margin| / ||w_i - w_j||_inf, if that fits."""
    network, images, labels = linear_problem(6)
    records = attacked(
        network, images, labels, "ead", "l1", parameters={"max_iterations": 200, "lr": "0.05", "beta": "0.05"}
    )
    weight = network.weight.detach().double().numpy()
    with torch.no_grad():
        logits = network(as_tensor(images)).double().numpy()
    bounds = [
        min(
            (logits[row, label] - logits[row, other]) / np.abs(weight[label] - weight[other]).max()
            for other in range(4)
            if other != label
        )
        for row, label in enumerate(labels)
    ]
    norms = records[f"{STOPPING_RULE}/norm"]
    assert records["success"].all()
    assert (norms >= np.array(bounds) * 0.999).all()
    euclidean = attacked(network, images, labels, "deepfool", "l2")[f"{STOPPING_RULE}/adversarial"]
    l1_of_euclidean = np.abs(euclidean - as_tensor(images).numpy()).sum(axis=(1, 2, 3))
    assert (norms < l1_of_euclidean).all()


def test_unbounded_example_beyond_eps_is_replaced_by_clean_image():
    network, images, labels = linear_problem(10)
    free = attacked(network, images, labels, "deepfool", "l2")
    eps = float(np.median(free[f"{STOPPING_RULE}/norm"]))
    kept = attacked(network, images, labels, "deepfool", "l2", eps=eps)
    near = free[f"{STOPPING_RULE}/norm"] <= eps * 1.0001 + 1e-6
    assert 0 < near.sum() < 10
    assert (kept["success"] == near).all()
    np.testing.assert_array_equal(
        kept[f"{STOPPING_RULE}/adversarial"][near], free[f"{STOPPING_RULE}/adversarial"][near]
    )
    np.testing.assert_array_equal(kept[f"{STOPPING_RULE}/adversarial"][~near], as_tensor(images).numpy()[~near])
    assert (kept[f"{STOPPING_RULE}/norm"][~near] == 0).all()


def test_size_in_l0_counts_pixels_not_channels():
    delta = torch.zeros(2, 3, 4, 4)
    delta[0, :, 1, 2] = 0.1
    delta[0, 1, 3, 3] = -0.1
    assert size(delta, "l0").tolist() == [2, 0]
    assert size(delta, "l1").tolist() == pytest.approx([0.4, 0])
    assert size(delta, "l2").tolist() == pytest.approx([0.2, 0])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-0.01, r"\[0, 1\]"),
        (1.01, r"\[0, 1\]"),
        (0.7, r"eps \(linf, 0.1\)"),
    ],
)
def test_invalid_result_is_refused_with_method_and_image(value, problem):
    clean = torch.full((3, 3, 4, 4), 0.5)
    adversarial = clean.clone()
    adversarial[1, 2, 0, 0] = value
    with pytest.raises(FeaturePathsError, match=rf"pgd \(torchattacks.PGD\) .*{problem}.* image 17\b"):
        LibraryAttack(network_of(), "pgd", "linf", 0.1, {}, 0).check(adversarial, clean, np.array([16, 17, 18]))


def test_result_within_rounding_is_clipped():
    clean = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    adversarial = clean + torch.tensor([-5e-7, 5e-7]).view(2, 1, 1, 1)
    attack = LibraryAttack(network_of(), "pgd", "linf", 0.1, {}, 0)
    assert torch.equal(attack.check(adversarial, clean, np.arange(2)), clean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pdg"}, "'pdg'.* fgsm, .*pgd"),
        ({"norm": "l1"}, "pgd .*l1.* linf, l2"),
        ({"parameters": {"stpes": 3}}, "pgd .*stpes.* steps, alpha, random_start"),
        ({"eps": None}, "pgd .*eps"),
        ({"method": "autoattack", "parameters": {}, "classes": 3}, "autoattack .*4 .*3"),
        ({"method": "autoattack", "parameters": {"version": "rand"}, "classes": 2}, "autoattack .*3 .*2"),
        ({"method": "upgd", "parameters": {"loss": "dlr"}, "classes": 2}, "upgd .*3 .*2"),
    ],
)
def test_wrong_attack_options_are_refused_by_name(options, message):
    settings = {"method": "pgd", "norm": "linf", "eps": 0.1, "parameters": {}, "seed": 0, "classes": 10} | options
    classes = settings.pop("classes")
    with pytest.raises(FeaturePathsError, match=message):
        LibraryAttack(network_of(), **settings).build(0, classes, (3, 32, 32))


def test_missing_library_message_has_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    network = network_of()
    images, labels = problem(2, network)
    with pytest.raises(FeaturePathsError, match="pip install --no-deps torchattacks"):
        attacked(network, images, labels, "fgsm", "linf")
