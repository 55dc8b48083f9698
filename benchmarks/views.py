"""Strength of attack libraries on the defence's two views, and of the workflow's own attack, on the same images.

python -m benchmarks.views results/<name>/<run> [--pooling flatten] [--images 64]
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchattacks
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from featurepaths import FeaturePathDefense
from featurepaths.runtime.blocks import to_tensor
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json

STEPS = 20


def main() -> None:
    """Attack both views with every attack and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run whose defence was attacked under linf")
    parser.add_argument("--pooling", default="flatten")
    parser.add_argument("--images", type=int, default=64, help="the first so many of those attacked there")
    arguments = parser.parse_args()
    logging.getLogger("art").setLevel(logging.ERROR)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    defense = FeaturePathDefense.from_run(arguments.run, arguments.pooling, device=device)
    records = arguments.run / "adaptive" / arguments.pooling
    eps = read_json(records.with_suffix(".json"))["eps"]
    first = slice(0, arguments.images)
    with open_hdf5(records.with_suffix(".h5")) as file, open_hdf5(arguments.run.parent / "data.h5") as data:
        labels = torch.from_numpy(file["labels"][first]).to(device)
        images = to_tensor(data["images"][file["index"][first]], device)
        own = ~file["defended/adaptive"][first], file["evading_score"][first] >= defense.calibration.threshold
    rows = {"clean images": counted(defense, images, labels)}
    rows["the workflow's attacks, together"] = own
    views = {"recogniser": recogniser_attacks, "detector": detector_attacks}
    for view, attacks in views.items():
        for name, attack in attacks(defense, eps).items():
            torch.manual_seed(0)
            start = time.perf_counter()
            examples = attack(images, labels)
            assert (examples - images).abs().max() <= eps + 1e-6
            rows[f"{name}, `as_{view}()`"] = counted(defense, examples, labels)
            print(f"{name}, {view}: {time.perf_counter() - start:.0f} s", flush=True)
    libraries = [counts for name, counts in rows.items() if "`" in name]
    rows["the libraries' attacks, together"] = tuple(
        np.any(answers, axis=0) for answers in zip(*libraries, strict=True)
    )
    print(json.dumps({"run": arguments.run.name, "images": len(labels), "eps": eps}))
    print("| attack | method right | network wrong and not flagged |\n|:--|--:|--:|")
    for name, (wrong, evades) in rows.items():
        print(f"| {name} | {100 * (1 - wrong.mean()):.1f} % | {100 * evades.mean():.1f} % |")


def counted(defense: FeaturePathDefense, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the whole method is wrong [N], and whether the network is and the image is not flagged [N]."""
    predicted = defense.predict(images)
    with torch.no_grad():
        network_wrong = defense.logits(images).argmax(dim=1) != labels
    return (predicted.label != labels).cpu().numpy(), (network_wrong & ~predicted.flagged).cpu().numpy()


def recogniser_attacks(defense: FeaturePathDefense, eps: float) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return attacks, as their users write them."""
    view, classes = defense.as_recogniser(), len(defense.centroids[0])

    def by_art(images: Tensor, labels: Tensor) -> Tensor:
        attack = AutoProjectedGradientDescent(
            estimator(view, nn.CrossEntropyLoss(), images, classes), eps=eps, eps_step=2 * eps, max_iter=STEPS,
            nb_random_init=1, loss_type=None, batch_size=64, verbose=False,
        )  # fmt: skip
        return generated(attack, images, labels, classes)

    return {
        "torchattacks PGD": torchattacks.PGD(view, eps=eps, alpha=eps / 4, steps=STEPS),
        "torchattacks AutoAttack": torchattacks.AutoAttack(view, eps=eps, n_classes=classes, seed=0),
        "ART AutoPGD": by_art,
    }


def detector_attacks(defense: FeaturePathDefense, eps: float) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return attacks that aim at a class, or whose loss counts being flagged as failure."""
    view, classes = defense.as_detector(), len(defense.centroids[0])

    def likeliest_wrong(images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            return defense.logits(images).scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1)

    targeted = torchattacks.PGD(view, eps=eps, alpha=eps / 4, steps=STEPS)
    targeted.set_mode_targeted_by_function(likeliest_wrong, quiet=True)

    def by_art(images: Tensor, labels: Tensor) -> Tensor:
        classifier = estimator(view, unnoticed, images, classes + 1)
        attack = ProjectedGradientDescent(
            classifier, eps=eps, eps_step=eps / 4, max_iter=STEPS, batch_size=64, verbose=False
        )
        return generated(attack, images, labels, classes + 1)

    return {
        "torchattacks PGD at the likeliest wrong class": targeted,
        "torchattacks AutoAttack": torchattacks.AutoAttack(view, eps=eps, n_classes=classes + 1, seed=0),
        "ART PGD, own loss": by_art,
    }


def unnoticed(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Return a loss that grows as a wrong class overtakes both the true one and "adversarial", the last."""
    kept = one_hot.bool()
    kept[:, -1] = True
    wrong = logits.masked_fill(kept, -torch.inf).logsumexp(dim=1)
    return (wrong - logits.masked_fill(~kept, -torch.inf).logsumexp(dim=1)).mean()


def estimator(view: nn.Module, loss: Callable, images: Tensor, outputs: int) -> PyTorchClassifier:
    """Return a view as the Adversarial Robustness Toolbox wants it."""
    device_type = "gpu" if images.is_cuda else "cpu"
    return PyTorchClassifier(view, loss, images.shape[1:], outputs, clip_values=(0, 1), device_type=device_type)


def generated(attack, images: Tensor, labels: Tensor, outputs: int) -> Tensor:
    """Return what an attack of the Adversarial Robustness Toolbox makes."""
    one_hot = np.eye(outputs, dtype=np.float32)[labels.cpu().numpy()]
    return torch.from_numpy(attack.generate(images.cpu().numpy(), one_hot)).to(images)


if __name__ == "__main__":
    main()
