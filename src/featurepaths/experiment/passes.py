"""How often an image passes through the network in trainings, attacks, adaptive attacks and controls.

A pass is forward and backward; forward alone counts as half. The limits of jobs and the forecasts of `featurepaths new`
derive their times from these counts. `resisting` is the share of images that an attack does not defeat: the search of a
defeated image ends after a few steps, which do not count. Limits assume that every image resists.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from featurepaths.experiment.config.attacks import AnyAttack
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.config.networks import Training
from featurepaths.experiment.searches import searches, searches_of_balls, searches_of_budgets

AUTOATTACK = {
    "standard": lambda classes: 2500 + 50 * classes,
    "plus": lambda classes: 3000 + 150 * classes,
    "rand": lambda classes: 500,
}
"""Passes in each version of AutoAttack by the number of classes: 5,000 queries of Square, a few dozen steps against
every class, or 20 gradients per step."""
PASSES: Mapping[str, Callable[[Mapping[str, Any], int], float]] = {
    "fgsm": lambda options, classes: 1,
    "ffgsm": lambda options, classes: 1,
    "eotpgd": lambda options, classes: options["steps"] * options["eot_iter"],
    "upgd": lambda options, classes: options["steps"] * options["eot_iter"],
    "pgdrs": lambda options, classes: options["steps"] * options["noise_batch_size"],
    "sinifgsm": lambda options, classes: options["steps"] * options["m"],
    "vmifgsm": lambda options, classes: options["steps"] * (options["N"] + 1),
    "vnifgsm": lambda options, classes: options["steps"] * (options["N"] + 1),
    "pifgsm": lambda options, classes: options["num_iter_set"],
    "pifgsmpp": lambda options, classes: options["num_iter_set"],
    "apgd-ce": lambda options, classes: (options["steps"] + 1) * options["eot_iter"] * options["n_restarts"],
    "apgd-dlr": lambda options, classes: (options["steps"] + 1) * options["eot_iter"] * options["n_restarts"],
    "apgd-t": lambda options, classes: (
        (options["steps"] + 1) * options["eot_iter"] * options["n_restarts"] * (classes - 1)
    ),
    # a gradient of every class, or towards every class a gradient of two
    "fab": lambda options, classes: options["steps"] * options["n_restarts"] * classes,
    "fab-t": lambda options, classes: 2 * options["steps"] * options["n_restarts"] * (classes - 1),
    # a gradient of every class; it seldom takes more than a few steps
    "deepfool": lambda options, classes: min(options["steps"], 5) * classes,
    # a DeepFool per step, and many small steps on the CPU
    "sparsefool": lambda options, classes: 10 * options["steps"] * classes,
    "ead": lambda options, classes: 1.5 * options["binary_search_steps"] * options["max_iterations"],
    "eaden": lambda options, classes: 1.5 * options["binary_search_steps"] * options["max_iterations"],
    # five coordinates per pixel, at least one candidate each
    "onepixel": lambda options, classes: max(options["popsize"], 5 * options["pixels"]) * (options["steps"] + 2) / 2,
    # each candidate twice
    "pixle": lambda options, classes: (
        options["max_iterations"] * (1 if options["update_each_iteration"] else options["restarts"])
    ),
    # a gradient of every class, and a table of all pairs of values, some 100 times a gradient
    "jsma": lambda options, classes: 2500 * float(Fraction(options["gamma"])) * (classes + 100),
    "spsa": lambda options, classes: options["nb_iter"] * options["nb_sample"],
    "square": lambda options, classes: options["n_queries"] * options["n_restarts"] / 2,
    "autoattack": lambda options, classes: AUTOATTACK[options["version"]](classes),
}
"""Passes of an image through the network by method of torchattacks; all others take one per step."""


def passes_of_training(options: Training) -> int:
    """Return how often an image passes through the network, forward and backward, in a training."""
    adversary = options.adversary
    return options.epochs * (1 if adversary is None else 1 + (adversary.iterations or 1))


def passes_of_search(iterations: int) -> int:
    """Return the passes of an image in a search of AutoPGD: besides its steps, the start and the evaluations."""
    return iterations + 2


def passes_of_attack(attack: AnyAttack, classes: int) -> float:
    """Return how often an image passes through the network, forward and backward, in an attack; forward is half."""
    if attack.method == "apgd":
        return passes_of_search(attack.iterations)
    if attack.method == "precomputed":  # the clean image and the adversarial one, forward
        return 1
    options = {**attack.parameters, "pixels": int(attack.eps or 0)}
    return PASSES.get(attack.method, lambda options, classes: options["steps"])(options, classes) + 2


def passes_of_adaptive(search: AdaptiveSearch, detectors: int, classes: int, resisting: float = 1) -> float:
    """Return the passes of an image in the adaptive attacks on a defence and on a number of detectors.

    Every image is attacked by the searches on detectors and, without `skip_defeated`, by the first untargeted ones.
    """
    kinds = list(searches(search, classes))
    complete = 0 if search.skip_defeated else sum(not (kind.rank or kind.restart) for kind in kinds)
    return (detectors + complete + (len(kinds) - complete) * resisting) * passes_of_search(search.iterations)


def passes_of_controls(search: AdaptiveSearch, controls: Controls, classes: int, resisting: float = 1) -> float:
    """Return the passes of an image in the controls of adaptive attacks, by its growing budgets, balls and queries.

    In a smaller ball the first search attacks every image, and the others attack those that resist. Of those that
    resist, the same share is assumed to resist in a larger ball. The queries of the black-box attack are forward only.
    """
    passes = controls.n_queries / 2
    for iterations, kinds in searches_of_budgets(search, controls, classes):
        passes += len(kinds) * resisting * passes_of_search(iterations)
    count = len(searches_of_balls(search, classes))
    for multiple in controls.eps_multiples:
        if multiple < 1:
            passes += (1 + (count - 1) * resisting) * passes_of_search(search.iterations if multiple else 1)
        elif multiple > 1:
            passes += count * resisting**2 * passes_of_search(search.iterations)
    return passes
