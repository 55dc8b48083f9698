"""Feature paths: features and centroids -> cosine similarity of every image to every class in every layer (eq. 2)."""

from pathlib import Path

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
    inputs = [arguments.features, arguments.centroids]
    origin = cli.origin_of("paths", arguments, f"paths/{pooling}/{images}", inputs)
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


def parser():
    made = cli.parser(__doc__)
    made.add_argument("--features", type=Path, required=True, help="features of some images")
    made.add_argument("--centroids", type=Path, required=True, help="centroids of the same network and pooling")
    made.add_argument("--paths", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    cli.run(main, parser())
