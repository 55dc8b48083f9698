"""DataTables, which sorts and filters tables in a browser: its code and styles for pages that need no network.

They come with the package itables, whose version is in no digest: it decides the behaviour of a page, not its contents.
"""

import gzip
from base64 import b64encode
from functools import cache
from importlib.metadata import distribution

from jinja2 import Environment, PackageLoader, StrictUndefined

MANY_ROWS = 100
"""A table of the report with more rows sorts and filters."""


def render(template: str, **values: object) -> str:
    """Return a template of the packages of this room, such as ``datatables/sorting.html.jinja``, filled.

    It may include ``datatables/load.js.jinja``, JavaScript that loads the class ``DataTable``.
    """
    loader = PackageLoader("featurepaths.report", "")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    files = {"datatables_script": _file("dt_bundle.js"), "datatables_styles": _file("dt_bundle.css")}
    return environment.get_template(template).render(**files, **values)


def sorting() -> str:
    """Return the code that lets the tables of a page sort and filter."""
    return render("datatables/sorting.html.jinja")


@cache
def _file(name: str) -> str:
    """Return a file of itables, as gzip in base64; importing the package would take half a second."""
    content = distribution("itables").locate_file(f"itables/html/{name}").read_bytes()
    return b64encode(gzip.compress(content, mtime=0)).decode()
