"""The whole defence as one module: a network, its feature paths, the threshold and the vote."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.defense.decision import Decision, decide
from featurepaths.defense.files import read_defense, read_run, save_defense
from featurepaths.defense.fitted import FittedPaths
from featurepaths.defense.fitting import finite_arrays
from featurepaths.defense.views import DetectorView, RecogniserView
from featurepaths.defense.votes import nearest_classes
from featurepaths.paths.outputs import ModelOutputs


class Prediction(NamedTuple):
    """The defence's answers to N images, on the device of its network.

    `label` [N] is the predicted class: the network's, or the vote if the image is `flagged` [N] because its `score`
    [N], S_max, lies below the threshold. `votes` [N, V] are the votes of the voting layers, in their order.
    """

    label: Tensor
    flagged: Tensor
    score: Tensor
    votes: Tensor


class FeaturePathDefense(FittedPaths):
    """The paper's method, detection and recognition, around any classifier.

    `fit` computes the class centroids from training images; `calibrate` sets the threshold and the voting layers by
    other images; `freeze`, `load` and `from_run` take both from elsewhere. After that, `predict` answers. Layers are
    numbered from 1, in the given order.

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
    """

    @property
    def pooling(self) -> str:
        """The pooling of the features."""
        return self.encoder.pooling

    def forward(self, images: Tensor) -> Tensor:
        """Return minus S_max of images, float64 [N], high when adversarial, as pytorch-ood's detectors do."""
        with torch.no_grad():
            return -self.score(images)

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; differentiable."""
        return self.encoder.logits(images)

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

    def predict_features(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """Return minus S_max of cached features, as `fit_features` takes them: [N], high when adversarial."""
        with torch.no_grad():
            parts = [part.to(self.device).float() for part in self.encoder.split(features)]
            finite_arrays(self.layers, parts)
            logits = parts[0].new_zeros(len(parts[0]), len(self.centroids[0]))  # S_max does not depend on them
            return -self.detector.score(self._compare(logits, parts, self.centroids))

    def decide(self, outputs: ModelOutputs) -> Decision:
        """Return the decision on model outputs: see `featurepaths.defense.decision.decide`."""
        return decide(outputs, self.calibration)

    def as_recogniser(self) -> RecogniserView:
        """Return the defence as a network with C logits, whose greatest is the label that `predict` returns."""
        return RecogniserView(self)

    def as_detector(self) -> DetectorView:
        """Return the defence as a network with C + 1 logits: the network's, and "adversarial" if it is flagged."""
        return DetectorView(self)

    def save(self, path: str | Path) -> None:
        """Write centroids and calibration, not the model, to a safetensors file.

        Raises
        ------
        FeaturePathsError
            If the defence is not calibrated, the model has changed since `fit`, or the file cannot be written.
        """
        self.encoder.check()
        save_defense(Path(path), self.encoder, self.centroids, self.calibration)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module) -> Self:
        """Return the defence in a file that `save` wrote, around the same model, on the model's device.

        Raises
        ------
        FeaturePathsError
            If the file cannot be read, or the model has other layers or weights than the saved one.
        """
        layers, pooling, centroids, calibration = read_defense(Path(path), model)
        return cls(model, layers, pooling).freeze(centroids, calibration)

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
        network, layers, centroids, calibration = read_run(Path(run), pooling, threshold_method, device)
        return cls(network, layers, pooling).freeze(centroids, calibration)
