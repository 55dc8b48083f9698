"""The state of a training: all that it needs to go on from the middle of an epoch as if nothing had happened."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from featurepaths.errors import FeaturePathsError
from featurepaths.store.atomic import atomic, may_be_whole, unreadable
from featurepaths.store.seal import check_zip


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss and accuracy over the images as they were trained on, the last learning rate, the speed."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float


@dataclass
class TrainingState:
    """Network, optimizer and random numbers, the epochs that are done, and how far the present one is.

    `order` [N] is the order of the images in the present epoch, None between two epochs; `batches` is how many of its
    batches are done, `loss` and `correct` are their sums over images, `learning_rate` is that of the last one and
    `seconds` is the time they took. `precision` is how the network is computed.
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
        """The device's type and the precision; a training is not continued with another arithmetic."""
        return next(self.network.parameters()).device.type, self.precision

    def save(self, path: Path) -> None:
        """Write the state to `path`, whole or not at all; it is no error if that fails."""
        state = {
            "arithmetic": self.arithmetic,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "generator": self.generator.get_state(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "order": self.order,
            "batches": self.batches,
            "loss": self.loss,
            "correct": self.correct,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }
        try:
            with atomic(path) as temporary:
                torch.save(state, temporary)
        except (FeaturePathsError, OSError, RuntimeError) as error:
            print(f"The state of the training could not be saved: {error}", flush=True)

    def load(self, path: Path) -> bool:
        """Take up the state saved at `path` and return whether there was one that could be taken up.

        Raises
        ------
        FeaturePathsError
            If the system could not read it, so that it may be whole.
        """
        if not path.exists():
            return False
        try:
            check_zip(path)
            # weights_only: tensors and plain values are read, pickled code is refused
            state = torch.load(path, map_location="cpu", weights_only=True)
            arithmetic = state["arithmetic"]
        except Exception as error:  # an unpickler that is given nonsense raises anything
            if may_be_whole(error):
                raise unreadable(path, error) from error
            # torch's own words recommend to load it whatever it runs
            print(f"{path} cannot be read ({type(error).__name__}): training starts anew", flush=True)
            return False
        if arithmetic != self.arithmetic:
            print(
                f"{path} is of a training in {arithmetic}, this is {self.arithmetic}: it starts anew",
                flush=True,
            )
            return False
        device = next(self.network.parameters()).device
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.generator.set_state(state["generator"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.order = None if state["order"] is None else state["order"].to(device)
        self.batches, self.learning_rate, self.seconds = (
            state[name] for name in ("batches", "learning_rate", "seconds")
        )
        self.loss, self.correct = (torch.as_tensor(state[name]).to(device) for name in ("loss", "correct"))
        return True
