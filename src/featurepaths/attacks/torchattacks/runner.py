"""Attacks of torchattacks over any number of images, block by block, with every result checked.

torchattacks draws from the global generators, some of its attacks reseed them, and it leaves wrapped networks in
training mode. Neither has an effect outside of this module: the network is copied, the generators are restored.
"""

from collections.abc import Callable, Mapping
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
from featurepaths.attacks.runner import Block, Records, records_of_examples
from featurepaths.attacks.torchattacks.library import fit_windows, library, seeded_generators
from featurepaths.attacks.torchattacks.methods import METHODS, complete, misfit
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.copies import copy_of
from featurepaths.runtime.blocks import is_out_of_memory, pad_block


class LibraryAttack:
    """An attack of `featurepaths.attacks.torchattacks.methods.METHODS`: called with a block it returns its records.

    The network, in evaluation mode, decides whether an example fools it, not the library. Methods in which images
    influence one another attack each image alone (`Method.alone`), with random numbers from `seed` and its index; the
    others attack blocks, with random numbers from `seed` and the index of the first image.

    Parameters
    ----------
    network
        Returns logits; a copy of it is attacked.
    norm, eps
        The norm, one of the method's, and the radius; for L0 a number of pixels. A method that minimizes the norm needs
        no radius; if one is set, the clean image replaces examples that are farther away.
    parameters
        Arguments of the library's class; numbers may be written as fractions.

    Raises
    ------
    FeaturePathsError
        If the method, norm or parameter does not exist, or a radius is missing.
    """

    def __init__(
        self, network: nn.Module, method: str, norm: str, eps: float | None, parameters: Mapping[str, Any], seed: int
    ):
        if method not in METHODS:
            raise FeaturePathsError(f"There is no attack method '{method}'; there are {', '.join(METHODS)}.")
        self.entry = METHODS[method]
        if norm not in self.entry.classes:
            raise FeaturePathsError(f"Attack method {method} has no norm {norm}, but {', '.join(self.entry.norms)}.")
        if wrong := sorted(set(parameters) - set(self.entry.parameters)):
            has = ", ".join(self.entry.parameters) or "none"
            raise FeaturePathsError(f"Attack method {method} has no parameter {', '.join(wrong)}; it has {has}.")
        if self.entry.radius is not None and eps is None:
            raise FeaturePathsError(f"Attack method {method} needs eps.")
        self.method, self.norm, self.eps, self.parameters, self.seed = method, norm, eps, parameters, seed
        self.class_name = self.entry.classes[norm]
        self.network = _Attacked(copy_of(network))
        self.reference = misclassification(self.network.network, "ce")

    def __call__(self, block: Block) -> Records:
        """Return a block's records: see `featurepaths.attacks.runner.records_of_examples`.

        ``n_queries`` is the number of forward passes of the image, or the block's average, rounded up.

        Raises
        ------
        FeaturePathsError
            If torchattacks is not installed, the method does not support such images or so few classes, the library
            fails, or a result is not finite, leaves [0, 1] or is farther away than `eps`.
        """
        with torch.no_grad():
            classes = self.network.network(block.clean[:1]).shape[1]
        alone = [slice(row, row + 1) for row in range(block.count)]
        examples, queries = [], []
        for part in alone if self.entry.alone else [slice(0, block.count)]:
            clean, labels, indices = block.clean[part], block.labels[part], block.indices[part]
            self.network.queries = 0
            with seeded_generators(self.seed, int(indices[0]), clean.device) as number:
                attack = self.build(number, classes, clean.shape[1:])
                results = self._run(attack, clean.clone(), labels, indices).detach()
            examples.append(self.check(results, clean, indices))
            queries += [-(-self.network.queries // len(indices))] * len(indices)
        n_queries = torch.tensor(pad_block(np.array(queries, np.int32)), device=block.clean.device)
        adversarial = torch.cat([*examples, block.clean[block.count :]])
        return records_of_examples(block, adversarial, self.reference, self.norm, n_queries)

    def build(self, seed: int, classes: int, shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return torchattacks' attack, a function of images [N, C, H, W] of a `shape` [C, H, W] and labels [N].

        Raises
        ------
        FeaturePathsError
            If torchattacks is not installed, the radius is too large for such images, or the method does not support
            them or so few classes.
        """
        if problem := misfit(self.method, self.parameters, classes, shape):
            raise FeaturePathsError(f"Attack method {self.method} {problem}.")
        if self.eps is not None:
            check_radius("eps", self.eps, self.norm, shape)
        arguments = {
            name: float(Fraction(value)) if self.entry.parameters[name].kind == "number" else value
            for name, value in complete(self.method, self.parameters, self.eps).items()
        } | dict(self.entry.fixed)
        if self.entry.radius is not None:
            arguments[self.entry.radius] = int(self.eps) if self.norm == "l0" else self.eps
        context = {"norm": {"linf": "Linf", "l2": "L2"}.get(self.norm), "seed": seed, "n_classes": classes}
        arguments |= {name: context[name] for name in self.entry.context}
        if self.method == "cw":
            arguments["steps"] = _Unstopped(arguments["steps"])
        self.network.shifted = self.entry.shifted
        attack = fit_windows(getattr(library(), self.class_name)(self.network, **arguments))
        if self.method == "jsma":
            # it aims at the next class, which the library computes modulo ten
            attack.set_mode_targeted_by_label(quiet=True)
            return lambda images, labels: attack(images, (labels + 1) % classes)
        if self.method != "deepfool":
            return attack

        def overshooting(images: Tensor, labels: Tensor) -> Tensor:
            # The publication enlarges the whole perturbation (Algorithm 2), the library only its steps: these converge
            # to the boundary itself, where rounding decides whether an image is fooled.
            perturbation = attack(images, labels) - images
            return (images + (1 + arguments["overshoot"]) * perturbation).clamp(0.0, 1.0)

        return overshooting

    def check(self, results: Tensor, clean: Tensor, indices: np.ndarray) -> Tensor:
        """Return results [N, C, H, W] of images with these `indices` [N], clipped to [0, 1], if they are valid.

        Raises
        ------
        FeaturePathsError
            If a result is not finite, leaves [0, 1] or, for a bounded method, is farther away than `eps`: the message
            has the method and the first such image.
        """
        values, clipped = results.flatten(1), results.clamp(0.0, 1.0)
        problems = {
            "values that are not finite": ~values.isfinite().all(dim=1),
            "values outside of [0, 1]": (values.amin(dim=1) < -ROUNDING) | (values.amax(dim=1) > 1 + ROUNDING),
        }
        if self.eps is not None:
            far = size(clipped - clean, self.norm) > self.eps * (1 + 1e-4) + ROUNDING
            if self.entry.radius is None:
                clipped = torch.where(far.view(-1, 1, 1, 1), clean, clipped)
            else:
                problems[f"a perturbation greater than eps ({self.norm}, {self.eps:g})"] = far
        for problem, wrong in problems.items():
            if wrong.any():
                raise self._failure(
                    f"returned {problem} for image {indices[int(wrong.nonzero()[0, 0])]} of the data set"
                )
        return clipped

    def _run(
        self, attack: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, indices: np.ndarray
    ) -> Tensor:
        """Return an attack's results; errors of the library name the method and the images."""
        try:
            return attack(images, labels)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
                ValueError) as error:  # fmt: skip
            if isinstance(error, FeaturePathsError) or is_out_of_memory(error):
                raise
            named = f"image {indices[0]}" if len(indices) == 1 else f"images {indices[0]} to {indices[-1]}"
            values = f"{'x'.join(map(str, images.shape[1:]))} values ({type(error).__name__}: {error})"
            raise self._failure(f"failed on {named} of the data set, of {values}") from error

    def _failure(self, problem: str) -> FeaturePathsError:
        return FeaturePathsError(
            f"Attack method {self.method} (torchattacks.{self.class_name}) {problem}. Change its parameters, or leave "
            "it out of attacks."
        )


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
