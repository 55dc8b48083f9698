"""Training a network, standard or adversarial."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.precision import InPrecision
from featurepaths.runtime.oom import is_out_of_memory
from featurepaths.runtime.progress import progress
from featurepaths.store.resume import SECONDS_BETWEEN_SAVES
from featurepaths.training.adversary import pgd, single_step
from featurepaths.training.augment import crop_flip
from featurepaths.training.images import TrainingImages
from featurepaths.training.state import Epoch, TrainingState


def train(
    network: nn.Module,
    images: TrainingImages,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    schedule: str,
    milestones: Sequence[int],
    augment: str,
    adversary: Mapping[str, Any] | None,
    precision: str,
    compile: bool,  # noqa: A002
    seed: int,
    resume: Path | None = None,
    stop: Callable[[], object] = lambda: False,
) -> Iterator[Epoch]:
    """Train `network` in place by SGD on the cross-entropy and yield the record of each epoch as it ends.

    Parameters
    ----------
    images
        See `featurepaths.training.images.training_images`; on the network's device.
    schedule, milestones
        ``steps`` divides the rate by 10 when an epoch of `milestones` begins, ``one-cycle`` rises to `learning_rate`
        and falls again over the whole training, ``constant`` leaves it.
    augment
        ``none`` or ``crop-flip``.
    adversary
        None for standard training, else ``method`` (``pgd`` or ``single-step``), ``eps``, ``step`` and ``iterations``.
    precision
        ``float32`` or ``bfloat16``: see `featurepaths.networks.precision`.
    compile
        Whether `torch.compile` compiles the network.
    seed
        Decides the order of the images, the augmentation and the adversary's starts, through a generator of its own.
    resume
        Where the state of the training is saved every 45 seconds, and where it is taken up if the file is there. It
        must be a file of the same training; one of another kind of device or precision is not taken up. On a CPU the
        end is the same to the bit as without the interruption; epochs that were done before it are yielded again, from
        the records.
    stop
        Asked after every batch: once it says yes the state is saved, and the training ends where it is.

    Raises
    ------
    FeaturePathsError
        If the loss is no longer finite.
    """
    labels = images.labels
    generator = torch.Generator(labels.device).manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), learning_rate, momentum=momentum, weight_decay=weight_decay)
    batches = -(-len(labels) // batch_size)
    scheduler = _scheduler(optimizer, schedule, learning_rate, milestones, epochs, batches)
    state = TrainingState(network, optimizer, scheduler, generator, precision)
    resumed = resume is not None and state.load(resume)
    if resumed:
        print(f"resumed after {len(state.epochs)} epochs and {state.batches} batches", flush=True)
        yield from state.epochs
    model = InPrecision(network, precision)
    if compile:
        # every batch size by itself: which graph serves a batch must not depend on what came before an interruption
        model = torch.compile(model, dynamic=False)

    saved = time.monotonic()
    while len(state.epochs) < epochs:
        number = len(state.epochs) + 1
        if state.order is None:
            state.order = torch.randperm(len(labels), generator=generator, device=labels.device)
            state.batches, state.seconds = 0, 0.0
            state.loss = torch.zeros((), dtype=torch.float64, device=labels.device)
            state.correct = torch.zeros((), dtype=torch.int64, device=labels.device)
        started = time.perf_counter() - state.seconds
        model.train()
        waiting = state.order.split(batch_size)[state.batches :]
        for batch, target in progress(images.batches(waiting), f"epoch {number} of {epochs}", len(waiting), "batches"):
            state.learning_rate = optimizer.param_groups[0]["lr"]
            if augment == "crop-flip":
                batch = crop_flip(batch, generator)
            batch = batch.float() / 255
            try:
                if adversary is not None:
                    batch = _attack(model, batch, target, adversary, generator)
                logits = model(batch)
                loss = F.cross_entropy(logits, target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # in parts a batch would have other statistics, and the training another end
                raise FeaturePathsError(
                    f"The GPU's memory does not hold a batch of {len(target)} images: lower batch_size, or set "
                    "precision: bfloat16."
                ) from error
            optimizer.step()
            scheduler.step()
            state.loss += loss.detach().double() * len(target)
            state.correct += (logits.argmax(dim=1) == target).sum()
            state.batches += 1
            stopping = stop()
            if resume is not None and (stopping or time.monotonic() - saved >= SECONDS_BETWEEN_SAVES):
                state.seconds = time.perf_counter() - started
                state.save(resume)
                saved = time.monotonic()
            if stopping:
                return
        mean_loss = float(state.loss) / len(labels)
        if not torch.isfinite(state.loss):
            raise FeaturePathsError(
                f"Training diverged in epoch {number}: the loss is {mean_loss}. Lower learning_rate ({learning_rate})."
            )
        accuracy = int(state.correct) / len(labels)
        speed = len(labels) / (time.perf_counter() - started)
        state.epochs.append(Epoch(number, mean_loss, accuracy, state.learning_rate, speed))
        state.order = None
        yield state.epochs[-1]
    model.eval()


def _attack(model: nn.Module, batch: Tensor, target: Tensor, adversary: Mapping[str, Any], generator) -> Tensor:
    if adversary["method"] == "single-step":
        return single_step(model, batch, target, adversary["eps"], generator)
    return pgd(model, batch, target, adversary["eps"], adversary["step"], adversary["iterations"], generator)


def _scheduler(optimizer, schedule: str, learning_rate: float, milestones: Sequence[int], epochs: int, batches: int):
    """Return a scheduler that steps once a batch."""
    if schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=epochs * batches, cycle_momentum=False
        )
    milestones = [(epoch - 1) * batches for epoch in milestones] if schedule == "steps" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
