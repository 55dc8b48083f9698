"""The state of a training, from which it continues bit-identically in the middle of an epoch."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from featurepaths.store.resume import ResumeFiles

STATEFUL = ("network", "optimizer", "scheduler")
COUNTERS = ("order", "batches", "loss", "correct", "learning_rate", "seconds")


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss and accuracy over the images as they were trained on, the last learning rate, the speed.

    `calibration_accuracy` is that on calibration images after the epoch; None without such images.
    """

    epoch: int
    loss: float
    accuracy: float
    calibration_accuracy: float | None
    learning_rate: float
    images_per_second: float


@dataclass
class TrainingState:
    """Network, optimizer, scheduler and random generator, the finished epochs, and the progress of the present epoch.

    `order` [N] is the order of the images in the present epoch, None between two epochs; `batches` is the number of its
    finished batches, `loss` and `correct` are their sums over images, `learning_rate` is that of the last batch and
    `seconds` is the time they took. `precision` is that of the network's forward pass.
    """

    network: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    generator: Generator
    precision: str
    epochs: list[Epoch] = field(default_factory=list)
    order: Tensor | None = None
    batches: int = 0
    loss: Tensor | float = 0.0
    correct: Tensor | int = 0
    learning_rate: float = 0.0
    seconds: float = 0.0

    @property
    def arithmetic(self) -> tuple[str, str]:
        """The device's type and the precision; a training does not continue in another arithmetic."""
        return self.generator.device.type, self.precision

    def begin_epoch(self, count: int) -> None:
        """Draw the order of `count` images and set the sums to zero."""
        device = self.generator.device
        self.order = torch.randperm(count, generator=self.generator, device=device)
        self.batches, self.seconds = 0, 0.0
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    def save(self, progress: ResumeFiles) -> None:
        """Write the state to a resume file."""
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in STATEFUL}
        state |= {name: getattr(self, name) for name in COUNTERS}
        state |= {"arithmetic": self.arithmetic, "generator": self.generator.get_state()}
        state["epochs"] = [asdict(epoch) for epoch in self.epochs]
        progress.save(lambda path: torch.save(state, path))

    def load(self, progress: ResumeFiles) -> bool:
        """Restore the state from a resume file and return whether there was one of the same arithmetic.

        Raises
        ------
        FeaturePathsError
            If the system could not read the file, which may be intact.
        """
        state = progress.load(_read_state)
        if state is None:
            return False
        if state["arithmetic"] != self.arithmetic:
            print(
                f"{progress.path} holds a training in {state['arithmetic']}, this one runs in {self.arithmetic}: it "
                "starts from the beginning.",
                flush=True,
            )
            return False
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        for name in COUNTERS:
            value = state[name]
            setattr(self, name, value.to(self.generator.device) if isinstance(value, Tensor) else value)
        return True


def _read_state(path: Path) -> dict[str, Any]:
    # weights_only: tensors and plain values are read, pickled code is refused
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {**state, "arithmetic": state["arithmetic"]}
