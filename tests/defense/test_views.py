"""The defence as networks: what they answer, their gradients, and attack libraries that know nothing of it."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from featurepaths.defense.recognition import TIE_BREAKS, vote
from featurepaths.defense.soft_decision import soft_vote
from featurepaths.errors import FeaturePathsError
from featurepaths.library.defense import FeaturePathDefense
from featurepaths.networks.resnet import ResNet
from tests.planted import FLAGGED_FROM, LENGTH, TO_EVADE, TO_FOOL, Plane, defense, halves, halves_defense

CLASSES = 4
COUNT = 2


@pytest.fixture(scope="module")
def network_defense():
    """A small network's defence, with a threshold in the middle of the scores of random images."""
    torch.manual_seed(0)
    network = ResNet("resnet18", 10, width=4).requires_grad_(False)
    module = FeaturePathDefense(network, network.layer_names)
    batch, labels = torch.rand(200, 3, 32, 32), torch.arange(200) % 10
    with torch.no_grad():
        network.classifier.weight *= 20
    return module.fit([(batch, labels)], detection_layers=[1, 2, 3]).calibrate([(batch, labels)], fpr=0.5), batch


def planted_images():
    """Images of two pixels at all angles."""
    angles = torch.linspace(0, 2 * torch.pi, 721)[:-1]
    return (LENGTH * torch.stack([angles.cos(), angles.sin()], dim=1)).view(-1, 1, 1, 2)


@pytest.mark.parametrize("voting_layers", [[1], [2], [1, 2]])
@pytest.mark.parametrize("always_right", [True, False])
def test_view_answers_equal_defences(voting_layers, always_right):
    planted, batch = defense(Plane(always_right), voting_layers), planted_images()
    predicted = planted.predict(batch)
    assert 0 < predicted.flagged.sum() < len(batch)
    recognised, detected = planted.as_recogniser()(batch), planted.as_detector()(batch)
    assert recognised.shape == (len(batch), CLASSES)
    assert detected.shape == (len(batch), CLASSES + 1)
    assert torch.equal(recognised.argmax(dim=1), predicted.label)
    expected = torch.where(predicted.flagged, CLASSES, planted.logits(batch).argmax(dim=1))
    assert torch.equal(detected.argmax(dim=1), expected)


def test_view_answers_of_a_network_equal_defences(network_defense):
    planted, batch = network_defense
    predicted = planted.predict(batch)
    assert torch.equal(planted.as_recogniser()(batch).argmax(dim=1), predicted.label)
    detected = planted.as_detector()(batch)
    assert torch.equal(detected.argmax(dim=1) == 10, predicted.flagged)
    of_network = planted.logits(batch)
    unlifted = ~predicted.flagged
    torch.testing.assert_close(differences(detected[unlifted, :10]), differences(of_network[unlifted]))


def differences(logits):
    """Logits [N, K] less their smallest, which no constant changes."""
    return logits - logits.amin(dim=1, keepdim=True)


def unit(similarity):
    """Unit of the margins of scores and of votes, from similarities [..., C]."""
    return 0.35 * similarity.detach().double().std(dim=-1, keepdim=True)


def test_recogniser_is_mixture_of_network_and_soft_vote():
    planted, batch = defense(Plane(), [1]), planted_images()
    outputs = planted.model_outputs(batch)
    similarity = outputs.similarity[:, 0].double()
    kept = torch.sigmoid((similarity.amax(dim=1, keepdim=True) - np.cos(FLAGGED_FROM)) / unit(similarity))
    expected = kept * outputs.logits.double().softmax(dim=1) + (1 - kept) * (similarity / unit(similarity)).softmax(
        dim=1
    )
    torch.testing.assert_close(planted.as_recogniser().soft(outputs).exp().double(), expected, rtol=1e-3, atol=1e-5)


def test_force_argmax_leaves_gradients_unchanged():
    planted = defense(Plane(always_right=True), [1])
    batch = planted_images().requires_grad_()
    view = planted.as_recogniser()
    logits, soft = view(batch), view.soft(planted.model_outputs(batch))
    assert (logits.argmax(dim=1) != soft.argmax(dim=1)).any(), "some answers have to be lifted"
    moved = (differences(logits) - differences(soft)).abs() > 1e-4
    assert moved.any()
    assert (moved.sum(dim=1) <= 1).all()
    lifted, plain = (torch.autograd.grad(each.sum(), batch)[0] for each in (logits, soft))
    assert torch.equal(lifted, plain)


VIEWS = ["as_recogniser", "as_detector"]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scale", [1, 1e3, 1e6, 1e12])
def test_view_logits_have_smallest_one_and_greatest_answer(network_defense, view, scale):
    """However far apart the network's logits lie, and so however great the constant is that is added."""
    planted, batch = network_defense
    scaled = copy.deepcopy(planted)
    with torch.no_grad():
        scaled.encoder.network.network.classifier.weight *= scale
    scaled.freeze(planted.centroids, planted.calibration)
    logits, predicted = getattr(scaled, view)()(batch), scaled.predict(batch)
    assert (logits.amin(dim=1) >= 1).all()
    flagged = torch.where(predicted.flagged, 10, scaled.logits(batch).argmax(dim=1))
    assert torch.equal(logits.argmax(dim=1), predicted.label if view == "as_recogniser" else flagged)


@pytest.mark.parametrize("view", VIEWS)
def test_view_constant_leaves_probability_and_gradient_unchanged(network_defense, view):
    planted, batch = network_defense
    part = batch[:50].clone().requires_grad_()
    viewed = getattr(planted, view)()
    logits, formula = viewed(part), viewed.soft(planted.model_outputs(part))
    unlifted = (differences(logits) - differences(formula)).abs().amax(dim=1) < 1e-4
    assert unlifted.sum() > 10
    for of in (F.cross_entropy, F.multi_margin_loss):
        losses = [of(each[unlifted], planted.predict(part).label[unlifted]) for each in (logits, formula)]
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(*(torch.autograd.grad(each, part, retain_graph=True)[0] for each in losses))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_image_that_is_not_finite_has_nan_logits_and_others_theirs(network_defense, view, bad):
    """As libraries make such candidates themselves: ART's SquareAttack in L2, foolbox's NewtonFool."""
    planted, batch = network_defense
    broken = batch[:8].clone()
    broken[3, 0, 5, 5] = bad
    others = torch.arange(8) != 3
    clean = batch[:8].clone().requires_grad_()
    broken.requires_grad_()
    viewed = getattr(planted, view)()
    actual, expected = viewed(broken), viewed(clean)
    assert actual[3].isnan().all()
    assert torch.equal(actual[others], expected[others])
    gradients = [
        torch.autograd.grad(out[others].amax(dim=1).sum(), at)[0] for out, at in ((actual, broken), (expected, clean))
    ]
    assert torch.equal(gradients[0][others], gradients[1][others])
    for refuses in (planted.predict, planted.score, planted.paths, planted):
        with pytest.raises(FeaturePathsError, match=r"pixels .*1 image \(3\)"):
            refuses(broken)


@pytest.mark.parametrize("view", VIEWS)
def test_view_logits_where_networks_are_not_finite_are_nan(view):
    """The second image is finite, and only the network's second logit of it is not."""

    class Overflows(Plane):
        def forward(self, images):
            logits = super().forward(images)
            return logits + torch.where(images.flatten(1)[:, :1] > 0.9, torch.tensor([0, torch.inf, 0, 0]), 0.0)

    planted = defense(Overflows(), [1])
    batch = torch.tensor([[0.5, 0.2], [0.95, 0.2], [0.2, 0.5]]).view(-1, 1, 1, 2)
    assert getattr(planted, view)()(batch).isnan().any(dim=1).tolist() == [False, True, False]
    with pytest.raises(FeaturePathsError, match=r"logits .*1 image \(1\)"):
        planted.predict(batch)


@pytest.mark.parametrize("view", VIEWS)
def test_view_is_in_evaluation_mode(view):
    viewed = getattr(defense(Plane(), [1]), view)()
    for same in (viewed, viewed.train(), viewed.train(True), torch.nn.Sequential(viewed).train()[0]):
        assert not any(module.training for module in same.modules())


@pytest.mark.parametrize("view", VIEWS)
def test_view_gradient_of_every_image_is_not_zero(network_defense, view):
    planted, batch = network_defense
    for flagged in (True, False):
        part = batch[planted.predict(batch).flagged == flagged][:20].clone().requires_grad_()
        logits = getattr(planted, view)()(part)
        loss = F.cross_entropy(logits, logits.argmax(dim=1))
        (gradient,) = torch.autograd.grad(loss, part)
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_detector_logit_follows_score():
    planted, batch = defense(Plane(), [1]), planted_images().requires_grad_()
    towards = torch.autograd.grad(planted.score(batch).sum(), batch)[0]
    logits = planted.as_detector()(batch)
    (gradient,) = torch.autograd.grad((logits[:, :CLASSES].amax(dim=1) - logits[:, CLASSES]).sum(), batch)
    of_score = unit(planted.paths(batch)[:, 0])
    torch.testing.assert_close(gradient.double() * of_score.view(-1, 1, 1, 1), towards.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_soft_vote_mostly_agrees_with_hard_vote(tie_break):
    """Three layers that share a signal and have separate noise, as layers of a network do."""
    generator = np.random.default_rng(0)
    signal = 0.15 * generator.normal(size=(2000, 1, 10))
    similarity = np.clip(0.6 + signal + 0.07 * generator.normal(size=(2000, 3, 10)), -1, 1).astype(np.float32)
    weights = np.full(3, 1 / 3)
    soft = soft_vote(torch.from_numpy(similarity), [1, 2, 3], weights)
    torch.testing.assert_close(soft.exp().sum(dim=1), torch.ones(2000))
    hard = vote(similarity, [1, 2, 3], weights, tie_break)
    unanimous = (similarity.argmax(axis=2) == hard[:, None]).all(axis=1)
    agrees = soft.argmax(dim=1).numpy() == hard
    assert 0.3 < unanimous.mean() < 0.9
    assert agrees[unanimous].mean() > 0.99
    assert agrees.mean() > 0.8


# Libraries, unmodified, against defences whose weakest point is known: see test_run


def attacked(name, view, eps):
    """A library's adversarial examples of images of class 0, aimed at class 1 where that is possible."""
    clean = torch.from_numpy(halves(COUNT)).permute(0, 3, 1, 2).float() / 255
    labels = torch.zeros(COUNT, dtype=torch.long)
    if name.startswith("art"):
        return art_attack(name, view, eps, clean, labels)
    library = pytest.importorskip("torchattacks")
    options = {"eps": eps, "alpha": eps / 10, "steps": 40, "random_start": False}
    match name:
        case "pgd":
            return library.PGD(view, **options)(clean, labels)
        case "targeted pgd":
            attack = library.PGD(view, **options)
            attack.set_mode_targeted_by_label(quiet=True)
            return attack(clean, labels + 1)
        case "autoattack":
            return library.AutoAttack(view, eps=eps, n_classes=CLASSES, seed=0)(clean, labels)


def art_attack(name, view, eps, clean, labels):
    art = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    outputs = view(clean).shape[1]
    estimator = PyTorchClassifier(
        view, torch.nn.CrossEntropyLoss(), clean.shape[1:], outputs, clip_values=(0, 1), device_type="cpu"
    )
    options = {"eps": eps, "eps_step": eps / 10, "max_iter": 40, "targeted": name == "art, targeted", "verbose": False}
    aim = labels + options["targeted"]
    attack = art.ProjectedGradientDescent(estimator, **options)
    return torch.from_numpy(attack.generate(clean.numpy(), np.eye(outputs, dtype=np.float32)[aim]))


class Plus(torch.nn.Module):
    """A network to whose logits a constant is added."""

    def __init__(self, network, constant):
        super().__init__()
        self.network, self.constant = network, constant

    def forward(self, images):
        return self.network(images) + self.constant


@pytest.mark.parametrize("view", VIEWS)
def test_carlini_wagner_on_view_succeeds_with_and_without_constant(network_defense, view):
    """torchattacks' CW: on negative logits its loss is zero everywhere, and the clean images come back."""
    library = pytest.importorskip("torchattacks")
    planted, batch = network_defense
    part = batch[~planted.predict(batch).flagged][:10]
    viewed = getattr(planted, view)()
    labels = viewed(part).argmax(dim=1)
    for network in (viewed, Plus(viewed, 40)):
        examples = library.CW(network, c=5, steps=40, lr=0.05)(part, labels)
        assert (viewed(examples).argmax(dim=1) != labels).all()


@pytest.mark.parametrize("name", ["pgd", "targeted pgd", "autoattack", "art", "art, targeted"])
def test_libraries_on_recogniser_succeed_at_known_radius_only(name):
    """The vote is always right, so an example has to be beyond the flagged angles, a known distance away."""
    planted = halves_defense()
    assert (planted.predict(attacked(name, planted.as_recogniser(), 1.03 * TO_EVADE)).label == 1).all()
    if name != "autoattack":  # which takes its time to find nothing
        assert (planted.predict(attacked(name, planted.as_recogniser(), 0.97 * TO_EVADE)).label == 0).all()


@pytest.mark.parametrize("name", ["targeted pgd", "art, targeted"])
def test_targeted_attacks_on_detector_succeed_at_known_radius_only(name):
    planted = halves_defense()
    for eps, evades in ((1.03 * TO_EVADE, True), (0.97 * TO_EVADE, False)):
        examples = attacked(name, planted.as_detector(), eps)
        predicted, label = planted.predict(examples), planted.logits(examples).argmax(dim=1)
        assert ((label == 1) & ~predicted.flagged).all() == evades
        assert (predicted.flagged == (not evades)).all()


@pytest.mark.parametrize("name", ["pgd", "autoattack", "art"])
def test_untargeted_attacks_on_detector_end_flagged(name):
    planted = halves_defense()
    examples = attacked(name, planted.as_detector(), 0.9 * TO_FOOL)
    assert planted.predict(examples).flagged.all()
