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


def main(arguments):
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    data = arguments.settings.data
    with ExitStack() as stack:
        parts, class_names, provenance = load(data, arguments, stack)
        sizes = write_splits(output.path, parts, class_names, float(data.calibration), data.seed, origin, provenance)
    print(f"{provenance}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))


def load(data, arguments, stack):
    """Return training and test images and labels, the names of the classes, and where the images come from."""
    match data.source:
        case "digits":
            loaded = load_digits(data.size, float(data.test), data.seed)
        case "folder":
            unchanged(
                arguments, contents_of(data.root, class_names=data.class_names).digest, f"The images in {data.root}"
            )
            pool = stack.enter_context(ProcessPoolExecutor(arguments.threads))
            return *load_folder(data.root, data.size, pool, data.class_names), data.title
        case "arrays":
            unchanged(arguments, contents_of_arrays(*data.options()).digest, "A file of data.train or data.test")
            return *stack.enter_context(open_parts(*data.options())), data.title
        case "torchvision":
            given = {part: {**data.arguments, **own} for part, own in (("train", data.train), ("test", data.test))}
            folder = arguments.data.parent
            loaded = load_torchvision(data.dataset, data.root, data.download, given, data.size, folder)
            return *loaded, f"{data.dataset}, read by torchvision"
        case "factory":
            unchanged(arguments, factory_digest(data.factory), f"The code of {data.factory}")
            folder = arguments.data.parent
            made = load_made(data.factory, data.arguments, data.layout, data.size, folder, data.first_label)
            return *made, data.factory
        case source:
            loaded = load_cifar(source, data.root, data.download)
    return *loaded, PROVENANCE[data.source]


def unchanged(arguments, digest, what):
    """Raise FeaturePathsError if the contents are not those that the settings ask for."""
    if arguments.settings.contents != digest:
        raise FeaturePathsError(f"{what} changed meanwhile. Run snakemake again.")


if __name__ == "__main__":
    cli.run("data", main)
