"""Data: a data set -> data.h5, its images cut into training, calibration and test splits."""

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from featurepaths.data.array_files import contents_of_arrays, open_parts
from featurepaths.data.datasets import PROVENANCE, load_cifar, load_digits, load_made, load_torchvision
from featurepaths.data.folder import contents_of, load_folder
from featurepaths.data.splits import write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.stages import cli

READ_FROM = {"arrays": ("train", "test"), "cifar10": ("root",), "cifar100": ("root",), "folder": ("root",)}
"""The options that say where a data set lies."""


def main(arguments):
    settings = arguments.settings
    source = settings["source"]
    for option in READ_FROM.get(source, ()):
        if getattr(arguments, option) is None:
            raise FeaturePathsError(f"source: {source} needs --{option}.")
    origin = cli.origin_of(arguments, "data")
    split_rows = settings.number("calibration"), settings["seed"]
    with ExitStack() as stack:
        parts, class_names, provenance = load(settings, arguments, stack)
        sizes = write_splits(arguments.data, parts, class_names, *split_rows, origin, provenance)
    print(f"{provenance}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))


def load(settings, arguments, stack):
    """Return training and test images and labels, the names of the classes, and where the images come from."""
    match settings["source"]:
        case "digits":
            found = load_digits(settings["size"], settings.number("test"), settings["seed"])
        case "folder":
            unchanged(settings, contents_of(arguments.root).digest, f"The images in {arguments.root}")
            pool = stack.enter_context(ProcessPoolExecutor(arguments.threads))
            return *load_folder(arguments.root, settings["size"], pool), arguments.title
        case "arrays":
            files = {"train": arguments.train, "test": arguments.test}
            options = [files, *(settings[key] for key in ("keys", "layout", "size", "class_names"))]
            unchanged(settings, contents_of_arrays(*options).digest, f"{arguments.train} or {arguments.test}")
            return *stack.enter_context(open_parts(*options)), arguments.title
        case "torchvision":
            given = {part: {**settings["arguments"], **settings[part]} for part in ("train", "test")}
            dataset, where = settings["dataset"], (arguments.root, arguments.download)
            found = load_torchvision(dataset, *where, given, settings["size"], arguments.data.parent)
            return *found, f"{dataset}, read by torchvision"
        case "factory":
            factory = settings["factory"]
            unchanged(settings, factory_digest(factory), f"The code of {factory}")
            options = [settings[key] for key in ("arguments", "layout", "size")]
            return *load_made(factory, *options, arguments.data.parent), factory
        case source:
            found = load_cifar(source, arguments.root, arguments.download)
    return *found, PROVENANCE[settings["source"]]


def unchanged(settings, digest, what):
    """Raise FeaturePathsError if the contents are not those that the settings ask for."""
    if settings["contents"] != digest:
        raise FeaturePathsError(f"{what} changed meanwhile. Run snakemake again.")


if __name__ == "__main__":
    cli.run("data", main)
