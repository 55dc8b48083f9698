"""Features: checkpoint and images (data.h5, or an attack's) -> one dump of layer features a split and pooling."""

from contextlib import ExitStack

from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.image_inputs import open_images, parts_by_name
from featurepaths.store.hdf5 import RowWriter, create_hdf5


def main(arguments):
    from featurepaths.networks.checkpoint import layer_names, load_checkpoint
    from featurepaths.paths.features import extract_blocks
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress

    outputs = {}
    for path in arguments.features:
        dump = cli.whole(path, arguments.shard)
        outputs.setdefault(dump.stem, {})[dump.parent.name] = path
    if (arguments.data is None) == (arguments.adversarial is None):
        raise FeaturePathsError("Give either --data or --adversarial.")
    source = arguments.adversarial or arguments.data
    allowed = parts_by_name(source, arguments.settings["stopping_rule"] if arguments.adversarial else None)
    for images, paths in outputs.items():
        if images not in allowed or not paths.keys() <= {"flatten", "mean"}:
            named = ", ".join(map(str, paths.values()))
            raise FeaturePathsError(
                f"{named}: call it flatten/<images>.h5 or mean/..., with images {'/'.join(allowed)}."
            )
    origins = {
        (images, pooling): cli.origin_of(arguments, cli.name_of(f"features/{pooling}/{images}", arguments.shard))
        for images, paths in outputs.items()
        for pooling in paths
    }
    device = use_device(arguments.device, arguments.settings["torch_threads"])
    network, description = load_checkpoint(arguments.checkpoint, device)
    layers = layer_names(description)
    for images, paths in outputs.items():
        with ExitStack() as stack:
            files = {
                pooling: stack.enter_context(create_hdf5(path, origins[images, pooling]))
                for pooling, path in paths.items()
            }
            pixels, labels, index = stack.enter_context(open_images(source, allowed[images]))
            mine = blocks(len(pixels), arguments.shard or (1, 1))
            found = extract_blocks(network, layers, pixels, list(files), device, mine)
            writers = {}
            for pooling, file in files.items():
                file.attrs["device"] = device_name(device)
                writers[pooling] = RowWriter(file, span(mine), {"labels": labels, "index": index})
            write(writers, progress(found, f"features of {images}", len(mine), "blocks of 64"))
    if arguments.shard is None:
        for path in arguments.features:
            cli.remove_shards(path)


def write(writers, blocks):
    """Fill one artefact a pooling with logits and features of blocks of images, while the network runs."""
    from featurepaths.runtime.prefetch import write_behind

    with write_behind() as call:
        for rows, logits, features in blocks:
            for pooling, writer in writers.items():
                by_layer = {f"layer{number}": feature for number, feature in enumerate(features[pooling], start=1)}
                call(writer, rows, {"logits": logits, **by_layer})


if __name__ == "__main__":
    cli.run("features", main)
