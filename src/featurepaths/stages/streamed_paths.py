"""Streamed paths: a network, images and centroids -> feature paths of the images (eq. 2), without feature dumps."""

import numpy as np

from featurepaths.stages import cli
from featurepaths.stages.network_inputs import load_network, open_images, part_of
from featurepaths.store.hdf5 import RowWriter, create_hdf5, open_hdf5


def main(arguments):
    from featurepaths.paths.equations import cosine_similarity
    from featurepaths.paths.stream import FeatureStream
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name
    from featurepaths.runtime.progress import progress

    output = cli.output_of(arguments)
    part = part_of(arguments, output)
    origin = cli.origin_of(arguments, output)
    network, layers, device = load_network(arguments)
    with (
        open_images(arguments.images, part) as images,
        open_hdf5(arguments.centroids) as centroids,
        create_hdf5(output.path, origin) as file,
    ):
        own_blocks = blocks(len(images.pixels), arguments.shard or (1, 1))
        stream = FeatureStream(network, layers, images.pixels, [output.names["pooling"]], device, own_blocks)
        first, last = span(own_blocks).start, span(own_blocks).stop
        file.attrs["device"] = device_name(device)
        write = RowWriter(file, span(own_blocks), {"labels": images.labels, "index": images.indices})
        # a row first, as in a gathered artefact, because the layers of one may come in several passes
        row = np.zeros((min(last - first, 1), len(layers), stream.classes), np.float32)
        write(slice(first, first + len(row)), {"logits": row[:, 0], "similarity": row})
        for keys in stream.passes():
            of_layers = {key: centroids[key.name][:] for key in keys}

            def callback(key, rows, features, of_layers=of_layers):
                block = slice(rows.start - first, rows.stop - first)
                file["similarity"][block, key.layer - 1] = cosine_similarity(features, of_layers[key])

            parts = stream.read(keys, callback)
            for rows, logits in progress(parts, f"paths of {output.names['images']}", len(own_blocks), "blocks of 64"):
                write(rows, {"logits": logits})
    if arguments.shard is None:
        cli.remove_shards(output.path)


if __name__ == "__main__":
    cli.run("streamed_paths", main)
