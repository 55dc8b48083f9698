"""Text of the verdict: fills the templates beside this module with the numbers of the adaptive evaluation."""

from collections.abc import Sequence
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined

from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.page import page
from featurepaths.report.results import counted_noun
from featurepaths.report.verdict.rules import NOTHING, Case, Rate, Robustness, by_network, percent


def verdict(cases: Sequence[Case]) -> str:
    """Return the verdict on the adaptive evaluation, of at least one case, as Markdown."""
    return "\n\n".join(_paragraphs("verdict.md.jinja", cases)) + "\n"


def verdict_page(cases: Sequence[Case]) -> str:
    """Return the verdict as an HTML page, with `summary_paragraph` below its title."""
    title, *paragraphs = _paragraphs("verdict.md.jinja", cases)
    return page(title.removeprefix("# "), "\n".join(map(_to_html, [summary_paragraph(cases), *paragraphs])))


def summary_paragraph(cases: Sequence[Case]) -> str:
    """Return the verdict in one paragraph of plain text."""
    return " ".join(_paragraphs("summary.jinja", cases))


def _paragraphs(template: str, cases: Sequence[Case]) -> list[str]:
    """Return the paragraphs of a template, each in one line: templates may wrap lines anywhere."""
    environment = Environment(loader=PackageLoader(__package__, ""), undefined=StrictUndefined, autoescape=False)
    environment.filters |= {"percent": percent, "count": counted_noun}
    environment.globals |= {"Rate": Rate, "Robustness": Robustness, "NOTHING": NOTHING, "DOUBTS": DOUBTS}
    text = environment.get_template(template).render(cases=cases, networks=by_network(cases))
    return [line for paragraph in text.split("\n\n") if (line := " ".join(paragraph.split()))]


def _to_html(paragraph: str) -> str:
    if paragraph.startswith("## "):
        return f"<h2>{escape(paragraph.removeprefix('## '))}</h2>"
    if paragraph.startswith("**"):
        return f"<p><strong>{escape(paragraph.strip('*'))}</strong></p>"
    return f"<p>{escape(paragraph)}</p>"
