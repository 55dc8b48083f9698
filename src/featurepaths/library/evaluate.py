"""From a bare network to the evaluation of its defence, in one call."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from featurepaths.defense.checks import Batches
from featurepaths.experiment.config.attacks import Attack
from featurepaths.experiment.config.messages import read_section
from featurepaths.library.defense import ATTACK, SEARCH, FeaturePathDefense
from featurepaths.library.evaluation import Evaluation
from featurepaths.library.images import check_labels, load_images
from featurepaths.library.suites import oblivious_records, on_device, searching
from featurepaths.networks.layers import find_layers
from featurepaths.runtime.blocks import BLOCK

STOPPING_RULE = "max-loss"
"""The examples of calibration images by which the threshold and the voting layers are set."""


def evaluate(
    model: nn.Module,
    train: Batches,
    calibration: Batches,
    test: Batches,
    eps: float | str | Fraction,
    *,
    layers: str | Sequence[str] = "auto",
    pooling: str = "flatten",
    norm: str = ATTACK["norm"],
    iterations: int = SEARCH.iterations,
    step: float | str | Fraction | None = SEARCH.step,
    seed: int = ATTACK["seed"],
    device: torch.device | str | None = None,
    **options: Any,
) -> Evaluation:
    """Fit the defence to training images, calibrate it, and attack it on test images, as the workflow does.

    The threshold is Otsu's, and the most accurate layers vote: both by the calibration images and AutoPGD's examples
    of them, made against the network alone in the same ball.

    Parameters
    ----------
    model
        Logits [N, classes] of images [N, C, H, W] in [0, 1]. It is left in evaluation mode.
    train, calibration, test
        Loaders of images in [0, 1] and labels, without an image in common; `train` is read twice.
    layers
        Names of modules; ``auto`` or a pattern: see `featurepaths.networks.layers.find_layers`.
    pooling
        ``flatten`` or ``mean``.
    eps, norm, iterations, step, seed, device, options
        As in `featurepaths.library.defense.FeaturePathDefense.evaluate`.

    Returns
    -------
    The evaluation, whose `defense` is the fitted defence.

    Raises
    ------
    FeaturePathsError
        If layers cannot be found, a setting is not valid, or images or labels are not as above.
    """
    values = {"eps": eps, "norm": norm, "iterations": iterations, "step": step, "seed": seed}
    attack = read_section(Attack, values | {"stopping_rule": [STOPPING_RULE]}, "evaluate")
    images = load_images(calibration)
    defense = FeaturePathDefense(model, find_layers(model, layers, images.shape[1:]), pooling)
    with on_device(defense, device), searching():
        defense.fit(train)
        check_labels(images.labels, len(defense.centroids[0]))
        examples = oblivious_records(defense, images, attack)[f"{STOPPING_RULE}/adversarial"]
        labels = torch.from_numpy(images.labels).split(BLOCK)
        clean, adversarial = (torch.from_numpy(pixels).split(BLOCK) for pixels in (images.dataset, examples))
        defense.calibrate(list(zip(clean, labels, strict=True)), list(zip(adversarial, labels, strict=True)))
        return defense.evaluate(test, **values, **options)
