"""Data: a data set -> data.h5, its images cut into training, calibration and test splits."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from featurepaths.data import write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.image_folder import contents_of, load_folder
from featurepaths.sources import PROVENANCE, load_cifar, load_digits
from featurepaths.stages import command


def main(arguments):
    settings = arguments.settings
    source = settings["source"]
    if source != "digits" and arguments.root is None:
        raise FeaturePathsError(f"source: {source} needs --root.")
    if source == "folder" and settings["contents"] != contents_of(arguments.root).digest:
        raise FeaturePathsError(f"The images in {arguments.root} changed meanwhile. Run snakemake again.")
    origin = command.origin_of("data", arguments, "data", [])
    cut = settings.number("calibration"), settings["seed"]
    with ProcessPoolExecutor(arguments.threads) as pool:
        match source:
            case "digits":
                parts, class_names = load_digits(settings["size"], settings.number("test"), settings["seed"])
            case "folder":
                parts, class_names = load_folder(arguments.root, settings["size"], pool)
            case _:
                parts, class_names = load_cifar(source, arguments.root, arguments.download)
        provenance = arguments.title if source == "folder" else PROVENANCE[source]
        sizes = write_splits(arguments.data, parts, class_names, *cut, origin, provenance)
    print(f"{provenance}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))


def parser():
    made = command.parser(
        __doc__, "source, calibration, seed; of digits also size and test; of a folder size and contents"
    )
    made.add_argument("--root", help="folder of a data set that is read from files")
    made.add_argument("--download", action="store_true", help="let torchvision download it")
    made.add_argument("--title", default="image folder", help="what the images of a folder are")
    made.add_argument("--threads", type=int, default=1, help="how many processes read the images of a folder")
    made.add_argument("--data", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
