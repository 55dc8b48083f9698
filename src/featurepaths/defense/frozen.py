"""A frozen defence as a module: a network, centroids and a calibration, their files, and their answers to images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.defense.checks import check_features
from featurepaths.defense.recognition import Calibration, Decision, decide, nearest_classes, read_calibration
from featurepaths.defense.soft_decision import DetectorView, RecogniserView
from featurepaths.detectors.feature_paths import SMax
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.networks.checkpoint import layer_names, load_checkpoint
from featurepaths.networks.forward import finite_rows
from featurepaths.paths.features import check_finite
from featurepaths.paths.outputs import Encoder, ModelOutputs, model_outputs, read_centroids
from featurepaths.store.jsonfile import read_json
from featurepaths.store.provenance import descend
from featurepaths.store.tensors import read_tensors, write_tensors

KIND = "featurepaths-defense"
"""Name of the files of defences."""


class Prediction(NamedTuple):
    """The defence's answers to N images, on the device of its network.

    `label` [N] is the predicted class: the network's, or the vote if the image is `flagged` [N] because its `score`
    [N], S_max, lies below the threshold. `votes` [N, V] are the votes of the voting layers, in their order.
    """

    label: Tensor
    flagged: Tensor
    score: Tensor
    votes: Tensor


class FrozenDefense(nn.Module):
    """The part of `featurepaths.library.defense.FeaturePathDefense` that answers, once it is fitted or frozen."""

    def __init__(
        self, model: nn.Module, layers: Sequence[str], pooling: str = "flatten", *, precision: str = "float32"
    ):
        super().__init__()
        self.encoder = Encoder(model, layers, pooling, precision)
        self.layers, self.pooling = self.encoder.layers, pooling
        self._centroids = nn.ParameterList()
        self._detector: SMax | None = None
        self._calibration: Calibration | None = None
        self.eval()

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.encoder.parameters()).device

    @property
    def centroids(self) -> list[Tensor]:
        """The class centroids of each layer [classes, d], unit vectors: the paper's eq. (1)."""
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
        """The calibration: layers, weights, threshold and vote."""
        if self._calibration is None:
            raise FeaturePathsError("This defence has no threshold and voting layers yet: call calibrate(clean) first.")
        return self._calibration

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is: in training mode images would influence one another."""
        return super().train(False)

    def freeze(self, centroids: Sequence[Tensor], calibration: Calibration) -> Self:
        """Set centroids and calibration, instead of `fit` and `calibrate`.

        Parameters
        ----------
        centroids
            The class centroids of each layer [classes, d], unit vectors.
        """
        self._set(centroids, calibration.layers, calibration.weights)
        self.encoder.remember()
        self._calibration = calibration
        return self

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: centroids as tensors; layers, calibration and a digest of the model as metadata.

        Raises
        ------
        FeaturePathsError
            If the defence is not calibrated, the model has changed since `fit`, or the file cannot be written.
        """
        self.encoder.check()
        description = {
            "kind": KIND,
            "layers": self.layers,
            "pooling": self.pooling,
            "calibration": {name: np.asarray(value).tolist() for name, value in asdict(self.calibration).items()},
            "model": self.encoder.digest(),
        }
        tensors = {f"layer{number}": centroid for number, centroid in enumerate(self.centroids, start=1)}
        write_tensors(Path(path), tensors, description)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module) -> Self:
        """Return the defence in a file that `save` wrote, around the same model, on the model's device.

        Raises
        ------
        FeaturePathsError
            If the file cannot be read, or the model has other layers or weights than the saved one.
        """
        tensors, description = read_tensors(Path(path))
        if description.get("kind") != KIND:
            raise FeaturePathsError(f"{path} was not written by FeaturePathDefense.save.")
        defense = cls(model, description["layers"], description["pooling"])
        if defense.encoder.digest() != description["model"]:
            raise FeaturePathsError(f"{path} belongs to a model of other weights: load that model, or fit again.")
        calibration = description["calibration"]
        calibration |= {name: np.array(calibration[name]) for name in ("weights", "voting_weights")}
        centroids = [tensors[f"layer{number}"].to(defense.device) for number in range(1, len(defense.layers) + 1)]
        return defense.freeze(centroids, Calibration(**calibration))

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
            If a file is missing, the files do not belong together, or there is no such threshold.
        """
        checkpoint, centroids = Path(run, "checkpoint.safetensors"), Path(run, f"centroids/{pooling}.h5")
        threshold = Path(run, f"thresholds/{pooling}/feature-paths.held-out.json")
        selection = Path(run, f"selection/{pooling}/held-out.json")
        descend("defense", "", [checkpoint, centroids, threshold, selection])  # refuses files of different runs
        network, description = load_checkpoint(checkpoint, device)
        path = Path(run).parent / "config.json"
        try:
            tie_break = read_json(path)["configuration"]["recognition"]["tie_break"]
        except KeyError as error:
            raise FeaturePathsError(f"{path} has no recognition.tie_break ({error!r}). Finish the run.") from error
        calibration = read_calibration(threshold, selection, tie_break, threshold_method)
        return cls(network, layer_names(description), pooling).freeze(read_centroids(centroids, device), calibration)

    def forward(self, images: Tensor) -> Tensor:
        """Return minus S_max of images, float64 [N], high when adversarial, as pytorch-ood's detectors do."""
        with torch.no_grad():
            return -self.score(images)

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; differentiable."""
        return self.encoder.logits(images)

    def paths(self, images: Tensor) -> Tensor:
        """Return the feature paths of images: similarities to each layer's centroids, [N, L, C]; differentiable."""
        return self.model_outputs(images).similarity

    def score(self, images: Tensor) -> Tensor:
        """Return S_max, eq. (5), of images, float64 [N], low when adversarial; differentiable."""
        return self.detector.score(self.model_outputs(images))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Prediction:
        """Return label, flag, score and votes of images [N, C, H, W] in [0, 1]."""
        outputs = self.model_outputs(images)
        decision = self.decide(outputs)
        votes = nearest_classes(outputs.similarity.cpu().numpy())[:, np.array(self.calibration.voting_layers) - 1]
        answers = (decision.prediction, decision.flagged, decision.score, votes)
        return Prediction(*(torch.from_numpy(values).to(outputs.logits.device) for values in answers))

    @torch.no_grad()
    def predict_features(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """Return minus S_max of cached features, as `fit_features` takes them: [N], high when adversarial."""
        parts = [part.to(self.device).float() for part in self.encoder.split(features)]
        check_features(self.layers, parts)
        logits = parts[0].new_zeros(len(parts[0]), len(self.centroids[0]))  # S_max does not depend on them
        return -self.detector.score(self._compare(logits, parts, self.centroids))

    def decide(self, outputs: ModelOutputs) -> Decision:
        """Return the decision on model outputs: see `featurepaths.defense.recognition.decide`."""
        return decide(outputs, self.calibration)

    def as_recogniser(self) -> RecogniserView:
        """Return the defence as a network with C logits, whose greatest is the label that `predict` returns."""
        return RecogniserView(self)

    def as_detector(self) -> DetectorView:
        """Return the defence as a network with C + 1 logits: the network's, and "adversarial" if it is flagged."""
        return DetectorView(self)

    def model_outputs(self, images: Tensor) -> ModelOutputs:
        """Return the model's outputs for images [N, C, H, W] in [0, 1]; differentiable.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, to other features than these, or to a network that has changed since, or if
            an image, a feature or a logit is not finite.
        """
        outputs, finite = self.outputs_and_finite(images)
        if finite.all():
            return outputs
        check_finite("The batch's pixels are", images, slice(0, len(images)))
        check_features(self.layers, outputs.features)
        check_finite("The network's logits for the batch are", outputs.logits, slice(0, len(images)))
        too_large = counted((~finite).nonzero().flatten().tolist())
        raise FeaturePathsError(f"The features of {too_large} of the batch, from 0, are too large for float32.")

    def outputs_and_finite(self, images: Tensor) -> tuple[ModelOutputs, Tensor]:
        """Return `model_outputs` without refusing images, and for which of them all of it is finite, bool [N]."""
        centroids = self.centroids
        images = images.to(self.device)
        outputs = self._compare(*self.encoder.features(images), centroids)
        parts = (images, outputs.logits, outputs.similarity)
        return outputs, torch.stack([finite_rows(part) for part in parts]).all(dim=0)

    def _set(self, centroids: Sequence[Tensor], layers: Sequence[int], weights: np.ndarray) -> None:
        """Set centroids, detection layers and weights, and remove the calibration."""
        if len(centroids) != len(self.layers):
            raise FeaturePathsError(f"There are centroids of {len(centroids)} layers, not of {len(self.layers)}.")
        with torch.inference_mode(False):  # tensors of inference mode cannot be used in a gradient
            self._centroids = nn.ParameterList(
                [nn.Parameter(tensor.clone(), requires_grad=False) for tensor in centroids]
            )
            self._detector = SMax(layers, weights.tolist()).to(centroids[0].device)
        self._calibration = None
        self.encoder.widths = [tensor.shape[1] for tensor in centroids]

    def _compare(self, logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
        """Return model outputs with the feature paths; refuse features of other widths than the centroids'."""
        for name, feature, layer_centroids in zip(self.layers, features, centroids, strict=True):
            if feature.shape[1] != layer_centroids.shape[1]:
                raise FeaturePathsError(
                    f"Layer {name} has {feature.shape[1]} values, but its centroids have {layer_centroids.shape[1]}, "
                    "from other images or another model. Fit again."
                )
        return model_outputs(logits, features, centroids)
