from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.attacks.apgd import MOMENTUM, RHO, STOPPING_RULES, Budget, _checkpoints, apgd
from featurepaths.attacks.norms import NORMS, project, random_start, size, steepest
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.runner import autopgd_records, run_blocks
from tests.splits import Images, joined


class Linear(nn.Module):
    """Two logits, +-(w x + b): its best attack is known in closed form."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images):
        score = images.flatten(1) @ self.weight + self.bias
        return torch.stack([score, -score], dim=1)


def small_network(seed=0, classes=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 9, classes), nn.LayerNorm(classes)
        ).eval()


def small_problem(count=40, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 8, 8, generator=generator).to(dtype)
    network = small_network().to(dtype)
    with torch.no_grad():
        labels = network(images).argmax(dim=1)
    return network, images, labels


def start_of(images, eps, norm="linf", seed=0):
    return random_start(images, np.arange(len(images)), eps, norm, seed)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.02, 0.3])
def test_apgd_on_linear_model_reaches_optimum(norm, eps):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, generator=generator, dtype=torch.float64)
    # far enough from 0 and 1 that the box never binds
    images = 0.45 + 0.1 * torch.rand(20, 3, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.zeros(20, dtype=torch.long)
    network = Linear(weight, 5.0)
    search = apgd(
        misclassification(network, "ce"),
        images,
        labels,
        start_of(images, eps, norm),
        Budget(eps, norm, iterations=100),
    )
    dual = weight.norm(p=1 if norm == "linf" else 2)
    lowest = images.flatten(1) @ weight + 5.0 - eps * dual
    best_loss = torch.nn.functional.softplus(-2 * lowest)
    torch.testing.assert_close(search.points["max-loss"].loss, best_loss, rtol=1e-3, atol=0)
    direction = weight.sign() if norm == "linf" else weight / weight.norm()
    optimum = (images.flatten(1) - eps * direction).view_as(images)
    torch.testing.assert_close(search.points["max-loss"].adversarial, optimum, rtol=0, atol=0.05 * eps)
    assert (search.points["max-loss"].fooled == (lowest < 0)).all()


def test_apgd_in_corner_of_box_reaches_corner():
    weight = torch.ones(12, dtype=torch.float64)
    images = torch.full((1, 3, 2, 2), 0.05, dtype=torch.float64)
    search = apgd(
        misclassification(Linear(weight, -0.3), "ce"),
        images,
        torch.tensor([0]),
        start_of(images, 0.2),
        Budget(0.2, iterations=30),
    )
    torch.testing.assert_close(search.points["max-loss"].adversarial, torch.zeros_like(images))


def test_stopping_rules_select_among_evaluated_iterates():
    network, images, labels = small_problem()
    iterates = []
    inner = misclassification(network, "ce")

    def objective(points, targets):
        loss, fooled = inner(points, targets)
        iterates.append((points.detach().clone(), loss.detach().clone(), fooled.clone()))
        return loss, fooled

    search = apgd(objective, images, labels, start_of(images, 0.03), Budget(0.03))
    assert len(iterates) == 21
    assert (search.queries == 21).all()
    never = 0
    for image in range(len(images)):
        losses = [float(loss[image]) for _, loss, _ in iterates]
        wins = [step for step, (_, _, fooled) in enumerate(iterates) if fooled[image]]
        greatest = int(np.argmax(losses))
        if wins:
            expected = {
                "first-success": wins[0],
                "last-success": wins[-1],
                "max-loss": max(wins, key=lambda step: (losses[step], -step)),
            }
        else:
            never += 1
            expected = dict.fromkeys(STOPPING_RULES, greatest)
        assert int(search.first_fooled_step[image]) == (wins[0] if wins else -1)
        for stopping_rule, step in expected.items():
            assert torch.equal(search.points[stopping_rule].adversarial[image], iterates[step][0][image]), (
                image,
                stopping_rule,
            )
            assert float(search.points[stopping_rule].loss[image]) == losses[step]
            assert bool(search.points[stopping_rule].fooled[image]) == bool(wins)
    assert 0 < never < len(images), "the test needs images of both kinds"


def plain_apgd(objective, image, label, start, eps, norm, step, iterations):
    """AutoPGD's Algorithm 1 for one image, written as in the publication; returns each step's loss and success."""
    points = [0.0, 0.22]
    while points[-1] < 1:
        points.append(points[-1] + max(points[-1] - points[-2] - 0.03, 0.06))
    checkpoints = [int(np.ceil(round(p * iterations, 9))) for p in points if p <= 1]

    losses, wins = [], []

    def look(x):
        variable = x.clone().requires_grad_()
        loss, fooled = objective(variable, label)
        wins.append(bool(fooled))
        return loss.item(), torch.autograd.grad(loss.sum(), variable)[0]

    x, previous = start, start
    value, gradient = look(x)
    best, best_x, best_gradient = value, x, gradient
    losses.append(value)
    records = [(0, best, step, False)]
    for k in range(iterations):
        z = project(x + step * steepest(gradient, norm), image, eps, norm)
        alpha = MOMENTUM if k > 0 else 1.0
        following = project(x + alpha * (z - x) + (1 - alpha) * (x - previous), image, eps, norm)
        previous, x = x, following
        value, gradient = look(x)
        losses.append(value)
        if value > best:
            best, best_x, best_gradient = value, x, gradient
        if k + 1 in checkpoints[1:]:
            last, last_best, _, halved_then = records[-1]
            rises = sum(losses[i + 1] > losses[i] for i in range(last, k + 1))
            same = not halved_then and best <= last_best
            halve = rises < RHO * (k + 1 - last) or same
            if halve:
                step, x, gradient = step / 2, best_x, best_gradient
            records.append((k + 1, best, step, halve))
    return losses, wins, sum(record[3] for record in records)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [None, 0.5])
def test_apgd_equals_published_algorithm(norm, share):
    eps = 0.05 if norm == "linf" else 0.5
    step = share and share * eps
    network, images, labels = small_problem(12, torch.float64)
    objective = misclassification(network, "ce")
    start = start_of(images, eps, norm)
    search = apgd(objective, images, labels, start, Budget(eps, norm, step, iterations=40))
    points = search.points["max-loss"]
    halvings = 0
    for row in range(len(images)):
        one = slice(row, row + 1)
        losses, wins, halved = plain_apgd(
            objective, images[one], labels[one], start[one], eps, norm, 2 * eps if step is None else step, 40
        )
        halvings += halved
        counted = [loss for loss, won in zip(losses, wins, strict=True) if won] if any(wins) else losses
        assert bool(points.fooled[row]) == any(wins)
        assert float(points.loss[row]) == pytest.approx(max(counted), rel=1e-6)
    assert halvings > 0, "the test needs a search whose step was halved"


def test_checkpoints_by_hand_equal_published_ones():
    # p: 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of 100 iterations
    assert _checkpoints(100) == {22, 41, 57, 70, 80, 87, 93, 99}
    assert _checkpoints(20) == {5, 9, 12, 14, 16, 18, 19, 20}


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_images_do_not_influence_one_another(norm):
    network, images, labels = small_problem(10, torch.float64)
    eps = 0.05 if norm == "linf" else 0.5
    start = start_of(images, eps, norm)
    budget = Budget(eps, norm)
    together = apgd(misclassification(network, "ce"), images, labels, start, budget)
    for row in range(len(images)):
        one = slice(row, row + 1)
        alone = apgd(misclassification(network, "ce"), images[one], labels[one], start[one], budget)
        for stopping_rule in STOPPING_RULES:
            torch.testing.assert_close(
                alone.points[stopping_rule].adversarial,
                together.points[stopping_rule].adversarial[one],
                rtol=0,
                atol=1e-9,
            )


def as_uint8(count):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 8, 8, 3), np.uint8)


def run(network, images, labels, indices, **options):
    """Attack and return the max-loss images of all blocks."""
    budget = Budget(**{"eps": 0.05, "iterations": 10} | options)
    attack = partial(autopgd_records, objective=misclassification(network, "ce"), budget=budget)
    return joined(run_blocks(attack, Images(images, labels, indices)))["max-loss/adversarial"]


def test_attack_results_are_bit_identical_for_any_number_of_images():
    network, images = small_network(), as_uint8(150)
    labels, indices = np.zeros(150, np.int64), np.arange(1000, 1150)
    whole = run(network, images, labels, indices)
    assert len(whole) == 150
    for count in (64, 128, 149):
        # the first blocks of 64 are the same blocks; a cut one is filled up with other images
        part = run(network, images[:count], labels[:count], indices[:count])
        assert part.tobytes() == whole[:count].tobytes()


def test_attack_leaves_global_random_state_unchanged():
    network, images = small_network(), as_uint8(5)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(network, images, np.zeros(5, np.int64), np.arange(5))
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_attack_result_depends_on_seed():
    network, images = small_network(), as_uint8(20)
    labels, indices = np.zeros(20, np.int64), np.arange(20)
    assert (run(network, images, labels, indices) == run(network, images, labels, indices)).all()
    assert not (run(network, images, labels, indices, seed=1) == run(network, images, labels, indices)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_adversarial_images_stay_in_ball_and_box(norm, loss):
    network, images, labels = small_problem()
    eps = 0.05 if norm == "linf" else 0.5
    search = apgd(misclassification(network, loss), images, labels, start_of(images, eps, norm), Budget(eps, norm))
    for points in search.points.values():
        assert (size(points.adversarial - images, norm) <= eps + 1e-6).all()
        assert points.adversarial.min() >= 0
        assert points.adversarial.max() <= 1
        with torch.no_grad():
            assert ((network(points.adversarial).argmax(dim=1) != labels) == points.fooled).all()


def test_vanished_gradients_are_counted_per_image():
    def flat(images, labels):
        # the first image's loss does not depend on it
        loss = images.flatten(1).sum(dim=1) * torch.tensor([0.0, 1.0])
        return loss, torch.zeros(2, dtype=torch.bool)

    images = torch.full((2, 3, 2, 2), 0.5)
    search = apgd(flat, images, torch.zeros(2, dtype=torch.long), images, Budget(0.1, iterations=7))
    assert search.vanished_steps.tolist() == [7, 0]


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_is_as_strong_as_the_librarys(norm):
    """Robust accuracy of a small trained network: ours against torchattacks, same images, equal iterations."""
    import torchattacks

    from featurepaths.data.datasets import load_digits
    from featurepaths.networks.resnet import ResNet
    from featurepaths.training.images import ResidentImages
    from featurepaths.training.loop import train

    parts, _ = load_digits(32, 0.2, 0)
    pixels = torch.from_numpy(parts["train"][0]).permute(0, 3, 1, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNet("resnet18", 10, width=4)
    options = {"momentum": 0.9, "weight_decay": 0.0, "schedule": "constant", "milestones": [], "augment": "none"}
    digits = ResidentImages(pixels, torch.from_numpy(parts["train"][1]))
    for _ in train(network, digits, epochs=4, batch_size=64, learning_rate=0.05, adversary=None, seed=0,
                   precision="float32", compile=False, **options):  # fmt: skip
        pass
    images = torch.from_numpy(parts["test"][0]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(parts["test"][1])
    with torch.no_grad():
        right = network(images).argmax(dim=1) == labels
    eps = 0.03 if norm == "linf" else 0.7
    with torch.random.fork_rng():
        rival = torchattacks.APGD(
            network, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, steps=20, n_restarts=1, seed=0, loss="ce"
        )
        theirs = rival(images, labels)
    with torch.no_grad():
        theirs_stand = network(theirs).argmax(dim=1) == labels
    search = apgd(misclassification(network, "ce"), images, labels, start_of(images, eps, norm), Budget(eps, norm))
    ours_stand = right & (search.first_fooled_step < 0)
    ours, rivals = float(ours_stand.float().mean()), float(theirs_stand.float().mean())
    assert 0.05 < rivals < 0.9, "the attack should neither fail nor always succeed"
    # the same images, so only those count on which the two differ: McNemar's standard error
    differ = int((ours_stand != theirs_stand).sum())
    assert abs(ours - rivals) <= 3 * max(differ, 1) ** 0.5 / len(images)


def in_bfloat16(network):
    """The network computed roughly: its logits rounded to 8 bits of mantissa."""

    class Rough(nn.Module):
        def forward(self, images):
            return network(images).bfloat16().float()

    return Rough()


def test_apgd_with_fewer_stopping_rules_is_the_same_search():
    network, images, labels = small_problem()
    objective, start = misclassification(network, "ce"), start_of(images, 0.03)
    everything = apgd(objective, images, labels, start, Budget(0.03))
    for stopping_rule in STOPPING_RULES:
        alone = apgd(objective, images, labels, start, Budget(0.03), stopping_rules=[stopping_rule])
        assert list(alone.points) == [stopping_rule]
        assert torch.equal(alone.points[stopping_rule].adversarial, everything.points[stopping_rule].adversarial)
        assert torch.equal(alone.first_fooled_step, everything.first_fooled_step)


def test_reference_equal_to_objective_changes_nothing():
    network, images, labels = small_problem(dtype=torch.float64)
    objective, start = misclassification(network, "ce"), start_of(images, 0.03)
    plain = apgd(objective, images, labels, start, Budget(0.03))
    judged = apgd(objective, images, labels, start, Budget(0.03), reference=objective)
    assert torch.equal(plain.first_fooled_step, judged.first_fooled_step)
    for stopping_rule in STOPPING_RULES:
        assert torch.equal(plain.points[stopping_rule].adversarial, judged.points[stopping_rule].adversarial)
        assert torch.equal(plain.points[stopping_rule].fooled, judged.points[stopping_rule].fooled)


def test_example_not_confirmed_by_reference_is_no_success():
    """A reference with a separate bound: only images of a loss above it count."""
    network, images, labels = small_problem()
    objective, start = misclassification(network, "ce"), start_of(images, 0.03)
    asked = []

    def strict(points, targets):
        loss, fooled = objective(points, targets)
        asked.append(len(points))
        return loss, fooled & (loss > 2.0)

    plain = apgd(objective, images, labels, start, Budget(0.03))
    judged = apgd(objective, images, labels, start, Budget(0.03), reference=strict)
    expected = plain.points["max-loss"].fooled & (plain.points["max-loss"].loss > 2.0)
    assert 0 < expected.sum() < plain.points["max-loss"].fooled.sum(), "the test needs images of both kinds"
    for stopping_rule in STOPPING_RULES:
        # the last success may fail where the greatest loss does not: it is replaced
        assert torch.equal(judged.points[stopping_rule].fooled, expected), stopping_rule
        assert (judged.points[stopping_rule].loss[expected] > 2.0).all()
    assert torch.equal(judged.first_fooled_step >= 0, expected)
    assert (judged.first_fooled_step >= plain.first_fooled_step)[expected].all()
    assert sum(asked) < 10 * len(images), "not every iterate is judged"


def test_bfloat16_search_with_reference_is_nearly_as_strong():
    network, images, labels = small_problem(400)
    start = start_of(images, 0.02)
    exact, search_model = misclassification(network, "ce"), misclassification(in_bfloat16(network), "ce")
    plain = apgd(exact, images, labels, start, Budget(0.02))
    judged = apgd(search_model, images, labels, start, Budget(0.02), reference=exact)
    for stopping_rule, points in judged.points.items():
        with torch.no_grad():
            loss, fooled = exact(points.adversarial, labels)
        assert torch.equal(points.fooled, fooled), stopping_rule
        torch.testing.assert_close(points.loss, loss)
        assert (points.fooled == (judged.first_fooled_step >= 0)).all()
        assert abs(int(points.fooled.sum()) - int(plain.points[stopping_rule].fooled.sum())) <= 8, "2 % of 400"


def test_radius_per_channel_equals_attack_in_normalized_units():
    network, images, labels = small_problem(12, torch.float64)
    std = torch.tensor([0.2, 0.25, 0.3], dtype=torch.float64).view(-1, 1, 1)
    eps = 0.1
    search = apgd(misclassification(network, "ce"), images, labels, images, Budget(eps * std, iterations=15))
    delta = (search.points["max-loss"].adversarial - images).abs()
    assert (delta <= eps * std + 1e-12).all()
    by_channel = (delta / std).amax(dim=(0, 2, 3))
    torch.testing.assert_close(by_channel, torch.full((3,), eps, dtype=torch.float64))
    # a linear model reaches its optimum: every channel at its own radius
    weight = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middle = torch.full((2, 3, 2, 2), 0.5, dtype=torch.float64)
    target = torch.zeros(2, dtype=torch.long)
    linear_search = apgd(
        misclassification(Linear(weight, 1.0), "ce"), middle, target, middle, Budget(eps * std, iterations=50)
    )
    expected = middle - eps * std * weight.view(3, 2, 2).sign()
    torch.testing.assert_close(linear_search.points["max-loss"].adversarial, expected, rtol=0, atol=1e-3)


def test_random_start_fills_radius_of_each_channel():
    images = torch.full((5, 3, 8, 8), 0.5)
    eps = torch.tensor([0.01, 0.02, 0.04]).view(-1, 1, 1)
    delta = (random_start(images, np.arange(5), eps, "linf", 0) - images).abs()
    assert (delta <= eps + 1e-7).all()
    assert (delta.amax(dim=(0, 2, 3)) > 0.9 * eps.flatten()).all()
