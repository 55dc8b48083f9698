"""Small experiments that tests run or plan, and the folder of the checkout."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RULES_WITH_GPU = {"train", "attack", "features", "attacked_features", "adaptive", "controls"}
"""The rules that run a network, where features are not streamed."""

TINY = {
    "name": "tiny",
    "data": {"source": "digits", "test": 0.1, "calibration": 0.1},
    "models": {"small": {"architecture": "resnet18", "width": 4}},
    "training": {
        "standard": {"epochs": 4, "batch_size": 32, "learning_rate": 0.05, "schedule": "one-cycle"},
        "adversarial": {
            "epochs": 2,
            "batch_size": 32,
            "learning_rate": 0.05,
            "schedule": "one-cycle",
            "adversary": {"method": "single-step", "eps": "1/10"},
        },
    },
    "attacks": {
        "apgd": {"eps": "1/10", "iterations": 5, "stopping_rule": ["first-success", "last-success", "max-loss"]}
    },
    "calibration": {"attack": "apgd", "stopping_rule": "max-loss"},
    "detectors": ["confidence", "path-density"],
    "adaptive": {
        "attack": "apgd",
        "max_images": 64,
        "poolings": ["flatten"],
        "iterations": 3,
        "losses": ["ce"],
        "n_targets": 1,
        "controls": {"max_images": 20, "eps_multiples": [0, 1, 8], "iterations": [2, 4], "n_queries": 20},
    },
}


def small_experiment(name, **sections):
    """An experiment of one small network and one attack, with mean pooling; `sections` replace those of their names.

    A section of None is left out.
    """
    config = {
        "name": name,
        "data": {"source": "digits", "test": 0.1, "calibration": 0.1},
        "models": {"small": {"architecture": "resnet18", "width": 4}},
        "training": {"standard": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05}},
        "attacks": {"apgd": {"eps": "1/10", "iterations": 3, "stopping_rule": ["max-loss"]}},
        "calibration": {"attack": "apgd", "stopping_rule": "max-loss"},
        "features": {"poolings": ["mean"]},
    }
    return {key: section for key, section in (config | sections).items() if section is not None}


def array_experiment(held_out, batch_size=32, **sections):
    """An experiment with a narrow network on `data.npz` of `save_arrays`, `held_out` of it for calibration."""
    return small_experiment(
        "arrays",
        data={"source": "arrays", "train": "data.npz", "test": "data.npz", "calibration": held_out},
        models={"small": {"architecture": "resnet18", "width": 2}},
        training={"standard": {"epochs": 1, "batch_size": batch_size, "learning_rate": 0.01, "schedule": "constant"}},
        attacks={"apgd": {"eps": "1/10", "iterations": 2, "stopping_rule": ["max-loss"]}},
        detection={"layers": [1, 2]},
        recognition={"layers": [2, 3, 4]},
        **sections,
    )


def save_arrays(folder, count, classes, test=None):
    """Save `data.npz` with `count` training images, of a colour per class, the first `test` of them as test images."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % classes
    colours = (labels * 190 // classes)[:, None, None, None]
    images = (generator.integers(0, 60, (count, 32, 32, 3)) + colours).astype(np.uint8)
    test = count if test is None else test
    parts = {"train_images": images, "train_labels": labels, "test_images": images[:test], "test_labels": labels[:test]}
    np.savez(folder / "data.npz", **parts)
