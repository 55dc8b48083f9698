"""Feature paths: features and centroids -> cosine similarity of every image to every class in every layer (eq. 2)."""

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import similarities
from featurepaths.stages import cli
from featurepaths.store.hdf5 import create_hdf5, layers_in, open_hdf5
from featurepaths.store.provenance import read_origin


def main(arguments):
    _, pooling, images = read_origin(arguments.features).name.split("/")
    if read_origin(arguments.centroids).name != f"centroids/{pooling}":
        raise FeaturePathsError(f"{arguments.features} holds {pooling} features, but {arguments.centroids} does not.")
    origin = cli.origin_of(arguments, f"paths/{pooling}/{images}")
    with (
        open_hdf5(arguments.features) as features,
        open_hdf5(arguments.centroids) as centroids,
        create_hdf5(arguments.paths, origin) as file,
    ):
        layers = layers_in(features)
        count, classes = features["logits"].shape
        similarity = file.create_dataset("similarity", (count, len(layers), classes), np.float32)
        for number, layer in enumerate(layers):
            for rows, found in similarities(features[layer], centroids[layer][:]):
                similarity[rows, number] = found
        for name in ("logits", "labels", "index"):
            features.copy(name, file)


if __name__ == "__main__":
    cli.run("paths", main)
