"""Centroids: features of the training images -> one unit vector per class and layer (eq. 1)."""

import numpy as np

from featurepaths.paths.equations import centroids
from featurepaths.stages import cli
from featurepaths.store.hdf5 import create_hdf5, layers_in, open_hdf5


def main(arguments):
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    with open_hdf5(arguments.features) as features, create_hdf5(output.path, origin) as file:
        labels = features["labels"][:]
        classes = features["logits"].shape[1]
        file["counts"] = np.bincount(labels, minlength=classes)
        for layer in layers_in(features):
            file[layer] = centroids(features[layer], labels, classes)


if __name__ == "__main__":
    cli.run("centroids", main)
