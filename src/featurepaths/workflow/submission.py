"""Paths in what Snakemake submits to clusters: quoted for shells where Snakemake does not, or refused."""

import sys
from pathlib import Path
from shlex import quote
from typing import Any

from featurepaths.errors import FeaturePathsError


def check_python() -> None:
    """Raise FeaturePathsError if the path of Python needs quotes; Snakemake sets none in the jobs of a cluster."""
    if quote(sys.executable) != sys.executable:
        raise FeaturePathsError(
            f"The path of Python, {sys.executable}, contains a space or another special character of shells. Snakemake "
            "does not quote it in the jobs of a cluster. Move the environment to another path."
        )


def quote_status_command(settings: Any) -> None:
    """Quote the path of a profile's status script: the executor cluster-generic hands it to a shell as it is."""
    if Path(getattr(settings, "status_cmd", None) or "").is_file():
        settings.status_cmd = quote(settings.status_cmd)
