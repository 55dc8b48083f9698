"""Images in memory that attacks read as a split of an artefact."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Images:
    """uint8 images [N, H, W, C], their labels [N], and their rows in a data set [N] that needs not exist."""

    pixels: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows):
        return self.pixels[rows]


def joined(found):
    """The records of all blocks together."""
    parts = [records for _, records in found]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
