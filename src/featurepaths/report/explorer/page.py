"""The explorer's page: a table of all test images; a row shows its pictures and feature paths. It needs no network."""

import json
from collections.abc import Mapping
from typing import Any

from featurepaths.report.datatables.library import render


def explorer_page(content: Mapping[str, Any]) -> str:
    """Return the page of `content`, which explorer.js.jinja describes."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return render("explorer/explore.html.jinja", content=text.replace("<", "\\u003c"), **content["page"])
