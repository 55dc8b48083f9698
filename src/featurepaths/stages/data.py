"""Data: a data set -> data.h5, its images cut into training, calibration and test splits."""

from pathlib import Path

from featurepaths.data import PROVENANCE, load_cifar10, load_digits, write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import command


def main(arguments):
    settings = arguments.settings
    origin = command.origin_of("data", arguments, "data", [])
    if settings["source"] == "digits":
        parts, class_names = load_digits(settings["size"], settings.number("test"), settings["seed"])
    elif arguments.root is None:
        raise FeaturePathsError("source: cifar10 needs --root.")
    else:
        parts, class_names = load_cifar10(arguments.root, arguments.download)
    cut = settings.number("calibration"), settings["seed"]
    provenance = PROVENANCE[settings["source"]]
    sizes = write_splits(arguments.data, parts, class_names, *cut, origin, provenance)
    print(f"{settings['source']}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))


def parser():
    made = command.parser(__doc__, "source, calibration, seed; of digits also size and test")
    made.add_argument("--root", help="folder of a data set that is read from files")
    made.add_argument("--download", action="store_true", help="let torchvision download it")
    made.add_argument("--data", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
