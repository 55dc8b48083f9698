"""Location of the workflow, inside an installed package or at the top of a checkout, and the files that it includes."""

from pathlib import Path

from featurepaths.errors import FeaturePathsError


def workflow_folder() -> Path:
    """Return the folder of the Snakefile that belongs to this code.

    Raises
    ------
    FeaturePathsError
        If there is none, because only a part of the package or of the checkout is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package, package.parents[2]):
        if (folder / "Snakefile").exists():
            return folder
    raise FeaturePathsError(f"There is no Snakefile in {package}. Install featurepaths again: pip install .")


def profile_of(name: str) -> Path:
    """Return the folder of a Snakemake profile: a path, or the name of one that the workflow includes.

    Raises
    ------
    FeaturePathsError
        If it is neither.
    """
    bundled = workflow_folder() / "profiles"
    for path in (Path(name), bundled / name):
        if any(path.glob("config*.yaml")):
            return path.absolute()
    names = ", ".join(sorted(path.name for path in bundled.iterdir()))
    raise FeaturePathsError(f"There is no profile {name}. Name its folder, or one of these: {names}.")


def configuration_of(name: Path | None) -> Path:
    """Return the file of a configuration: a path, or the name of one that the workflow includes.

    Without a name it is `config.yaml` of the working folder if it exists, otherwise the default experiment.

    Raises
    ------
    FeaturePathsError
        If there is no such file.
    """
    bundled = workflow_folder()
    if name is None:
        return next((path for path in (Path("config.yaml"),) if path.is_file()), bundled / "config.yaml")
    for path in (name, bundled / "configs" / f"{name}.yaml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in (bundled / "configs").iterdir()))
    raise FeaturePathsError(f"{name} cannot be read: there is no such file. These come with featurepaths: {names}.")
