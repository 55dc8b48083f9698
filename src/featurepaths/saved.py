"""What was found on the way to an artefact, on the disk, so that a stage that was stopped goes on where it was."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.storage import atomic, check_zip, may_be_whole, unreadable

SECONDS_BETWEEN_SAVES = 45.0
COUNT = "number of arrays"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an npz file, whole or not at all; it is no error if that fails."""
    try:
        with atomic(path) as temporary:
            np.savez(temporary, **{COUNT: np.array(len(arrays))}, **arrays)
    except (FeaturePathsError, OSError) as error:
        print(f"What was found so far could not be saved: {error}", flush=True)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; none, and a line in the log that says so, if it is there and damaged.

    Raises
    ------
    FeaturePathsError
        If the system could not read it, so that it may be whole.
    """
    if not path.exists():
        return {}
    try:
        check_zip(path)  # NumPy looks at a checksum only when it has read an array to its end
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if found.pop(COUNT) != len(found):  # a zip file does not notice that its directory lacks an entry
            raise ValueError("an array is missing")
        return found
    except Exception as error:  # of damaged files zipfile and NumPy raise anything
        if may_be_whole(error):
            raise unreadable(path, error) from error
        print(f"{path} cannot be read ({type(error).__name__}): what is saved there is found anew", flush=True)
        return {}
