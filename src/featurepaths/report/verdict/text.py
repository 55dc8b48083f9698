"""Text of the verdict: fills the templates beside this module with the numbers of the adaptive evaluation."""

from collections.abc import Mapping
from html import escape
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from featurepaths.report.page import page
from featurepaths.report.results import PoolingResults, counted_noun
from featurepaths.report.verdict.rules import NOTHING, Rate, Robustness, by_network, cases_of, percent

NORMS = {"linf": "L∞", "l2": "L2"}


def verdict(adaptive: PoolingResults, controls: PoolingResults = ()) -> str:
    """Return the verdict on the adaptive evaluation as Markdown.

    Parameters
    ----------
    adaptive
        Per run and pooling, the content of ``adaptive/<pooling>.json``; at least one.
    controls
        The content of ``controls/<pooling>.json``, where controls were run.
    """
    return "\n\n".join(_paragraphs("verdict.md.jinja", adaptive, controls)) + "\n"


def verdict_page(adaptive: PoolingResults, controls: PoolingResults = ()) -> str:
    """Return the verdict as an HTML page, with `summary_paragraph` below its title."""
    adaptive, controls = list(adaptive), list(controls)
    title, *paragraphs = _paragraphs("verdict.md.jinja", adaptive, controls)
    body = [_to_html(text) for text in (summary_paragraph(adaptive, controls), *paragraphs)]
    return page(title.removeprefix("# "), "\n".join(body))


def summary_paragraph(adaptive: PoolingResults, controls: PoolingResults = ()) -> str:
    """Return the verdict in one paragraph of plain text."""
    return " ".join(_paragraphs("summary.jinja", adaptive, controls))


def _paragraphs(template: str, adaptive: PoolingResults, controls: PoolingResults) -> list[str]:
    """Return the paragraphs of a template, each in one line: templates may wrap lines anywhere."""
    environment = Environment(loader=PackageLoader(__package__, ""), undefined=StrictUndefined, autoescape=False)
    environment.filters |= {"percent": percent, "count": counted_noun}
    environment.globals |= {"Rate": Rate, "Robustness": Robustness, "NOTHING": NOTHING, "NORMS": NORMS, "eps": _eps}
    cases = cases_of(adaptive, controls)
    text = environment.get_template(template).render(cases=cases, networks=by_network(cases))
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return [paragraph for paragraph in paragraphs if paragraph]


def _to_html(paragraph: str) -> str:
    if paragraph.startswith("## "):
        return f"<h2>{escape(paragraph.removeprefix('## '))}</h2>"
    if paragraph.startswith("**"):
        return f"<p><strong>{escape(paragraph.strip('*'))}</strong></p>"
    return f"<p>{escape(paragraph)}</p>"


def _eps(content: Mapping[str, Any]) -> str:
    """Return eps as a multiple of 1/255 where it is one, otherwise as a decimal number."""
    levels = 255 * content["eps"]
    if content["norm"] == "linf" and round(levels) > 0 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{content['eps']:.4g}"
