"""Data: a data set -> data.h5, its images cut into training, calibration and test splits."""

from concurrent.futures import ProcessPoolExecutor

from featurepaths.data.sources import FILES, contents_of_source, open_source
from featurepaths.data.splits import write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.stages import cli


def main(arguments):
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    data = arguments.settings.data
    check_unchanged(data, arguments.settings.contents)
    with (
        ProcessPoolExecutor(arguments.threads) as pool,
        open_source(data, arguments.data.parent, pool) as (parts, class_names, provenance),
    ):
        sizes = write_splits(output.path, parts, class_names, float(data.calibration), data.seed, origin, provenance)
    print(f"{provenance}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))


def check_unchanged(data, contents):
    """Raise FeaturePathsError if the user's files or code are not those that the settings ask for."""
    digest, source = None, "The data"
    if data.source in FILES:
        digest = contents_of_source(data).digest
        source = f"The images in {data.root}" if data.source == "folder" else "A file of data.train or data.test"
    elif data.source == "factory":
        digest, source = factory_digest(data.factory), f"The code of {data.factory}"
    if contents != digest:
        raise FeaturePathsError(f"{source} changed meanwhile. Run snakemake again.")


if __name__ == "__main__":
    cli.run("data", main)
