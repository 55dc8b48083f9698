"""Training speed, relative to a plain PyTorch loop and to bare forward and backward passes."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10, VisionDataset

from benchmarks.measure import Result, speed_ratio
from featurepaths.networks.forward import InPrecision, resolve_precision
from featurepaths.networks.resnet import ResNet
from featurepaths.training.images import ResidentImages
from featurepaths.training.loop import train

BATCH = 128
WORKERS = min(os.cpu_count() or 1, 8)
STATISTICS = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class InMemoryCifar(CIFAR10):
    """torchvision's CIFAR-10 with images from memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform):
        VisionDataset.__init__(self, root="", transform=transform)
        self.data, self.targets = images, labels.tolist()


def plain_loop(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Iterator[float]:
    """Train as in the PyTorch tutorials and yield the loss of each batch."""
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize(*STATISTICS)])
    dataset = InMemoryCifar(images, labels, transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, pin_memory=device.type == "cuda")
    network = ResNet("resnet18", 10).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()
    while True:
        for batch, target in loader:
            optimizer.zero_grad()
            loss = criterion(network(batch.to(device)), target.to(device))
            loss.backward()
            optimizer.step()
            yield loss.item()


def measure(device: torch.device) -> list[Result]:
    """Return the ratios of images per second."""
    precision = resolve_precision("auto", device)
    # many more than the batches that the plain loop's workers prefetch while the other side is measured
    batches = 10 if device.type == "cpu" else 100
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (100 * BATCH, 32, 32, 3), np.uint8)
    labels = generator.integers(0, 10, len(images))

    network = ResNet("resnet18", 10, 64, "conv", *STATISTICS).to(device)
    count = batches * BATCH
    pixels = torch.from_numpy(images[:count]).permute(0, 3, 1, 2).contiguous().to(device)
    resident = ResidentImages(pixels, torch.from_numpy(labels[:count]).to(device))
    options = {"schedule": "one-cycle", "milestones": [], "augment": "crop-flip", "adversary": None, "compile": False}

    def ours() -> None:
        with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):  # as in the stage
            for _ in train(network, resident, epochs=1, batch_size=BATCH, learning_rate=0.1, momentum=0.9,
                       weight_decay=5e-4, precision=precision, seed=0, **options):  # fmt: skip
                pass

    steps = plain_loop(images, labels, device)

    def plain() -> None:
        with torch.backends.cudnn.flags(deterministic=False, allow_tf32=True):  # torch's defaults
            for _ in range(batches):
                next(steps)

    model = InPrecision(ResNet("resnet18", 10, 64, "conv", *STATISTICS).to(device), precision).train()
    ready, target = pixels[:BATCH].float() / 255, resident.labels[:BATCH]

    def bare() -> None:
        for _ in range(batches):
            model.zero_grad(set_to_none=True)
            F.cross_entropy(model(ready), target).backward()

    often = None if precision == "float32" else 1.8 if device.type == "cpu" else 4.0
    return [
        speed_ratio(f"training ({precision}) / a plain PyTorch loop (float32)", ours, plain, often),
        speed_ratio(f"training / bare passes ({precision})", ours, bare, 0.95, rounds=9),
    ]
