"""Sphinx's settings. `make docs` builds the site with warnings as errors, so that no internal link is dead."""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

project = "featurepaths"
author = "The featurepaths developers"
copyright = f"2026, {author}"  # noqa: A001  Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
templates_path = []

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

default_role = "py:obj"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False

html_theme = "furo"
html_title = "featurepaths"
html_copy_source = False
html_show_sourcelink = False


SOURCES = Path(__file__).parents[1] / "src"
NOT_FOR_CALLERS = {"config", "stages"}
"""Folders without a reference: the configuration has a schema, and stages are commands with their own help."""


def list_modules(app, page, source) -> None:
    """Add all modules, with their functions and classes, to the page of functions."""
    if page != "api":
        return
    for path in sorted(SOURCES.glob("featurepaths/**/*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        if not NOT_FOR_CALLERS.intersection(parts) and not parts[-1].startswith("__"):
            source[0] += f"\n## {'.'.join(parts[1:])}\n\n```{{eval-rst}}\n.. automodule:: {'.'.join(parts)}\n```\n"


class LinkFunctions(SphinxTransform):
    """Make code that names an object of the library, such as `paths.equations.centroids`, link to its reference."""

    default_priority = 400

    def apply(self, **_) -> None:
        """Wrap each dotted literal in a reference, which remains plain text if no such object exists."""
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext()
            linked = isinstance(literal.parent, nodes.reference | addnodes.pending_xref)
            if "." in name and name.replace(".", "").isidentifier() and not linked:
                target = f"featurepaths.{name.removeprefix('featurepaths.')}"
                reference = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=target, refexplicit=True)
                literal.replace_self(reference)
                reference += literal


def setup(app) -> None:
    """Register both with Sphinx."""
    app.connect("source-read", list_modules)
    app.add_transform(LinkFunctions)
