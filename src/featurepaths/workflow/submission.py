"""Paths in what Snakemake submits to clusters: quoted for shells where Snakemake does not, or refused."""

import os.path
import re
import sys
from shlex import quote
from typing import Any

from featurepaths.errors import FeaturePathsError


def check_python() -> None:
    """Raise FeaturePathsError if the path of Python needs quotes; Snakemake sets none in the jobs of a cluster."""
    if re.search(r"[^\w@%+=:,./-]", sys.executable):  # letters of any language need none
        raise FeaturePathsError(
            f"The path of Python, {sys.executable}, contains a space or another special character of shells. Snakemake "
            "does not quote it in the jobs of a cluster. Move the environment to another path."
        )


def quote_status_command(settings: Any) -> None:
    """Quote the path of a profile's status script: the executor cluster-generic hands it to a shell as it is."""
    if os.path.isfile(getattr(settings, "status_cmd", None) or ""):  # noqa: PTH113 (a command may be too long for a path)
        settings.status_cmd = quote(settings.status_cmd)
