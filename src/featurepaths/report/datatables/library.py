"""DataTables, which sorts and filters tables in a browser: its code and styles for pages that need no network.

They come with the package itables, whose version is in no digest: it decides how a page behaves, not what it says.
"""

from base64 import b64encode
from functools import cache
from importlib.metadata import distribution

from jinja2 import Environment, PackageLoader, StrictUndefined

MANY_ROWS = 100
"""A table of the report with more rows sorts and filters."""


@cache
def _file(name: str) -> bytes:
    """Return a file of itables, which takes half a second to import."""
    return distribution("itables").locate_file(f"itables/html/{name}").read_bytes()


def script_url() -> str:
    """Return a URL that holds the JavaScript module; its default export is the class ``DataTable``."""
    return f"data:text/javascript;base64,{b64encode(_file('dt_bundle.js')).decode()}"


def styles() -> str:
    """Return the style sheet, which follows the class ``dark`` of the page's root."""
    return _file("dt_bundle.css").decode()


def render(package: str, template: str, **values: object) -> str:
    """Return a template of a package's folder, filled; ``script_url`` and ``styles`` are those of this module."""
    loader = PackageLoader(package, "")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    return environment.get_template(template).render(script_url=script_url(), styles=styles(), **values)


def sorting() -> str:
    """Return what a page has to contain for its tables to sort and filter."""
    return render(__package__, "sorting.html.jinja")
