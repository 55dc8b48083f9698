"""Speed on a GPU: training, AutoPGD and extraction as ratios, and the minutes of the paper's trainings.

python -m benchmarks.gpu    needs a GPU; exits with 1 if a row misses its target by more than the spread of its rounds
"""

import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks import attacks, features, training
from benchmarks.measure import failures, machine, seconds, table
from featurepaths.networks.forward import resolve_precision
from featurepaths.networks.resnet import ResNet
from featurepaths.training.images import ResidentImages
from featurepaths.training.loop import train

RESULTS = Path("results")
PAPER = {"images": 45_000, "epochs": 300, "batch_size": 128}
ADVERSARIES = {"standard": None, "adversarial": {"method": "pgd", "eps": 8 / 255, "step": 2 / 255, "iterations": 10}}


def minutes_of_training(architecture: str, adversary: dict | None, device: torch.device) -> float:
    """Return the minutes of the paper's training of a network, from its second epoch on a twentieth of the images."""
    count = PAPER["images"] // 20
    generator = np.random.default_rng(0)
    pixels = torch.from_numpy(generator.integers(0, 256, (count, 3, 32, 32), np.uint8)).to(device)
    images = ResidentImages(pixels, torch.from_numpy(generator.integers(0, 10, count)).to(device))
    network = ResNet(architecture, 10, 64, "conv", *training.STATISTICS).to(device)
    options = {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "constant", "milestones": []}
    epochs = train(
        network,
        images,
        epochs=3,
        batch_size=PAPER["batch_size"],
        augment="none",
        adversary=adversary,
        precision=resolve_precision("auto", device),
        compile=False,
        seed=0,
        **options,
    )
    next(epochs)
    return 20 * PAPER["epochs"] * seconds(lambda: next(epochs)) / 60


def main() -> None:
    """Print both tables."""
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU on this machine: these benchmarks need one.")
    device = torch.device("cuda")
    torch.backends.cudnn.allow_tf32 = False
    RESULTS.mkdir(exist_ok=True)
    results = [*training.measure(device), *attacks.measure(device), *features.measure(device, RESULTS)]
    print(f"Measured on {machine(device)}.\n\n{table(result.cells() for result in results)}\n")
    rows = (
        {
            "network": architecture,
            "training": name,
            "minutes": f"{minutes_of_training(architecture, adversary, device):.0f}",
        }
        for architecture in ("resnet20", "resnet18")
        for name, adversary in ADVERSARIES.items()
    )
    print(f"300 epochs of the paper's networks on {PAPER['images']:,} images, extrapolated:\n\n{table(rows)}")
    sys.exit(failures(results) or 0)


if __name__ == "__main__":
    main()
