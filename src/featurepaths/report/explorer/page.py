"""The explorer's page: a table of all test images; a row shows its pictures and feature paths. It needs no network."""

import json
from collections.abc import Mapping
from typing import Any

from featurepaths.report.datatables.library import render
from featurepaths.report.explorer.choice import BYTES
from featurepaths.report.explorer.contents import Sources, contents

MARGIN = 0.98
"""Of the images that fit if all take as many bytes as those of a first page: the share that is shown."""


def explorer_page(sources: Sources, budgets: Mapping[str, Any]) -> bytes:
    """Return the page of all test images, or of as many as fit in `BYTES`.

    Pictures that PNG compresses leave room for more images than `contents` counts on.

    Parameters
    ----------
    budgets
        The settings of the stage: norm and radius of attacks in words.
    """
    content = contents(sources)
    page = rendered_page(content | budgets)
    shown, total = content["page"]["shown"], content["page"]["total"]
    limit = min(int(MARGIN * shown * BYTES / len(page)), total)
    if limit > shown:
        larger = rendered_page(contents(sources, limit) | budgets)
        page = larger if len(larger) <= BYTES else page
    return page


def rendered_page(content: Mapping[str, Any]) -> bytes:
    """Return the page of `content`, which explorer.js.jinja describes."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return render("explorer/explore.html.jinja", content=text.replace("<", "\\u003c"), **content["page"]).encode()
