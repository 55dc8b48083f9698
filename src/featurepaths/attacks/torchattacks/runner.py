"""Attacks of torchattacks over any number of images, block by block, with every result checked.

torchattacks draws from the global generators, some of its attacks reseed them, and it leaves wrapped networks in
training mode. Neither has an effect outside of this module: the network is copied, the generators are restored.
"""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.attacks.losses import above_zero
from featurepaths.attacks.norms import size
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.precomputed.files import ROUNDING
from featurepaths.attacks.radius import check_radius
from featurepaths.attacks.runner import Records, records_of_examples, run_blocks
from featurepaths.attacks.torchattacks.library import library, seeded_generators
from featurepaths.attacks.torchattacks.methods import METHODS, complete, misfit
from featurepaths.attacks.torchattacks.square import fit_windows
from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.copies import copy_of
from featurepaths.runtime.blocks import is_out_of_memory, pad_block


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
) -> Records:
    """Attack every image with an attack of `featurepaths.attacks.torchattacks.methods.METHODS`.

    The network, in evaluation mode, decides whether an example fools it, not the library. Methods in which images
    influence one another attack each image alone (`Method.alone`), with random numbers from `seed` and its index; the
    others attack blocks, with random numbers from `seed` and the index of the first image.

    Parameters
    ----------
    network
        Returns logits; a copy of it is attacked.
    images, labels, indices
        uint8 images [N, H, W, C], read by slices of rows; their labels [N]; and their rows in the data set [N].
    rows_of_blocks
        The blocks to attack; all by default.
    norm, eps
        The norm, one of the method's, and the radius; for L0 a number of pixels. A method that minimizes the norm needs
        no radius; if one is given, the clean image replaces examples that are farther away.
    parameters
        Arguments of the library's class; numbers may be written as fractions.

    Yields
    ------
    The rows of each block and its records [n], by name, as `featurepaths.attacks.runner.records_of_examples` returns
    them. ``n_queries`` is the number of forward passes of the image, or the block's average, rounded up.

    Raises
    ------
    FeaturePathsError
        If torchattacks is not installed, an option is not the method's, the method does not support such images or so
        few classes, the library fails, or a result is not finite, leaves [0, 1] or is farther away than `eps`.
    """
    attacked = _Attacked(copy_of(network))
    reference = misclassification(attacked.network, "ce")

    def attack_block(clean: Tensor, targets: Tensor, rows: slice) -> dict[str, Tensor]:
        count = rows.stop - rows.start
        with torch.no_grad():
            classes = attacked.network(clean[:1]).shape[1]
        examples, queries = [], []
        for part in _parts(method, count):
            attacked.queries = 0
            part_indices = indices[rows][part]
            with seeded_generators(seed, int(part_indices[0]), clean.device) as number:
                attack = build(
                    attacked, method, norm, eps, parameters, seed=number, classes=classes, shape=clean.shape[1:]
                )
                results = _run(attack, clean[part].clone(), targets[part], method, norm, part_indices).detach()
            examples.append(check_results(results, clean[part], method, norm, eps, part_indices))
            queries += [-(-attacked.queries // len(part_indices))] * len(part_indices)
        n_queries = torch.tensor(pad_block(np.array(queries, np.int32)), device=clean.device)
        adversarial = torch.cat([*examples, clean[count:]])
        return records_of_examples(reference, clean, adversarial, targets, norm, n_queries)

    return run_blocks(attack_block, images, labels, rows_of_blocks, device)


def _parts(method: str, count: int) -> list[slice]:
    """Return which images of a block are attacked together."""
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
    """Return an attack's results; errors of the library name the method and the images."""
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
        The seed and the number of classes, which some classes of the library take.
    shape
        Shape of an image, [C, H, W], which is checked if given.

    Raises
    ------
    FeaturePathsError
        If torchattacks is not installed, the method, norm or parameter does not exist, a radius is missing or too large
        for images of this shape, the method does not support such images, or there are too few classes.
    """
    if method not in METHODS:
        raise FeaturePathsError(f"There is no attack method '{method}'; there are {', '.join(METHODS)}.")
    entry = METHODS[method]
    if norm not in entry.classes:
        raise FeaturePathsError(f"Attack method {method} has no norm {norm}, but {', '.join(entry.norms)}.")
    if wrong := sorted(set(parameters) - set(entry.parameters)):
        has = ", ".join(entry.parameters) or "none"
        raise FeaturePathsError(f"Attack method {method} has no parameter {', '.join(wrong)}; it has {has}.")
    if entry.radius is not None and eps is None:
        raise FeaturePathsError(f"Attack method {method} needs eps.")
    if problem := misfit(method, parameters, classes, shape):
        raise FeaturePathsError(f"Attack method {method} {problem}.")
    if eps is not None:
        check_radius("eps", eps, norm, shape)
    arguments = {
        name: float(Fraction(value)) if entry.parameters[name].kind == "number" else value
        for name, value in complete(method, parameters, eps).items()
    } | dict(entry.fixed)
    if entry.radius is not None:
        arguments[entry.radius] = int(eps) if norm == "l0" else eps
    context = {"norm": {"linf": "Linf", "l2": "L2"}.get(norm), "seed": seed, "n_classes": classes}
    arguments |= {name: context[name] for name in entry.context}
    if method == "cw":
        arguments["steps"] = _Unstopped(arguments["steps"])
    network.shifted = entry.shifted
    attack = fit_windows(getattr(library(), entry.classes[norm])(network, **arguments))
    if method == "jsma":
        # it aims at the next class, which the library computes modulo ten
        attack.set_mode_targeted_by_label(quiet=True)
        return lambda images, labels: attack(images, (labels + 1) % classes)
    if method != "deepfool":
        return attack

    def overshooting(images: Tensor, labels: Tensor) -> Tensor:
        # The publication enlarges the whole perturbation (Algorithm 2), the library only its steps: these converge to
        # the boundary itself, where rounding decides whether an image is fooled.
        perturbation = attack(images, labels) - images
        return (images + (1 + arguments["overshoot"]) * perturbation).clamp(0.0, 1.0)

    return overshooting


def check_results(
    results: Tensor, clean: Tensor, method: str, norm: str, eps: float | None, indices: np.ndarray
) -> Tensor:
    """Return an attack's results [N, C, H, W], clipped to [0, 1], if they are valid.

    Raises
    ------
    FeaturePathsError
        If a result is not finite, leaves [0, 1] or, for a bounded method, is farther away than `eps`: the message has
        the method and the first such image.
    """

    def refuse(wrong: Tensor, problem: str) -> None:
        if wrong.any():
            image = int(indices[int(wrong.nonzero()[0, 0])])
            raise FeaturePathsError(
                f"Attack method {method} (torchattacks.{METHODS[method].classes[norm]}) returned {problem} for image "
                f"{image} of the data set. Change its parameters, or leave it out of attacks."
            )

    values = results.flatten(1)
    refuse(~values.isfinite().all(dim=1), "values that are not finite")
    refuse((values.amin(dim=1) < -ROUNDING) | (values.amax(dim=1) > 1 + ROUNDING), "values outside of [0, 1]")
    results = results.clamp(0.0, 1.0)
    if eps is None:
        return results
    far = size(results - clean, norm) > eps * (1 + 1e-4) + ROUNDING
    if METHODS[method].radius is None:
        return torch.where(far.view(-1, 1, 1, 1), clean, results)
    refuse(far, f"a perturbation greater than eps ({norm}, {eps:g})")
    return results


class _Unstopped(int):
    """A number of steps that CW never divides into tenths.

    After each tenth of its steps CW stops if the loss summed over all images has risen, so that an image's result
    depends on the others. (Stopping each image by its own loss would end many searches too early.)
    """

    def __floordiv__(self, other: int) -> int:
        return int(self) + 1


class _Attacked(nn.Module):
    """The network that torchattacks attacks: in evaluation mode, without gradients of weights, with queries counted."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.queries = 0
        self.shifted = True
        self.eval()  # this module too: torchattacks restores the mode of the module it attacks

    def forward(self, images: Tensor) -> Tensor:
        self.queries += len(images)
        if isinstance(images, nn.Parameter):
            # EAD's first point shares memory with the clean images, which its first step would modify
            images.data = images.data.clone()
        logits = self.network(images)
        return above_zero(logits) if self.shifted else logits
