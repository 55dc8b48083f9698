"""The paper's calibrated detector, as its artefact holds it; without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featurepaths.paths.equations import s_max
from featurepaths.paths.records import FeaturePaths
from featurepaths.store.jsonfile import read_json


@dataclass(frozen=True)
class FeaturePathDetector:
    """Layers (from 1), their weights, and thresholds by the method that set them: an image below is flagged."""

    name: str
    protocol: str
    layers: list[int]
    weights: np.ndarray
    thresholds: dict[str, float]

    def score(self, paths: FeaturePaths) -> np.ndarray:
        """Return the score of each image, float64 [N], low when adversarial."""
        return paths.map_rows(lambda similarity: s_max(similarity, self.layers, self.weights))


def read_feature_path_detector(path: Path) -> FeaturePathDetector:
    """Read the artefact of a calibrated detector."""
    record = read_json(path)
    weights = np.array(record["weights"])
    return FeaturePathDetector(record["detector"], record["protocol"], record["layers"], weights, record["thresholds"])
