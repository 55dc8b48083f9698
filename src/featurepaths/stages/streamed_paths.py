"""Streamed paths: a network, images and centroids -> feature paths of the images (eq. 2), without feature dumps."""

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.image_inputs import open_images, parts_by_name
from featurepaths.store.hdf5 import RowWriter, create_hdf5, open_hdf5
from featurepaths.store.provenance import read_origin


def main(arguments):
    from featurepaths.networks.checkpoint import layer_names, load_checkpoint
    from featurepaths.paths.equations import cosine_similarity
    from featurepaths.paths.stream import FeatureStream
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress

    pooling = read_origin(arguments.centroids).pooling
    whole = cli.whole(arguments.paths, arguments.shard)
    parts = parts_by_name(arguments.images, arguments.settings.get("stopping_rule"))
    if whole.stem not in parts:
        raise FeaturePathsError(f"{arguments.paths}: call it {' or '.join(parts)}.h5, after its images.")
    name = cli.name_of(f"paths/{pooling}/{whole.stem}", arguments.shard)
    origin = cli.origin_of(arguments, name)
    device = use_device(arguments.device, arguments.settings["torch_threads"])
    network, description = load_checkpoint(arguments.checkpoint, device)
    layers = layer_names(description)
    with (
        open_images(arguments.images, parts[whole.stem]) as images,
        open_hdf5(arguments.centroids) as centroids,
        create_hdf5(arguments.paths, origin) as file,
    ):
        mine = blocks(len(images.pixels), arguments.shard or (1, 1))
        stream = FeatureStream(network, layers, images.pixels, [pooling], device, mine)
        first, last = span(mine).start, span(mine).stop
        file.attrs["device"] = device_name(device)
        write = RowWriter(file, span(mine), {"labels": images.labels, "index": images.index})
        # a row first, as in a gathered artefact, because the layers of one may come in several passes
        row = np.zeros((min(last - first, 1), len(layers), stream.classes), np.float32)
        write(slice(first, first + len(row)), {"logits": row[:, 0], "similarity": row})
        for keys in stream.passes():
            found = {key: centroids[key.name][:] for key in keys}

            def see(key, rows, features, found=found):
                part = slice(rows.start - first, rows.stop - first)
                file["similarity"][part, key.layer - 1] = cosine_similarity(features, found[key])

            read = stream.read(keys, see)
            for rows, logits in progress(read, f"paths of {whole.stem}", len(mine), "blocks of 64"):
                write(rows, {"logits": logits})
    if arguments.shard is None:
        cli.remove_shards(arguments.paths)


if __name__ == "__main__":
    cli.run("streamed_paths", main)
