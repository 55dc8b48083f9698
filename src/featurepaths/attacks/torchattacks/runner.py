"""Attacks of torchattacks over any number of images, in blocks, with every result checked.

torchattacks draws from the global generators, some of its attacks reseed them, and it leaves a network that is wrapped
in a module of one's own in training mode. None of that is left behind here: the network is copied, the generators are
put back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.attacks.losses import above_zero
from featurepaths.attacks.norms import size
from featurepaths.attacks.objective import Objective, misclassify
from featurepaths.attacks.precomputed.files import ROUNDING
from featurepaths.attacks.radius import check_radius
from featurepaths.attacks.torchattacks.library import library
from featurepaths.attacks.torchattacks.methods import METHODS, complete, misfit
from featurepaths.attacks.torchattacks.square import fitting
from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.copies import copy_of
from featurepaths.runtime.blocks import blocks, pad_block, padded_tensor, unpadded_arrays
from featurepaths.runtime.oom import is_out_of_memory

STOPPING_RULE = "returned"
"""The stopping rule of all these attacks: what the library returns."""


def torchattacks_blocks(
    network: nn.Module,
    images: Split | np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    method: str,
    norm: str,
    eps: float | None,
    parameters: Mapping[str, Any],
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Attack every image with an attack of `featurepaths.attacks.torchattacks.methods.METHODS`.

    Whether an example fools is judged by the network, in evaluation mode, whatever the library says. Methods that let
    images decide together are given each image alone (`Method.alone`), with random numbers from `seed` and its index;
    the others blocks, with random numbers from `seed` and the index of the first image.

    Parameters
    ----------
    network
        Gives logits; it stays as it is, because a copy of it is attacked.
    images, labels, indices
        uint8 images [N, H, W, C], read by slices of rows; their labels [N]; and their rows in the data set [N].
    rows_of_blocks
        Which blocks of them to attack; all by default.
    norm, eps
        The norm, one of the method's, and the radius; for L0 a number of pixels. A method that minimises the norm needs
        no radius; if there is one, an example that is farther away does not count: the clean image takes its place.
    parameters
        Arguments of the library's class; numbers may be written as fractions.

    Yields
    ------
    The rows of each block and its records [n], by name, as in `featurepaths.attacks.runner.attack_blocks`:
    ``clean_correct``, ``success``, ``returned/adversarial`` [n, C, H, W], ``returned/loss`` (the cross-entropy) and
    ``returned/norm``; ``n_queries``, the forward passes that the image took, or the block's images on average, rounded
    up. Unknown outside of the library are ``first_fooled_step``, which is -1, and ``vanished_steps``, which is 0. An
    example whose logits are not finite is ``undefined``, and the clean image takes its place.

    Raises
    ------
    FeaturePathsError
        If torchattacks is not installed, an option is not the method's, the method does not take such images or so few
        classes, the library fails, or a result is not finite, leaves [0, 1] or is farther away than `eps`.
    """
    attacked = _Attacked(copy_of(network))
    reference = misclassify(attacked.network, "ce")
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        count = rows.stop - rows.start
        clean = padded_tensor(images[rows], device)
        target = padded_tensor(labels[rows], device)
        with torch.no_grad():
            classes = attacked.network(clean[:1]).shape[1]
        found, queries = [], []
        for part in _parts(method, count):
            attacked.queries = 0
            its = indices[rows][part]
            with own_random_numbers(seed, int(its[0]), clean.device) as own_seed:
                attack = build(
                    attacked, method, norm, eps, parameters, seed=own_seed, classes=classes, shape=clean.shape[1:]
                )
                made = _run(attack, clean[part].clone(), target[part], method, norm, its).detach()
            found.append(checked(made, clean[part], method, norm, eps, its))
            queries += [-(-attacked.queries // len(its))] * len(its)
        adversarial = torch.cat([*found, clean[count:]])
        taken = torch.tensor(pad_block(np.array(queries, np.int32)), device=clean.device)
        records = judged(reference, clean, adversarial, target, norm, queries=taken)
        yield rows, unpadded_arrays(records, rows)


def _parts(method: str, count: int) -> list[slice]:
    """Return which of a block's images are attacked together."""
    alone = method in METHODS and METHODS[method].alone
    return [slice(row, row + 1) for row in range(count)] if alone else [slice(0, count)]


def _run(
    attack: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    method: str,
    norm: str,
    indices: np.ndarray,
) -> Tensor:
    """Return what an attack makes of images; an error of the library names the method and the images."""
    try:
        return attack(images, labels)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, FeaturePathsError) or is_out_of_memory(error):
            raise
        named = f"image {indices[0]}" if len(indices) == 1 else f"images {indices[0]} to {indices[-1]}"
        shape = "x".join(map(str, images.shape[1:]))
        raise FeaturePathsError(
            f"Attack method {method} (torchattacks.{METHODS[method].classes[norm]}) failed on {named} of the data set, "
            f"of {shape} values ({type(error).__name__}: {error}). Change its parameters, or leave it out of attacks."
        ) from error


def judged(
    reference: Objective, clean: Tensor, adversarial: Tensor, labels: Tensor, norm: str, queries: int | Tensor
) -> dict[str, Tensor]:
    """Return the records of a block of images that somebody else attacked, by name: see `torchattacks_blocks`.

    Where the judge's loss is not finite an image is not correct when clean, or its example does not count.

    Parameters
    ----------
    judge
        Gives the loss, and says whether an image [N, C, H, W] with its label [N] fools the network.
    norm, queries
        What distances are measured in; how many queries each image took, [N] or the same of all.
    """
    with torch.no_grad():
        clean_loss, wrong = reference(clean, labels)
        loss, fooled = reference(adversarial, labels)
    correct, answered = clean_loss.isfinite() & ~wrong, loss.isfinite()
    adversarial = torch.where(answered.view(-1, 1, 1, 1), adversarial, clean)
    loss = torch.where(answered, loss, clean_loss)
    return {
        "clean_correct": correct,
        "success": correct & fooled & answered,
        "undefined": ~(clean_loss.isfinite() & answered),
        "first_fooled_step": torch.full_like(labels, -1, dtype=torch.int32),
        "vanished_steps": torch.zeros_like(labels, dtype=torch.int32),
        "n_queries": torch.zeros_like(labels, dtype=torch.int32) + queries,
        f"{STOPPING_RULE}/adversarial": adversarial,
        f"{STOPPING_RULE}/loss": loss,
        f"{STOPPING_RULE}/norm": distance(adversarial - clean, norm),
    }


def build(
    network: nn.Module,
    method: str,
    norm: str,
    eps: float | None,
    parameters: Mapping[str, Any],
    *,
    seed: int,
    classes: int,
    shape: tuple[int, ...] | None = None,
) -> Any:
    """Return torchattacks' attack on `network`, a function of images [N, C, H, W] and labels [N].

    Parameters
    ----------
    seed, classes
        Told to the library's classes that ask for them; `classes` is how many there are.
    shape
        That of an image, [C, H, W], which is checked if it is given.

    Raises
    ------
    FeaturePathsError
        If torchattacks is not installed, there is no such method, norm or parameter, a radius is missing or greater
        than images of this shape are apart, the method does not take such images, or there are too few classes.
    """
    if method not in METHODS:
        raise FeaturePathsError(f"There is no attack method '{method}'; there are {', '.join(METHODS)}.")
    known = METHODS[method]
    if norm not in known.classes:
        raise FeaturePathsError(f"Attack method {method} has no norm {norm}, but {', '.join(known.norms)}.")
    if wrong := sorted(set(parameters) - set(known.parameters)):
        has = ", ".join(known.parameters) or "none"
        raise FeaturePathsError(f"Attack method {method} has no parameter {', '.join(wrong)}; it has {has}.")
    if known.radius is not None and eps is None:
        raise FeaturePathsError(f"Attack method {method} needs eps.")
    if problem := misfit(method, parameters, classes, shape):
        raise FeaturePathsError(f"Attack method {method} {problem}.")
    if eps is not None:
        check_radius("eps", eps, norm, shape)
    arguments = {
        name: float(Fraction(value)) if known.parameters[name].kind == "number" else value
        for name, value in complete(method, parameters, eps).items()
    } | dict(known.fixed)
    if known.radius is not None:
        arguments[known.radius] = int(eps) if norm == "l0" else eps
    told = {"norm": {"linf": "Linf", "l2": "L2"}.get(norm), "seed": seed, "n_classes": classes}
    arguments |= {name: told[name] for name in known.told}
    if method == "cw":
        arguments["steps"] = _Unstopped(arguments["steps"])
    network.lifted = known.lifted
    attack = fitting(getattr(library(), known.classes[norm])(network, **arguments))
    if method == "jsma":
        # it aims at the next class; which one that is it can tell of ten classes only
        attack.set_mode_targeted_by_label(quiet=True)
        return lambda images, labels: attack(images, (labels + 1) % classes)
    if method != "deepfool":
        return attack

    def overshooting(images: Tensor, labels: Tensor) -> Tensor:
        # The publication enlarges the whole perturbation (Algorithm 2), the library its steps only: those converge to
        # the boundary itself, where rounding decides who is fooled.
        whole = attack(images, labels) - images
        return (images + (1 + arguments["overshoot"]) * whole).clamp(0.0, 1.0)

    return overshooting


def checked(found: Tensor, clean: Tensor, method: str, norm: str, eps: float | None, indices: np.ndarray) -> Tensor:
    """Return an attack's results [N, C, H, W], clipped to [0, 1], if they are what the attack promises.

    Raises
    ------
    FeaturePathsError
        Naming the method and the first image whose result is not finite, leaves [0, 1], or, where the method is
        bounded, is farther away than `eps`.
    """

    def refuse(wrong: Tensor, problem: str) -> None:
        if wrong.any():
            image = int(indices[int(wrong.nonzero()[0, 0])])
            raise FeaturePathsError(
                f"Attack method {method} (torchattacks.{METHODS[method].classes[norm]}) returned {problem} for image "
                f"{image} of the data set. Change its parameters, or leave it out of attacks."
            )

    values = found.flatten(1)
    refuse(~values.isfinite().all(dim=1), "values that are not finite")
    refuse((values.amin(dim=1) < -ROUNDING) | (values.amax(dim=1) > 1 + ROUNDING), "values outside of [0, 1]")
    found = found.clamp(0.0, 1.0)
    if eps is None:
        return found
    far = distance(found - clean, norm) > eps * (1 + 1e-4) + ROUNDING
    if METHODS[method].radius is None:
        return torch.where(far.view(-1, 1, 1, 1), clean, found)
    refuse(far, f"a perturbation greater than eps ({norm}, {eps:g})")
    return found


def distance(delta: Tensor, norm: str) -> Tensor:
    """Return the norm of every perturbation: [N, C, H, W] to [N]; L0 counts pixels, not their channels."""
    if norm == "l0":
        return (delta != 0).any(dim=1).flatten(1).sum(dim=1).to(delta.dtype)
    if norm == "l1":
        return delta.flatten(1).abs().sum(dim=1)
    return size(delta, norm)


class _Unstopped(int):
    """A number of steps whose tenth is beyond them.

    After each tenth of its steps CW stops if the loss has risen: the summed loss of all images, so that an image's
    result depends on the others. (Stopping each image by its own loss would end many searches at the first ripple.)
    """

    def __floordiv__(self, other: int) -> int:
        return int(self) + 1


class _Attacked(nn.Module):
    """The network as torchattacks is given it: in evaluation mode, without gradients of weights, queries counted."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.queries = 0
        self.lifted = True
        self.eval()  # this module as well: torchattacks switches back to the mode of what it is given

    def forward(self, images: Tensor) -> Tensor:
        self.queries += len(images)
        if isinstance(images, nn.Parameter):
            # EAD's first point shares its memory with the clean images, which its first step would change
            images.data = images.data.clone()
        logits = self.network(images)
        return above_zero(logits) if self.lifted else logits


@contextmanager
def own_random_numbers(seed: int, index: int, device: torch.device) -> Iterator[int]:
    """Seed torch's and NumPy's global generators, yield the seed, and leave them as they were."""
    own = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    state = np.random.get_state()  # noqa: NPY002  torchattacks draws from it
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(own)
        np.random.seed(own)  # noqa: NPY002
        try:
            yield own
        finally:
            np.random.set_state(state)  # noqa: NPY002
