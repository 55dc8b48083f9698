"""Features: checkpoint and images (data.h5, or an attack's) -> one dump of layer features per split and pooling."""

from contextlib import ExitStack
from itertools import groupby

from featurepaths.stages import cli
from featurepaths.stages.network_inputs import load_network, open_images, part_of
from featurepaths.store.hdf5 import RowWriter, create_hdf5


def main(arguments):
    from featurepaths.paths.features import extract_blocks
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name
    from featurepaths.runtime.progress import progress

    outputs = sorted(cli.outputs_of(arguments, "features"), key=lambda output: output.names["images"])
    parts = {output.names["images"]: part_of(arguments, output) for output in outputs}
    origins = dict(zip([output.path for output in outputs], cli.origins_of(arguments, outputs), strict=True))
    network, layers, device = load_network(arguments)
    for images, outputs_of_images in groupby(outputs, lambda output: output.names["images"]):
        with ExitStack() as stack:
            files = {
                output.names["pooling"]: stack.enter_context(create_hdf5(output.path, origins[output.path]))
                for output in outputs_of_images
            }
            pixels, labels, indices = stack.enter_context(open_images(arguments.images, parts[images]))
            own_blocks = blocks(len(pixels), arguments.shard or (1, 1))
            extracted = extract_blocks(network, layers, pixels, list(files), device, own_blocks)
            writers = {}
            for pooling, file in files.items():
                file.attrs["device"] = device_name(device)
                writers[pooling] = RowWriter(file, span(own_blocks), {"labels": labels, "index": indices})
            write(writers, progress(extracted, f"features of {images}", len(own_blocks), "blocks of 64"))
    if arguments.shard is None:
        for output in outputs:
            cli.remove_shards(output.path)


def write(writers, blocks):
    """Fill one artefact per pooling with logits and features of blocks of images, while the network runs."""
    from featurepaths.runtime.prefetch import write_behind

    with write_behind() as call:
        for rows, logits, features in blocks:
            for pooling, writer in writers.items():
                by_layer = {f"layer{number}": feature for number, feature in enumerate(features[pooling], start=1)}
                call(writer, rows, {"logits": logits, **by_layer})


if __name__ == "__main__":
    cli.run("features", main)
