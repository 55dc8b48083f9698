"""AutoPGD: against two libraries, and against bare forward and backward passes."""

import copy
import logging
from functools import partial

import numpy as np
import torch
import torchattacks
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import Result, speed_ratio
from featurepaths.attacks.apgd import STOPPING_RULES, Budget
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.runner import autopgd_records, run_blocks
from featurepaths.data.splits import Split
from featurepaths.networks.forward import InPrecision, resolve_precision
from featurepaths.networks.resnet import ResNet

EPS = 8 / 255
ITERATIONS = 20
ROUNDS = 3


def measure(device: torch.device) -> list[Result]:
    """Return the ratios of image-iterations a second, all images attacked."""
    precision = resolve_precision("auto", device)
    network = ResNet("resnet18", 10).to(device).eval().requires_grad_(False)
    # a library's user passes as many images as a GPU holds; ours always works in blocks of 64
    count = 64 if device.type == "cpu" else 1024
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device).float() / 255
    with torch.no_grad():
        labels = network(images).argmax(dim=1)  # torchattacks leaves images alone that the network gets wrong
    split = Split(pixels, labels.cpu().numpy(), np.arange(count), [])
    objective = misclassification(network, "ce")
    search_model = misclassification(InPrecision(copy.deepcopy(network), precision), "ce")

    def attack(searched, stopping_rules, reference=None):
        options = {"stopping_rules": stopping_rules, "reference": reference}
        records = partial(autopgd_records, objective=searched, budget=Budget(EPS, iterations=ITERATIONS), **options)
        list(run_blocks(records, split, device=device))

    def ours() -> None:
        attack(objective, STOPPING_RULES)

    def fast() -> None:
        attack(search_model, ["max-loss"], objective)

    # the libraries get the network as their users have it, whose weights want gradients
    users = copy.deepcopy(network).requires_grad_(True)
    rival = torchattacks.APGD(users, norm="Linf", eps=EPS, steps=ITERATIONS, n_restarts=1, loss="ce")

    def theirs() -> None:
        rival(images, labels)

    def bare() -> None:
        for _ in range(ITERATIONS):
            variable = images.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(network(variable), labels, reduction="sum"), variable)
        with torch.no_grad():
            network(images)

    beat = 1.0 if device.type == "cpu" else 1.2
    art = _art_attack(users, device, count)
    one_hot = np.eye(10, dtype=np.float32)[labels.cpu().numpy()]
    return [
        speed_ratio("AutoPGD, three stopping rules / torchattacks APGD (float32)", ours, theirs, beat, ROUNDS),
        speed_ratio(
            f"AutoPGD, max-loss ({precision}) / torchattacks APGD (float32)",
            fast,
            theirs,
            1.9 if precision == "bfloat16" else None,
            ROUNDS,
        ),
        speed_ratio("AutoPGD / bare passes (float32)", ours, bare, 0.97, ROUNDS),
        speed_ratio(
            "AutoPGD / Adversarial Robustness Toolbox (float32)",
            ours,
            lambda: art.generate(images.cpu().numpy(), one_hot),
            1.9,
            ROUNDS,
        ),
    ]


def _art_attack(network: nn.Module, device: torch.device, count: int):
    logging.getLogger("art").setLevel(logging.ERROR)
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        network,
        nn.CrossEntropyLoss(),
        (3, 32, 32),
        10,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )
    return AutoProjectedGradientDescent(
        classifier,
        eps=EPS,
        eps_step=2 * EPS,
        max_iter=ITERATIONS,
        nb_random_init=1,
        batch_size=count,
        loss_type="cross_entropy",
        verbose=False,
    )
