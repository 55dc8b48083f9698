"""Network: a network that is given, and data.h5 -> checkpoint.safetensors.

What the function of the user's makes is built and tried out once; later stages build it again and read their weights
from the checkpoint.
"""

from featurepaths.data.splits import open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.architectures import missing_layers
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.stages import cli
from featurepaths.store.fingerprints import digest_of_file


def main(arguments):
    from featurepaths.networks.checkpoint import save_checkpoint
    from featurepaths.networks.external.build import build_external
    from featurepaths.networks.warnings import DOUBTS
    from featurepaths.runtime.devices import use_device

    settings = arguments.settings
    origin = cli.origin_of(arguments, "checkpoint")
    found = factory_digest(settings["factory"]), arguments.weights and digest_of_file(arguments.weights)
    if found != (settings["code"], settings["weights"]):
        raise FeaturePathsError("The network's code or weights changed meanwhile. Run snakemake again.")
    use_device("cpu", settings["torch_threads"])
    with open_split(arguments.data, "train") as data:
        _, height, width, channels = data.shape
        classes = len(data.class_names)
    build = {
        **{key: settings[key] for key in ("factory", "arguments", "size")},
        "mean": settings.numbers("mean") or [0.0] * channels,
        "std": settings.numbers("std") or [1.0] * channels,
    }
    image_shape = channels, height, width
    network, layers, doubts = build_external(
        build, arguments.weights, settings["layers"], image_shape, classes, settings["seed"]
    )
    for problem in missing_layers(dict(arguments.needs), len(layers), settings["factory"]):
        raise FeaturePathsError(f"{problem}.")
    notes = {"device": "cpu", "precision": "float32", "adversarial": False, "doubts": doubts}
    save_checkpoint(arguments.checkpoint, network, build, layers, image_shape, origin, **notes)
    print(f"{settings['factory']}: layers {', '.join(layers)}")
    for doubt in doubts:
        print(f"Warning: {DOUBTS[doubt]}")


if __name__ == "__main__":
    cli.run("pretrained", main)
