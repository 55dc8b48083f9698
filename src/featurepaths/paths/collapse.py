"""Progressive feedforward collapse per layer: PFC1, PFC2 and PFC3.

The paper takes the three metrics from Wang, Gai and Zhang (arXiv 2405.00985), whose text was not available; these are
the standard neural-collapse forms (Papyan, Han and Donoho, PNAS 2020), applied to every layer.
"""

from dataclasses import dataclass

import numpy as np

from featurepaths.paths.chunks import CHUNK_VALUES, Rows, accumulated, class_means


@dataclass(frozen=True)
class Collapse:
    """The metrics of one layer.

    `pfc1`: tr(S_W S_B^+) / C, the variability within classes relative to that between them; 0 when collapsed,
    None if all class means are the same.
    `pfc2`: distance of the centred class means' Gram matrix from that of a simplex ETF; 0 when they are one.
    `pfc3`: accuracy of the nearest class mean (Euclidean); 1 when collapsed.
    """

    pfc1: float | None
    pfc2: float
    pfc3: float


class CollapseMeter:
    """Measures one layer chunk by chunk, given its class means, without any d x d matrix.

    With class means m_c, global mean m and M the columns m_c - m: S_W is the mean over images of
    (h - m_c)(h - m_c)^T, S_B the mean over classes of (m_c - m)(m_c - m)^T. S_B^+ is taken on its C - 1 leading
    directions, from the thin singular value decomposition of M / sqrt(C).

    Parameters
    ----------
    means
        Mean feature of each class, float64 [C, d].
    counts
        Number of images of each class [C].
    """

    ACCUMULATED = "within", "nearest", "count"

    def __init__(self, means: np.ndarray, counts: np.ndarray):
        classes = len(means)
        self.means = means
        centred = means - counts @ means / counts.sum()
        self.pfc2 = _distance_to_simplex(centred)
        _, singular, directions = np.linalg.svd(centred / np.sqrt(classes), full_matrices=False)
        rank = min(classes - 1, int((singular > singular.max() * max(means.shape) * np.finfo(float).eps).sum()))
        # projecting on the directions divided by the singular values turns tr(S_W S_B^+) into a mean squared length
        self.whitening = directions[:rank] / singular[:rank, None]
        self.squared_means = (means**2).sum(axis=1)
        self.within = 0.0
        self.nearest = self.count = 0

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Add features [n, d] of images of the classes `labels` [n]."""
        self.count += len(labels)
        size = max(CHUNK_VALUES // features.shape[1], 1)  # copies in float64 are large
        for start in range(0, len(labels), size):
            rows = slice(start, start + size)
            values, classes = features[rows].astype(np.float64), labels[rows]
            # |h - m_c|^2 without |h|^2, which is the same for every class
            self.nearest += int(((self.squared_means - 2 * (values @ self.means.T)).argmin(axis=1) == classes).sum())
            values -= self.means[classes]
            self.within += float(((values @ self.whitening.T) ** 2).sum())

    def result(self) -> Collapse:
        """Return the metrics of the images added."""
        pfc1 = self.within / self.count / len(self.means) if len(self.whitening) > 0 else None
        return Collapse(pfc1, self.pfc2, self.nearest / self.count)


def measure_collapse(features: Rows, labels: np.ndarray, classes: int) -> Collapse:
    """Measure one layer's features [N, d] in two passes over them.

    Raises
    ------
    FeaturePathsError
        If a class has no image.
    """
    meter = CollapseMeter(class_means(features, labels, classes), np.bincount(labels, minlength=classes))
    return accumulated(meter, features, labels).result()


def _distance_to_simplex(centred: np.ndarray) -> float:
    """Return || M^T M / ||M^T M||_F - (I - 11^T / C) / sqrt(C - 1) ||_F for M^T = `centred` [C, d]."""
    classes = len(centred)
    gram = centred @ centred.T
    size = np.linalg.norm(gram)
    simplex = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return float(np.linalg.norm((gram / size if size > 0 else gram) - simplex))


def layers_before_collapse(pfc3: list[float], threshold: float) -> list[int]:
    """Return the layers, numbered from 1, that precede the first with PFC3 >= `threshold`; layer 1 always stays.

    The paper removes the layers where collapse occurs from the sum over layers, eq. (3), of the score (section 2.2).
    """
    count = next((number for number, value in enumerate(pfc3) if value >= threshold), len(pfc3))
    return list(range(1, max(count, 1) + 1))
