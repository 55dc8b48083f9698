"""The data that a configuration is proposed for: their completed section, and their contents."""

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.data import AnyData
from featurepaths.experiment.proposal.numbers import calibration_share
from featurepaths.experiment.samples import Look, Sample, look_into

SIZE = 64
"""Height and width for images of several sizes, if the network's library states none."""
CIFAR = {"cifar10": 10, "cifar100": 100}
"""Classes of the data sets of which everything is known before they are downloaded."""


@dataclass
class ProposedData:
    """A section `data`, remarks on its keys, the contents of the data, and the notes and warnings of reading them."""

    section: dict[str, Any]
    remarks: dict[str, str]
    look: Look
    notes: list[str]

    @property
    def contents(self) -> str:
        """Contents of the data, in words."""
        counts, size = self.look.counts, self.look.size
        colours = {1: "grey", 3: "colour"}.get(size.channels, f"{size.channels} channels")
        training = counts["train"] + counts["calibration"]
        return (
            f"{training:,} training and {counts['test']:,} test images of {size.classes} classes, "
            f"{size.height}x{size.width} pixels, {colours}"
        )


def propose_data(section: dict[str, Any], own_size: Callable[[int], int | None]) -> ProposedData:
    """Look into the data of a section; add a size if the images have several, and a share for calibration.

    Parameters
    ----------
    own_size
        Returns the height and width of images that the network's library states, if it does, by the number of classes.

    Raises
    ------
    FeaturePathsError
        If the data cannot be used.
    """
    remarks = {}
    if section.get("download") and section["source"] in CIFAR:
        remarks["data.download"] = "torchvision downloads the images; `featurepaths check` reads them afterwards"
        return ProposedData(section, remarks, _known(section["source"]), [])
    with redirect_stdout(StringIO()) as printed:
        try:
            look = look_into(_typed(section))
        except FeaturePathsError as error:
            if "size" in section:
                raise _hinted(error, section) from error
            try:
                look = look_into(_typed({**section, "size": SIZE}))
            except FeaturePathsError:
                raise _hinted(error, section) from error
            section = {**section, "size": own_size(look.size.classes) or SIZE}
            remarks["data.size"] = "the images have several sizes: the central square of each is resized to this"
        share = calibration_share(look.counts["train"] + look.counts["calibration"])
        section = {**section, "calibration": section.get("calibration", str(share))}
        look = look_into(_typed(section))
    remarks["data.calibration"] = f"of the training images: {look.counts['calibration']:,} of them, for thresholds"
    lines = dict.fromkeys(printed.getvalue().splitlines())
    return ProposedData(section, remarks, look, [line for line in lines if line.startswith(("Note", "Warning"))])


def flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).removesuffix("...\n").strip()


def _known(source: str) -> Look:
    """Return the contents of a CIFAR data set, without images."""
    blank = Sample(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64))
    return Look({"train": 45000, "calibration": 5000, "test": 10000}, DataSize(classes=CIFAR[source]), blank)


def _typed(section: Mapping[str, Any]) -> AnyData:
    try:
        return TypeAdapter(AnyData).validate_python(section)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors()
        )
        raise FeaturePathsError(f"--data: the section is not valid: {problems}.") from None


def _hinted(error: FeaturePathsError, section: Mapping[str, Any]) -> FeaturePathsError:
    """Return an error with how to set further keys of the data."""
    return FeaturePathsError(f"{error} Keys of data: --data '{flow(section)}', with the missing ones added.")
