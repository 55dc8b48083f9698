"""The whole defence as one module: a network, its feature paths, the threshold and the vote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.defense.calibration import Calibration, read_calibration
from featurepaths.defense.selection import accuracy_of_votes, best_layers, middle_layers
from featurepaths.defense.views import DetectorView, RecogniserView
from featurepaths.defense.votes import TIE_BREAKS, nearest_classes, recognise, vote
from featurepaths.detectors.s_max import SMax
from featurepaths.detectors.thresholds import at_false_positive_rate, otsu
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import layer_names, load_checkpoint
from featurepaths.networks.probabilities import warn_of_probabilities
from featurepaths.paths.chunks import ClassSums
from featurepaths.paths.collapse import CollapseMeter, layers_before_collapse
from featurepaths.paths.encoder import Encoder
from featurepaths.paths.equations import centroids_of, s_max, weights_of
from featurepaths.paths.outputs import ModelOutputs, model_outputs, read_centroids
from featurepaths.runtime.blocks import finite_rows
from featurepaths.store.jsonfile import read_json
from featurepaths.store.provenance import descend
from featurepaths.store.tensors import read_tensors, write_tensors

COLLAPSED = 0.99
"""From this training PFC3 on a layer counts as collapsed, where detection layers are ``auto``."""
VOTERS = 3
"""How many layers vote, where voting layers are ``auto``."""
ROWS = 512
"""Cached features that are read at a time."""
KIND = "featurepaths-defense"
NUMBERS = ("layers", "weights", "voting_layers", "voting_weights")
"""Fields of a calibration that are lists of numbers in a file."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""A loader: images [n, C, H, W] in [0, 1] and labels [n], batch by batch."""


class Decision(NamedTuple):
    """What the defence answers to N images, each [N]: NumPy arrays.

    `network_predictions` are the undefended network's, `score` is S_max, `labels` the whole method's.
    """

    network_predictions: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    voted: np.ndarray
    labels: np.ndarray


class Prediction(NamedTuple):
    """What the defence answers to N images, on the device of its network.

    `label` [N] is the class: the network's, or the vote where the image is `flagged` [N], because its `score` [N],
    S_max, lies below the threshold. `votes` [N, V] are the classes that the voting layers name, in their order.
    """

    label: Tensor
    flagged: Tensor
    score: Tensor
    votes: Tensor


class FeaturePathDefense(nn.Module):
    """The paper's method, detection and recognition, around any classifier.

    `fit` learns the class centroids from training images, `calibrate` the threshold and which layers vote from others;
    `freeze`, `load` and `from_run` take both from elsewhere. After that `predict` answers. Layers are numbered from 1,
    as they are given.

    Called as a function it is a detector as pytorch-ood has them: outlier scores [N] of images, which are minus S_max.

    Parameters
    ----------
    model
        The classifier: logits [N, classes] of images [N, C, H, W] in [0, 1], so that it normalises them itself. It is
        put into evaluation mode, in which the defence stays.
    layers
        Names of the modules whose outputs are the layers of the paths, in order: keys of `model.named_modules()`.
    pooling
        ``flatten`` takes every value of a layer's output (the paper's), ``mean`` the average of each channel.
    precision
        ``float32``, or ``bfloat16`` for a fast search of examples: the model, of which give a copy, is laid out anew.

    Raises
    ------
    FeaturePathsError
        If there is no such layer or pooling.

    Examples
    --------
    >>> defense = FeaturePathDefense(model, layers=["layer1", "layer2", "layer3", "layer4"], pooling="mean")
    >>> defense.fit(train_loader).calibrate(calibration_loader, fpr=0.05)
    >>> label, flagged, score, votes = defense.predict(images)
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], pooling: str = "flatten", *, precision: str = "float32"
    ):
        super().__init__()
        self.encoder = Encoder(model, layers, pooling, precision)
        self._centroids = nn.ParameterList()
        self._detector: SMax | None = None
        self._calibration: Calibration | None = None
        self.eval()

    # What it is made of

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return self.encoder.layers

    @property
    def pooling(self) -> str:
        """How features are pooled."""
        return self.encoder.pooling

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.encoder.parameters()).device

    @property
    def centroids(self) -> list[Tensor]:
        """Of each layer the class centroids [classes, d], unit vectors: the paper's eq. (1)."""
        if len(self._centroids) == 0:
            raise FeaturePathsError("This defence has no centroids yet: call fit(loader) first.")
        return list(self._centroids)

    @property
    def detector(self) -> SMax:
        """The detector: layers and weights, without the threshold."""
        if self._detector is None:
            raise FeaturePathsError("This defence has no detection layers yet: call fit(loader) first.")
        return self._detector

    @property
    def calibration(self) -> Calibration:
        """What the defence is calibrated to."""
        if self._calibration is None:
            raise FeaturePathsError("This defence has no threshold and voting layers yet: call calibrate(clean) first.")
        return self._calibration

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is: in the other one images would change each other's answers."""
        return super().train(False)

    # Learning

    def fit(
        self,
        loader: Batches,
        *,
        detection_layers: str | Sequence[int] = "auto",
        weights: str | Sequence[float] = "equal",
    ) -> Self:
        """Learn class centroids from training images, which are read batch by batch; a calibration is forgotten.

        Parameters
        ----------
        loader
            Images [n, C, H, W] in [0, 1] and labels [n], from 0, batch by batch. Images with negative labels, which
            mark other data in pytorch-ood, are left out.
        detection_layers
            The layers, from 1, that are scored. ``auto``: those before collapse (PFC3 below `COLLAPSED`), for which
            the loader is read a second time.
        weights
            The weight of each of them, which sum to 1, or ``equal``.

        Raises
        ------
        FeaturePathsError
            If a class has no image, features are not finite, images lie outside of [0, 1], or the loader can be read
            only once and has to be read twice.
        """
        if _is_auto(detection_layers) and isinstance(loader, Iterator):
            raise FeaturePathsError(
                "detection_layers: auto reads the loader twice, and this one ends after one reading. Give one that "
                "starts anew, such as a DataLoader, or name the layers."
            )

        def batches() -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
            for images, labels in self._checked(loader):
                with torch.no_grad():
                    logits, features = self.encoder.features(images)
                warn_of_probabilities(logits)
                yield logits.shape[1], features, labels

        learned_from = self.encoder.fingerprint
        self.encoder.remember()
        try:
            return self._learn(batches, detection_layers, weights)
        except BaseException:
            self.encoder.fingerprint = learned_from  # as the centroids are
            raise

    def fit_features(
        self,
        features: Tensor | Sequence[Tensor],
        labels: Tensor,
        *,
        detection_layers: str | Sequence[int] = "auto",
        weights: str | Sequence[float] = "equal",
    ) -> Self:
        """Learn class centroids from cached features, as `fit` does from images.

        Parameters
        ----------
        features
            One tensor [N, d] a layer; or what `encoder` gives, all layers side by side in one tensor [N, D].
        labels
            Classes [N]: every number from 0 to the greatest occurs. Rows with negative labels are left out.
        """
        parts, known = self.encoder.split(features), labels >= 0
        if not known.any():
            raise FeaturePathsError("There are no features to fit to.")
        classes = int(labels.max()) + 1
        rows = known.nonzero().squeeze(1).split(ROWS)

        def batches() -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
            for some in rows:
                yield classes, [part[some].float() for part in parts], labels[some].cpu().numpy()

        self._learn(batches, detection_layers, weights)
        self.encoder.remember()
        return self

    def calibrate(
        self,
        clean: Batches,
        adversarial: Batches | None = None,
        fpr: float | Fraction = 0.05,
        *,
        voting_layers: str | Sequence[int] = "auto",
        voting_weights: str | Sequence[float] = "equal",
        tie_break: str = "last-layer",
    ) -> Self:
        """Set the threshold and the voting layers by images that `fit` has not seen.

        Parameters
        ----------
        clean
            Clean images and their labels, batch by batch.
        adversarial
            Adversarial examples with the true labels. With them the threshold is Otsu's, on the scores of both.
        fpr
            Share of the clean images that the threshold may flag, where there are no adversarial examples.
        voting_layers
            The layers, from 1 and ascending, that vote. ``auto``: the `VOTERS` layers whose nearest centroid is most
            accurate on the adversarial examples; without them 2, 3 and 4, the paper's, as far as they exist.
        voting_weights
            The weight of each of them, which sum to 1, or ``equal``.
        tie
            Who wins a tied vote: see `featurepaths.defense.votes.vote`.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, there are no images, or a feature is not finite.
        """
        rate = Fraction(str(fpr))
        if not 0 <= rate < 1:
            raise FeaturePathsError(f"fpr is a share of the clean images, at least 0 and below 1, not {fpr}.")
        if tie_break not in TIE_BREAKS:
            raise FeaturePathsError(f"tie is one of {', '.join(TIE_BREAKS)}, not {tie_break!r}.")
        named = None if _is_auto(voting_layers) else self._numbers(voting_layers, "voting_layers")
        scores, _, _ = self._answers(clean, "clean")
        if adversarial is None:
            threshold = at_false_positive_rate(scores, rate)
            chosen = middle_layers(len(self.layers)) or [1]
        else:
            adversarial_scores, votes, labels = self._answers(adversarial, "adversarial")
            threshold = otsu(np.concatenate([scores, adversarial_scores]))
            chosen = best_layers(accuracy_of_votes(votes, labels), VOTERS)
        voters = named or chosen
        of_voters = _weights(voting_weights, voters, "voting_weights")
        self._calibration = Calibration(*self._detection(), threshold, voters, of_voters, tie_break)
        return self

    def freeze(self, centroids: Sequence[Tensor], calibration: Calibration) -> Self:
        """Take what was learned elsewhere, in the place of `fit` and `calibrate`.

        Parameters
        ----------
        centroids
            Of each layer the class centroids [classes, d], unit vectors.
        """
        self._take(centroids, calibration.layers, calibration.weights)
        self.encoder.remember()
        self._calibration = calibration
        return self

    # Answers

    def forward(self, images: Tensor) -> Tensor:
        """Return minus S_max of images, float64 [N], great when adversarial, as pytorch-ood's detectors do."""
        with torch.no_grad():
            return -self.score(images)

    def model_outputs(self, images: Tensor) -> ModelOutputs:
        """Return what the network shows of images [N, C, H, W] in [0, 1]; differentiable.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, to other features than these, or to a network that was changed since, or if
            an image, a feature or a logit is not finite.
        """
        seen, finite = self.look(images)
        if not finite.all():
            self._refuse(images, seen, finite)
        return seen

    def look(self, images: Tensor) -> tuple[ModelOutputs, Tensor]:
        """Return what `observe` does, and of which images all of it is finite, bool [N], instead of refusing others."""
        centroids = self.centroids
        images = images.to(self.device)
        seen = self._compared(*self.encoder.features(images), centroids)
        shown = (images, seen.logits, seen.similarity)
        return seen, torch.stack([finite_rows(each) for each in shown]).all(dim=0)

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; differentiable."""
        return self.encoder.logits(images)

    def paths(self, images: Tensor) -> Tensor:
        """Return the feature paths of images: similarities to each layer's centroids, [N, L, C]; differentiable."""
        return self.model_outputs(images).similarity

    def score(self, images: Tensor) -> Tensor:
        """Return S_max, eq. (5), of images, float64 [N], low when adversarial; differentiable."""
        return self.score_of(self.model_outputs(images))

    def score_of(self, seen: ModelOutputs) -> Tensor:
        """Return S_max, eq. (5), of what the network shows, float64 [N]; differentiable."""
        return self.detector.score(seen)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Prediction:
        """Return label, flag, score and votes of images [N, C, H, W] in [0, 1]."""
        seen = self.model_outputs(images)
        decision = self.decide(seen)
        votes = nearest_classes(seen.similarity.cpu().numpy())[:, np.array(self.calibration.voting_layers) - 1]
        answers = (decision.labels, decision.flagged, decision.score, votes)
        return Prediction(*(torch.from_numpy(values).to(seen.logits.device) for values in answers))

    def predict_features(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """Return minus S_max of cached features, as `fit_features` takes them: [N], great when adversarial."""
        with torch.no_grad():
            parts = [part.to(self.device).float() for part in self.encoder.split(features)]
            self._arrays(parts)  # refuses what is not finite
            logits = parts[0].new_zeros(len(parts[0]), len(self.centroids[0]))  # which S_max does not read
            return -self.score_of(self._compared(logits, parts, self.centroids))

    def decide(self, seen: ModelOutputs) -> Decision:
        """Return the answer, by the functions that the workflow itself counts with."""
        chosen = self.calibration
        similarity = seen.similarity.detach().cpu().numpy()
        network_predictions = seen.logits.detach().argmax(dim=1).cpu().numpy()
        score = s_max(similarity, chosen.layers, chosen.weights)
        flagged = score < chosen.threshold
        voted = vote(similarity, chosen.voting_layers, chosen.voting_weights, chosen.tie_break)
        return Decision(network_predictions, score, flagged, voted, recognise(network_predictions, flagged, voted))

    def as_recogniser(self) -> RecogniserView:
        """Return the defence as a network with C logits, whose greatest is the label that `predict` gives."""
        return RecogniserView(self)

    def as_detector(self) -> DetectorView:
        """Return the defence as a network with C + 1 logits: the network's, and "adversarial" where it is flagged."""
        return DetectorView(self)

    # Files

    def save(self, path: str | Path) -> None:
        """Write what was learned, not the model, to a file in safetensors: centroids, and all else in its metadata.

        Raises
        ------
        FeaturePathsError
            If the defence is not calibrated, the model is no longer the one that was fitted to, or the file cannot be
            written.
        """
        self.encoder.check()
        calibration = asdict(self.calibration)
        calibration |= {name: np.asarray(calibration[name]).tolist() for name in NUMBERS}
        description = {
            "kind": KIND,
            "layers": self.layers,
            "pooling": self.pooling,
            "calibration": calibration,
            "model": _digest(self.encoder),
        }
        tensors = {f"layer{number}": each for number, each in enumerate(self.centroids, start=1)}
        write_tensors(Path(path), tensors, description)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module) -> Self:
        """Return the defence of a file that `save` wrote, around the same model, on the model's device.

        Raises
        ------
        FeaturePathsError
            If the file cannot be read, or the model has other layers or weights than the one it was saved with.
        """
        tensors, description = read_tensors(Path(path))
        if description.get("kind") != KIND:
            raise FeaturePathsError(f"{path} is no defence that `save` wrote.")
        defense = cls(model, description["layers"], description["pooling"])
        if _digest(defense.encoder) != description["model"]:
            raise FeaturePathsError(f"{path} was saved with a model of other weights: load that one, or fit again.")
        chosen = description["calibration"]
        chosen |= {name: np.array(chosen[name]) for name in ("weights", "voting_weights")}
        centroids = [tensors[f"layer{number}"].to(defense.device) for number in range(1, len(defense.layers) + 1)]
        return defense.freeze(centroids, Calibration(**chosen))

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        pooling: str = "flatten",
        *,
        threshold_method: str = "otsu",
        device: torch.device | str = "cpu",
    ) -> Self:
        """Return the held-out defence of a run of the workflow, network included.

        Parameters
        ----------
        run
            Its folder, such as ``results/digits/resnet20-standard-s0``.
        threshold_method
            ``otsu``, or that of a false positive rate in the configuration: ``fpr-5``, ``fpr-1``.

        Raises
        ------
        FeaturePathsError
            If a file is missing, they do not belong together, or there is no such threshold.
        """
        run = Path(run)
        files = {
            "checkpoint": run / "checkpoint.safetensors",
            "centroids": run / f"centroids/{pooling}.h5",
            "threshold": run / f"thresholds/{pooling}/feature-paths.held-out.json",
            "selection": run / f"selection/{pooling}/held-out.json",
        }
        descend("defense", "", files.values())  # refuses files of different runs
        network, description = load_checkpoint(files["checkpoint"], device)
        tie_break = _read_tie(run.parent / "config.json")
        calibration = read_calibration(files["threshold"], files["selection"], tie_break, threshold_method)
        centroids = [each.to(device) for each in read_centroids(files["centroids"])]
        layers = layer_names(description)
        return cls(network, layers, pooling).freeze(centroids, calibration)

    # Steps of the above

    def _learn(
        self,
        batches: Callable[[], Iterable[tuple[int, list[Tensor], np.ndarray]]],
        detection_layers: str | Sequence[int],
        weights: str | Sequence[float],
    ) -> Self:
        """Learn from what `batches()` yields: number of classes, features by layer, labels."""
        named = None if _is_auto(detection_layers) else self._numbers(detection_layers, "detection_layers")
        if named is not None:
            _weights(weights, named, "weights")  # whether they are right can be told before the work
        sums: list[ClassSums] = []
        for classes, features, labels in batches():
            if labels.max() >= classes:
                raise FeaturePathsError(
                    f"There is a label {labels.max()}, but the model gives {classes} logits, from 0."
                )
            if not sums:
                sums = [ClassSums(classes, feature.shape[1]) for feature in features]
            for found, values in zip(sums, self._arrays(features), strict=True):
                found.add(values, labels)
        if not sums:
            raise FeaturePathsError("The loader gives no image to fit to.")
        means = [found.means() for found in sums]
        if named is None:
            meters = [CollapseMeter(mean, found.counts) for mean, found in zip(means, sums, strict=True)]
            for _, features, labels in batches():
                for meter, values in zip(meters, self._arrays(features), strict=True):
                    meter.add(values, labels)
            if (again := meters[0].count) != (first := int(sums[0].counts.sum())):
                raise FeaturePathsError(
                    f"The loader gave {first} images, and {again} when it was read again. detection_layers: auto needs "
                    "one that gives the same twice."
                )
            named = layers_before_collapse([meter.result().pfc3 for meter in meters], COLLAPSED)
        centroids = [torch.from_numpy(centroids_of(mean)).to(self.device) for mean in means]
        self._take(centroids, named, _weights(weights, named, "weights"))
        return self

    def _take(self, centroids: Sequence[Tensor], layers: Sequence[int], weights: np.ndarray) -> None:
        if len(centroids) != len(self.layers):
            raise FeaturePathsError(f"There are centroids of {len(centroids)} layers, not of {len(self.layers)}.")
        self._centroids = nn.ParameterList([nn.Parameter(each, requires_grad=False) for each in centroids])
        self._detector = SMax(layers, weights.tolist()).to(centroids[0].device)
        self._calibration = None
        self.encoder.widths = [each.shape[1] for each in centroids]

    def _compared(self, logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
        for name, feature, found in zip(self.layers, features, centroids, strict=True):
            if feature.shape[1] != found.shape[1]:
                raise FeaturePathsError(
                    f"Layer {name} gives {feature.shape[1]} values, and its centroids have {found.shape[1]}: they are "
                    "of other images or another model. Fit again."
                )
        return model_outputs(logits, features, centroids)

    def _refuse(self, images: Tensor, seen: ModelOutputs, finite: Tensor) -> NoReturn:
        """Say what is not finite, and of which image."""
        row = _first_other(finite)
        if not images[row].isfinite().all():
            raise FeaturePathsError(f"Image {row} of the batch, from 0, has a value that is not finite.")
        self._arrays(seen.features)
        if seen.logits[row].isfinite().all():
            raise FeaturePathsError(f"The features of image {row} of the batch, from 0, are too large for float32.")
        raise FeaturePathsError(f"The model gives logits that are not finite for image {row} of the batch, from 0.")

    def _arrays(self, features: list[Tensor]) -> list[np.ndarray]:
        """Return features by layer as float32 arrays."""
        for name, feature in zip(self.layers, features, strict=True):
            if not (finite := finite_rows(feature)).all():
                raise FeaturePathsError(
                    f"Layer {name} gives a feature that is not finite for image {_first_other(finite)} of the batch, "
                    "from 0."
                )
        return [feature.cpu().numpy() for feature in features]

    def _checked(self, loader: Batches) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Yield images, on the network's device, and labels of a loader."""
        for batch in loader:
            try:
                images, labels = batch
            except (TypeError, ValueError) as error:
                raise FeaturePathsError("A loader gives pairs of images [n, C, H, W] and labels [n].") from error
            labels = torch.as_tensor(labels).cpu()
            if not isinstance(images, Tensor) or images.ndim != 4 or labels.shape != images.shape[:1]:
                raise FeaturePathsError("A loader gives pairs of images [n, C, H, W] and labels [n].")
            known = labels >= 0
            allowed = ((images >= -1e-6) & (images <= 1 + 1e-6)).flatten(1).all(dim=1).cpu() | ~known
            if not (images.is_floating_point() and allowed.all()):
                row = 0 if allowed.all() else _first_other(allowed)
                raise FeaturePathsError(
                    f"Images have to be floating-point numbers in [0, 1], and image {row} of a batch, from 0, is not. "
                    "Normalisation belongs into the model, as its first layer: attacks have to see pixels."
                )
            if known.any():
                yield images[known].to(self.device), labels[known].numpy()

    @torch.no_grad()
    def _answers(self, loader: Batches, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return S_max [N], every layer's vote [N, L] and the labels [N] of a loader's images."""
        layers, weights = self._detection()
        found = []
        for images, labels in self._checked(loader):
            similarity = self.paths(images).cpu().numpy()
            found.append((s_max(similarity, layers, weights), nearest_classes(similarity), labels))
        if not found:
            raise FeaturePathsError(f"The loader of {what} images gives none to calibrate by.")
        scores, votes, labels = (np.concatenate(values) for values in zip(*found, strict=True))
        return scores, votes, labels

    def _detection(self) -> tuple[list[int], np.ndarray]:
        """Return the layers that are scored, and their weights."""
        return list(self.detector.layers or ()), self.detector.get_buffer("weights").cpu().numpy().copy()

    def _numbers(self, layers: str | Sequence[int], what: str) -> list[int]:
        """Return numbers of layers, if that is what they are."""
        allowed = range(1, len(self.layers) + 1)
        if isinstance(layers, str) or len(layers) == 0 or not all(layer in allowed for layer in layers):
            raise FeaturePathsError(f"{what} is auto, or numbers from 1 to {len(self.layers)}, not {layers!r}.")
        if list(layers) != sorted(set(layers)):
            raise FeaturePathsError(f"{what} are different layers in ascending order, not {layers!r}.")
        return [int(layer) for layer in layers]


def _first_other(good: Tensor) -> int:
    """Return the first position at which `good` [N] is false."""
    return int((~good).nonzero()[0])


def _is_auto(layers: str | Sequence[int]) -> bool:
    return isinstance(layers, str) and layers == "auto"


def _weights(weights: str | Sequence[float], layers: Sequence[int], what: str) -> np.ndarray:
    """Return the weights of layers, if that is what they are."""
    if weights == "equal" if isinstance(weights, str) else len(weights) == len(layers):
        found = weights_of(weights if isinstance(weights, str) else list(weights), len(layers))
        if (found >= 0).all() and np.isclose(found.sum(), 1):
            return found
    raise FeaturePathsError(f"{what} is equal, or one weight for each of the layers {list(layers)}, which sum to 1.")


def _read_tie(path: Path) -> str:
    """Return who wins tied votes, from the record of a run's configuration."""
    try:
        return read_json(path)["configuration"]["recognition"]["tie_break"]
    except KeyError as error:
        raise FeaturePathsError(f"{path} does not say how votes are counted ({error!r}). Finish the run.") from error


def _digest(encoder: Encoder) -> str:
    """Return a digest of the network's weights and statistics."""
    found = hashlib.sha256()
    for values in encoder.state_dict().values():
        found.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
