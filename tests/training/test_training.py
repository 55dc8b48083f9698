import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.training.adversary import pgd, single_step
from featurepaths.training.augment import PADDING, crop_flip
from featurepaths.training.loop import train

OPTIONS = {
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "constant",
    "milestones": [],
    "augment": "none",
    "adversary": None,
    "seed": 0,
}


def problem(count=40):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return images, (images.float().mean(dim=(1, 2, 3)) > 127).long()


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def weights(net):
    return torch.cat([tensor.flatten().double() for tensor in net.state_dict().values()])


def test_training_is_plain_sgd():
    """One epoch against torch's own optimiser, driven by hand."""
    images, labels = problem()
    trained, by_hand = network(), network()
    (record,) = train(trained, images, labels, **OPTIONS | {"epochs": 1})
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    losses, right = [], 0
    for rows in order.split(16):
        logits = by_hand(images[rows].float() / 255)
        loss = nn.functional.cross_entropy(logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * len(rows)
        right += int((logits.argmax(dim=1) == labels[rows]).sum())
    assert torch.equal(weights(trained), weights(by_hand))
    assert record.loss == pytest.approx(np.mean(losses))
    assert record.accuracy == right / 40
    assert not trained.training


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
@pytest.mark.parametrize(
    "adversary",
    [
        None,
        {"method": "single-step", "eps": 0.1, "step": None, "iterations": None},
        {"method": "pgd", "eps": 0.1, "step": 0.03, "iterations": 2},
    ],
)
def test_the_seed_alone_decides_the_weights(augment, adversary):
    images, labels = problem()
    options = OPTIONS | {"augment": augment, "adversary": adversary}
    first, again, other = network(), network(), network()
    state = torch.get_rng_state()
    list(train(first, images, labels, **options))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    torch.rand(5)
    list(train(again, images, labels, **options))
    list(train(other, images, labels, **options | {"seed": 1}))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def rates(**options):
    images, labels = problem()
    return [record.learning_rate for record in train(network(), images, labels, **OPTIONS | options)]


def test_steps_divide_the_rate_when_the_milestones_epoch_begins():
    # the paper: 0.01 at first, divided by 10 at epochs 117 and 233
    assert rates(epochs=6, schedule="steps", milestones=[3, 5]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_one_cycle_rises_and_falls():
    found = rates(epochs=10, schedule="one-cycle")
    assert max(found) <= 0.1
    assert found[0] < max(found) / 2
    assert found[-1] < 0.001
    assert np.argmax(found) in (2, 3)


def test_divergence_stops_training():
    images, labels = problem()
    with pytest.raises(FeaturePathsError, match=r"diverged in epoch 1.*Lower learning_rate"):
        list(train(network(), images, labels, **OPTIONS | {"learning_rate": 1e30}))


def test_training_learns_and_adversarial_training_defends():
    images, labels = problem(200)
    plain = network()
    last = list(train(plain, images, labels, **OPTIONS | {"epochs": 15, "learning_rate": 0.02}))[-1]
    assert last.accuracy > 0.9


@pytest.mark.parametrize("iterations", [1, 5])
def test_adversaries_stay_in_the_ball_and_raise_the_loss(iterations):
    images, labels = problem()
    images, net = images.float() / 255, network().train()
    before = weights(net)
    generator = torch.Generator().manual_seed(0)
    attacked = pgd(net, images, labels, 0.1, 0.05, iterations, generator)
    assert net.training
    assert torch.equal(weights(net), before), "running statistics moved"
    assert not attacked.requires_grad
    assert ((attacked - images).abs() <= 0.1 + 1e-6).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    net.eval()
    assert nn.functional.cross_entropy(net(attacked), labels) > nn.functional.cross_entropy(net(images), labels)


def test_single_step_by_hand():
    images, labels = problem()
    images, net = images.float() / 255, network().eval()
    found = single_step(net, images, labels, 0.1, torch.Generator().manual_seed(3))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(3))
    start = (images + 0.1 * (2 * noise - 1)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(start), labels), start)
    moved = start.detach() + 0.125 * gradient.sign()
    expected = torch.min(torch.max(moved, images - 0.1), images + 0.1).clamp(0, 1)
    torch.testing.assert_close(found, expected)


def test_crop_flip_is_a_crop_of_the_padded_image_mirrored_or_not():
    images = torch.rand(60, 3, 10, 12)
    found = crop_flip(images, torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    padded = nn.functional.pad(images, [PADDING] * 4)
    seen = set()
    for image, result in zip(padded, found, strict=True):
        crops = {
            (top, left, mirrored): (crop.flip(2) if mirrored else crop)
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            for crop in [image[:, top : top + 10, left : left + 12]]
        }
        matches = [key for key, crop in crops.items() if torch.equal(crop, result)]
        assert len(matches) == 1
        seen |= set(matches)
    assert {mirrored for _, _, mirrored in seen} == {False, True}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
