"""The defence as its users have it: fitted to images, calibrated, asked, and evaluated in one call."""

from collections.abc import Sequence
from fractions import Fraction

import torch

from featurepaths.defense.checks import Batches
from featurepaths.defense.module import FittableDefense
from featurepaths.experiment.config.attacks import Attack
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from featurepaths.experiment.config.messages import read_section
from featurepaths.library.evaluation import Evaluation
from featurepaths.library.images import load_images
from featurepaths.library.suites import Detectors, evaluate_images, on_device

SEARCH = AdaptiveSearch()
"""The configuration's defaults of adaptive attacks."""
ATTACK = {name: field.default for name, field in Attack.model_fields.items()}
"""The configuration's defaults of an attack on the network alone."""


class FeaturePathDefense(FittableDefense):
    """The paper's method, detection and recognition, around any classifier.

    `fit` computes the class centroids from training images; `calibrate` sets the threshold and the voting layers by
    other images; `freeze`, `load` and `from_run` take both from elsewhere. After that, `predict` answers, and
    `evaluate` attacks it. Layers are numbered from 1, in the given order.

    Called as a function it is a detector as in pytorch-ood: it returns outlier scores [N] of images, minus S_max.

    Parameters
    ----------
    model
        The classifier: logits [N, classes] of images [N, C, H, W] in [0, 1], so that it normalizes them itself. It is
        put into evaluation mode, in which the defence stays.
    layers
        Names of the modules whose outputs are the layers of the paths, in order: keys of `model.named_modules()`.
    pooling
        ``flatten`` takes every value of a layer's output (the paper's), ``mean`` the average of each channel.
    precision
        ``float32``, or ``bfloat16`` for a fast search of examples, which changes the memory layout of the model: pass a
        copy.

    Raises
    ------
    FeaturePathsError
        If there is no such layer or pooling.

    Examples
    --------
    >>> defense = FeaturePathDefense(model, layers=["layer1", "layer2", "layer3", "layer4"], pooling="mean")
    >>> defense.fit(train_loader).calibrate(calibration_loader, fpr=0.05)
    >>> label, flagged, score, votes = defense.predict(images)
    >>> print(defense.evaluate(test_loader, eps=8 / 255))
    """

    def evaluate(
        self,
        loader: Batches,
        eps: float | str | Fraction,
        *,
        norm: str = ATTACK["norm"],
        iterations: int = SEARCH.iterations,
        step: float | str | Fraction | None = SEARCH.step,
        objectives: Sequence[str] = tuple(SEARCH.objectives),
        losses: Sequence[str] = tuple(SEARCH.losses),
        n_targets: int = SEARCH.n_targets,
        restarts: int = SEARCH.restarts,
        skip_defeated: bool = SEARCH.skip_defeated,
        stopping_rule: Sequence[str] = tuple(ATTACK["stopping_rule"]),
        oblivious_iterations: int | None = None,
        max_images: int | None = SEARCH.max_images,
        seed: int = ATTACK["seed"],
        indices: Sequence[int] | None = None,
        detectors: Detectors | None = None,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Evaluation:
        """Attack the defence as the workflow does, without and with knowledge of it, and count what remains.

        AutoPGD attacks the network alone; then the searches of the workflow's stage `adaptive` attack the network, the
        defence, and the score alone. The worst case counts an image as lost if any of these defeats it. Controls for
        masked gradients are not run. Images are held in memory, at most 64 in one pass of the network.

        Parameters
        ----------
        loader
            Test images [n, C, H, W] in [0, 1], all of one size, and labels [n], batch by batch; images with negative
            labels are left out. They are attacked in the order in which they come.
        eps
            The radius, in pixel values of [0, 1], as a number or as text such as ``8/255``.
        norm
            ``linf`` or ``l2``.
        iterations, step
            Steps of every search, and the first one's size; None for 2 eps.
        objectives, losses, n_targets, restarts, skip_defeated
            The searches, as under `adaptive` in the configuration: see its schema.
        stopping_rule, oblivious_iterations
            Which examples of the attack on the network alone are evaluated, and its steps; None for `iterations`.
        max_images
            Attack only this many of the images, evenly spaced, for which the loader is read twice; None for all.
        seed, indices
            Random starts depend on the seed (in a run: the training's plus the attack's) and on an image's index, one
            different number per image (in a run: its row in ``data.h5``); None for 0, 1, 2, ...
        detectors
            Detectors that are attacked by themselves, each with the unit of its score, such as those of a run: see
            `featurepaths.detectors.registry.read_detectors`. None for the defence's own score, in units of its
            standard deviation over the clean images.
        device
            Where to compute; None for where the network is, to which it is moved back.
        progress
            Whether to show a progress bar.

        Returns
        -------
        The table, the verdict and the records of every image: see `featurepaths.library.evaluation.Evaluation`.

        Raises
        ------
        FeaturePathsError
            If the defence is not calibrated, a setting is not valid, or images or labels are not as above.
        """
        self.calibration  # noqa: B018  raises its error before images are read
        attacks = {"iterations": oblivious_iterations or iterations, "stopping_rule": list(stopping_rule)}
        attack = read_section(Attack, attacks | {"eps": eps, "norm": norm, "step": step, "seed": seed}, "evaluate")
        searches = {"iterations": iterations, "step": step, "max_images": max_images, "restarts": restarts}
        searches |= {"objectives": list(objectives), "losses": list(losses), "n_targets": n_targets}
        search = read_section(AdaptiveSearch, searches | {"skip_defeated": skip_defeated}, "evaluate")
        images = load_images(loader, len(self.centroids[0]), max_images, indices)
        with on_device(self, device):
            return evaluate_images(self, images, attack, search, detectors, progress=progress)
