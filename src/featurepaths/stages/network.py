"""Network: a network that is given, and data.h5 -> checkpoint.safetensors.

What the function of the user's makes is built and tried out once; later stages build it again and read their weights
from the checkpoint.
"""

from pathlib import Path

from featurepaths.contents import digest_of_file
from featurepaths.data import open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.factories import factory_digest
from featurepaths.stages import command


def main(arguments):
    import torch

    from featurepaths.devices import use_device
    from featurepaths.networks.checkpoint import build_network, check_finite, save_checkpoint
    from featurepaths.networks.layers import find_layers
    from featurepaths.networks.weights import fit_weights, read_weights

    settings = arguments.settings
    origin = command.origin_of("network", arguments, "checkpoint", [arguments.data])
    found = factory_digest(settings["factory"]), arguments.weights and digest_of_file(arguments.weights)
    if found != (settings["code"], settings["weights"]):
        raise FeaturePathsError("The network's code or weights changed meanwhile. Run snakemake again.")
    use_device("cpu", settings["torch_threads"])
    with open_split(arguments.data, "train") as data:
        _, height, width, channels = data.shape
        classes = len(data.class_names)
    size = settings["size"]
    if size is not None and height != width:
        raise FeaturePathsError(f"size: the images are {height}x{width}; make them square in `data` (size).")
    build = {
        **{key: settings[key] for key in ("factory", "arguments", "size")},
        "mean": settings.numbers("mean") or [0.0] * channels,
        "std": settings.numbers("std") or [1.0] * channels,
    }
    if len(build["mean"]) != channels:
        raise FeaturePathsError(f"mean and std: the images have {channels} channels, not {len(build['mean'])}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        network = build_network(build)
    if arguments.weights:
        fit_weights(network.network, read_weights(arguments.weights), arguments.weights)
    check_finite(network, f"{arguments.weights or settings['factory']}: a weight is not a finite number, in")
    seen = (channels, *((size, size) if size else (height, width)))
    layers = find_layers(network.eval().network, settings["layers"], seen)
    try_out(network, (channels, height, width), classes)
    layers = [f"network.{name}" for name in layers]
    notes = {"device": "cpu", "precision": "float32", "adversarial": False}
    save_checkpoint(arguments.checkpoint, network, build, layers, (channels, height, width), origin, **notes)
    print(f"{settings['factory']}: layers {', '.join(layers)}")


def try_out(network, image_shape, classes):
    """Raise FeaturePathsError unless each image gets a logit for every class, and the same ones again."""
    import torch

    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, again = network(images), network(images)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise FeaturePathsError(f"The network should give logits [N, classes], not {given}.")
    if logits.shape[1] != classes:
        raise FeaturePathsError(
            f"The network gives {logits.shape[1]} logits, and the data have {classes} classes: in their order, one "
            "each. Most functions take num_classes among their arguments."
        )
    if not torch.equal(logits, again):
        raise FeaturePathsError(
            "The network answers the same images differently each time: no figure could be trusted."
        )


def parser():
    made = command.parser(
        __doc__, "factory, arguments, mean, std, size, layers, code and weights (their digests), seed, torch_threads"
    )
    made.add_argument(
        "--weights", type=Path, help="the network's weights; those that its function gives it if left out"
    )
    made.add_argument("--data", type=Path, required=True, help="data.h5")
    made.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
