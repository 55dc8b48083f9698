"""Feature paths: features and centroids -> cosine similarity of every image to every class in every layer (eq. 2)."""

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import similarities
from featurepaths.stages import cli
from featurepaths.store.hdf5 import create_hdf5, layers_in, open_hdf5
from featurepaths.store.provenance import read_origin


def main(arguments):
    output = cli.output_of(arguments)
    images = read_origin(arguments.features).name.rpartition("/")[2]
    if output.names["images"] != images:
        raise FeaturePathsError(f"{output.path} is to be called {images}.h5, after the images of {arguments.features}.")
    origin = cli.origin_of(arguments, output)
    with (
        open_hdf5(arguments.features) as features,
        open_hdf5(arguments.centroids) as centroids,
        create_hdf5(output.path, origin) as file,
    ):
        layers = layers_in(features)
        count, classes = features["logits"].shape
        similarity = file.create_dataset("similarity", (count, len(layers), classes), np.float32)
        for number, layer in enumerate(layers):
            for rows, values in similarities(features[layer], centroids[layer][:]):
                similarity[rows, number] = values
        for name in ("logits", "labels", "index"):
            features.copy(name, file)


if __name__ == "__main__":
    cli.run("paths", main)
