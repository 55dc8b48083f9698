"""Standard and adversarial training of a network."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import MultiStepLR, OneCycleLR

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import InPrecision
from featurepaths.runtime.blocks import is_out_of_memory
from featurepaths.runtime.progress import progress
from featurepaths.store.resume import ResumeFiles
from featurepaths.training.adversary import attack_batch
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
    calibration: TrainingImages | None = None,
    resume: ResumeFiles | None = None,
    stop: Callable[[], object] = lambda: False,
) -> Iterator[Epoch]:
    """Train `network` in place by SGD on the cross-entropy, and yield the record of each epoch as it ends.

    Parameters
    ----------
    images
        See `featurepaths.training.images.training_images`; on the network's device.
    schedule, milestones
        ``steps`` divides the rate by 10 at the start of each epoch in `milestones`; ``one-cycle`` raises it to
        `learning_rate` and lowers it again over the whole training; ``constant`` keeps it.
    augment
        ``none`` or ``crop-flip``.
    adversary
        None for standard training, else ``method`` (``pgd`` or ``single-step``), ``eps``, ``step`` and ``iterations``.
    precision
        ``float32`` or ``bfloat16``: see `featurepaths.networks.forward`.
    compile
        Whether `torch.compile` compiles the network.
    seed
        Seeds the private generator of the images' order, the augmentation and the adversary's starts.
    calibration
        Images that are not trained on; the accuracy on them is recorded after each epoch, and changes no weight.
    resume
        The file to resume from if it exists, and to save the state to every 45 seconds. The state of another kind of
        device or precision is ignored. On a CPU the result is bit-identical to that of an uninterrupted training;
        epochs that were finished earlier are yielded again from their records.
    stop
        Called after every batch; if it returns true the state is saved and the training stops.

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
    if resume is not None and state.load(resume):
        print(f"resumed after {len(state.epochs)} epochs and {state.batches} batches", flush=True)
        yield from state.epochs
    model = InPrecision(network, precision)
    if compile:
        # one graph per batch size: the graph of a batch must not depend on what came before an interruption
        model = torch.compile(model, dynamic=False)

    while len(state.epochs) < epochs:
        number = len(state.epochs) + 1
        if state.order is None:
            state.begin_epoch(len(labels))
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
                    batch = attack_batch(model, batch, target, adversary, generator)
                logits = model(batch)
                loss = F.cross_entropy(logits, target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # computed in parts, a batch would have other normalization statistics
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
            if resume is not None and (stopping or resume.due()):
                state.seconds = time.perf_counter() - started
                state.save(resume)
            if stopping:
                return
        mean_loss = float(state.loss) / len(labels)
        if not torch.isfinite(state.loss):
            raise FeaturePathsError(
                f"Training diverged in epoch {number}: the loss is {mean_loss}. Lower learning_rate ({learning_rate})."
            )
        accuracy = int(state.correct) / len(labels)
        speed = len(labels) / (time.perf_counter() - started)
        unseen = None if calibration is None else _accuracy(InPrecision(network, precision), calibration, batch_size)
        state.epochs.append(Epoch(number, mean_loss, accuracy, unseen, state.learning_rate, speed))
        state.order = None
        yield state.epochs[-1]
    model.eval()


@torch.no_grad()
def _accuracy(model: nn.Module, images: TrainingImages, batch_size: int) -> float:
    """Return the accuracy of a model in evaluation mode, in [0, 1]."""
    model.eval()
    rows = torch.arange(len(images.labels), device=images.labels.device).split(batch_size)
    correct = [model(batch.float() / 255).argmax(dim=1) == target for batch, target in images.batches(rows)]
    return float(torch.cat(correct).double().mean())


def _scheduler(optimizer, schedule: str, learning_rate: float, milestones: Sequence[int], epochs: int, batches: int):
    """Return a scheduler that steps once per batch."""
    if schedule == "one-cycle":
        return OneCycleLR(optimizer, learning_rate, total_steps=epochs * batches, cycle_momentum=False)
    return MultiStepLR(optimizer, [(epoch - 1) * batches for epoch in milestones if schedule == "steps"], gamma=0.1)
