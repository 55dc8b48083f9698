"""Pretrained: a pretrained network, and data.h5 -> checkpoint.safetensors.

The user's function is called and its network tried out once; later stages call it again and read the weights from the
checkpoint.
"""

from pathlib import Path

from featurepaths.data.splits import open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.architectures import missing_layers
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.stages import cli
from featurepaths.store.fingerprints import digest_of_file, digest_of_names


def main(arguments):
    from featurepaths.networks.checkpoint import save_checkpoint
    from featurepaths.networks.external.build import build_external
    from featurepaths.networks.warnings import DOUBTS
    from featurepaths.runtime.devices import use_device

    settings, model = arguments.settings, arguments.settings.model
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    weights = model.checkpoint and Path(model.checkpoint)
    files = model.external_files()
    contents = digest_of_names({name: digest_of_file(file) for name, file in files.items()}) if files else None
    if (settings.code, settings.weights) != (factory_digest(model.factory), contents):
        raise FeaturePathsError("The network's code or weights changed meanwhile. Run snakemake again.")
    use_device("cpu", settings.torch_threads)
    with open_split(arguments.data, "train") as data:
        _, height, width, channels = data.shape
        classes = len(data.class_names)
    build = {
        **{key: getattr(model, key) for key in ("factory", "arguments", "size")},
        "mean": cli.as_floats(model.mean) or [0.0] * channels,
        "std": cli.as_floats(model.std) or [1.0] * channels,
    }
    image_shape = channels, height, width
    key, paths = model.checkpoint_key, files.values()
    network, layers, doubts, notes = build_external(
        build, weights, model.layers, image_shape, classes, settings.seed, key, paths
    )
    for problem in missing_layers(settings.named_layers, len(layers), model.factory):
        raise FeaturePathsError(f"{problem}.")
    about = {"device": "cpu", "precision": "float32", "adversarial": False, "doubts": doubts, "notes": notes}
    save_checkpoint(arguments.checkpoint, network, build, layers, image_shape, origin, **about)
    print(f"{model.factory}: layers {', '.join(layers)}")
    for note in notes:
        print(f"Note: {note}")
    for doubt in doubts:
        print(f"Warning: {DOUBTS[doubt]}")


if __name__ == "__main__":
    cli.run("pretrained", main)
