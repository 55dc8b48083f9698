"""Text of the verdict: fills the templates of this folder with the numbers of the adaptive evaluation."""

from collections.abc import Sequence
from html import escape

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from featurepaths.attacks.budget import budget
from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.page import page
from featurepaths.report.results import counted_noun, counted_range
from featurepaths.report.verdict.rules import NOTHING, Case, Rate, Robustness, by_network, percent

FIGURE_BELONGS_HERE = "<!-- figure -->"


def verdict(cases: Sequence[Case]) -> str:
    """Return the verdict on the adaptive evaluation, of at least one case, as Markdown."""
    return "\n\n".join(_paragraphs("verdict.md.jinja", cases)) + "\n"


def verdict_page(cases: Sequence[Case]) -> str:
    """Return the verdict as an HTML page; without its first sentence, which `answer` begins with."""
    title, _, *paragraphs = _paragraphs("verdict.md.jinja", cases)
    return page(title.removeprefix("# "), "\n".join(map(_to_html, paragraphs)))


def answer(cases: Sequence[Case], table: pd.DataFrame) -> str:
    """Return HTML for the report's first page: `summary_paragraph`, a sentence on each case, and the main table.

    The comment `FIGURE_BELONGS_HERE` stands between sentences and table.
    """
    several = len({case.pooling for case in cases}) > 1
    names = [f"{case.run}, {case.pooling} features" if several else str(case.run) for case in cases]
    sentences = zip(names, _paragraphs("conclusions.jinja", cases), strict=True)
    items = "\n".join(f"<li><strong>{escape(name)}:</strong> {escape(text)}</li>" for name, text in sentences)
    images = counted_range((case.content["n"] for case in cases), "test image")
    note = (
        f"Accuracy on {images} with feature paths and of the network alone, in per cent, with its 95 % interval or "
        "from the least to the greatest over the oblivious attack's stopping rules."
    )
    parts = (
        f"<p>{escape(summary_paragraph(cases))}</p>",
        f"<ul>\n{items}\n</ul>",
        FIGURE_BELONGS_HERE,
        table.to_html(index=False, border=0, justify="left"),
        f"<p>{note}</p>",
    )
    return "\n".join(parts) + "\n"


def summary_paragraph(cases: Sequence[Case]) -> str:
    """Return the verdict in one paragraph of plain text."""
    return " ".join(_paragraphs("summary.jinja", cases))


def _paragraphs(template: str, cases: Sequence[Case]) -> list[str]:
    """Return the paragraphs of a template, each in one line: templates may wrap lines anywhere."""
    environment = Environment(loader=PackageLoader(__package__, ""), undefined=StrictUndefined, autoescape=False)
    environment.filters |= {"percent": percent, "count": counted_noun}
    environment.globals |= {
        "Rate": Rate,
        "Robustness": Robustness,
        "budget": budget,
        "NOTHING": NOTHING,
        "DOUBTS": DOUBTS,
    }
    text = environment.get_template(template).render(cases=cases, networks=by_network(cases))
    return [line for paragraph in text.split("\n\n") if (line := " ".join(paragraph.split()))]


def _to_html(paragraph: str) -> str:
    if paragraph.startswith("## "):
        return f"<h2>{escape(paragraph.removeprefix('## '))}</h2>"
    if paragraph.startswith("**"):
        return f"<p><strong>{escape(paragraph.strip('*'))}</strong></p>"
    return f"<p>{escape(paragraph)}</p>"
