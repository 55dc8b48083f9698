"""Text of the verdict: fills the templates of this folder with the numbers of the adaptive evaluation."""

from collections.abc import Sequence
from html import escape

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.page import page
from featurepaths.report.results import counted_noun
from featurepaths.report.verdict.rules import NOTHING, Case, Rate, Robustness, by_network, percent

COLUMNS = {
    "network alone, no attack": lambda case: case.rate("undefended", "clean"),
    "feature paths, no attack": lambda case: case.rate("defended", "clean"),
    "feature paths, oblivious attack": lambda case: case.seeming,
    "feature paths, adaptive attacks": lambda case: case.defended,
    "network alone, attacks aimed at it": lambda case: case.alone,
}
"""The columns of the table on the report's first page, and the accuracy in each."""
FIGURE_BELONGS_HERE = "<!-- figure -->"


def verdict(cases: Sequence[Case]) -> str:
    """Return the verdict on the adaptive evaluation, of at least one case, as Markdown."""
    return "\n\n".join(_paragraphs("verdict.md.jinja", cases)) + "\n"


def verdict_page(cases: Sequence[Case]) -> str:
    """Return the verdict as an HTML page; without its first sentence, which `answer` begins with."""
    title, _, *paragraphs = _paragraphs("verdict.md.jinja", cases)
    return page(title.removeprefix("# "), "\n".join(map(_to_html, paragraphs)))


def answer(cases: Sequence[Case]) -> str:
    """Return HTML for the report's first page: `summary_paragraph`, and of each case a sentence and a row of a table.

    The comment `FIGURE_BELONGS_HERE` stands between sentences and table.
    """
    several = len({case.pooling for case in cases}) > 1
    names = [f"{case.run}, {case.pooling} features" if several else str(case.run) for case in cases]
    sentences = zip(names, _paragraphs("conclusions.jinja", cases), strict=True)
    items = "\n".join(f"<li><strong>{escape(name)}:</strong> {escape(text)}</li>" for name, text in sentences)
    cells = {"network": names} | {column: [str(rate(case)) for case in cases] for column, rate in COLUMNS.items()}
    note = (
        f"Accuracy with 95 % intervals, on {counted_noun(cases[0].content['n'], 'test image')}. Under the oblivious "
        "attack, it is that of the stopping rule that leaves most images correct."
    )
    parts = (
        f"<p>{escape(summary_paragraph(cases))}</p>",
        f"<ul>\n{items}\n</ul>",
        FIGURE_BELONGS_HERE,
        pd.DataFrame(cells).to_html(index=False, border=0, justify="left"),
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
    environment.globals |= {"Rate": Rate, "Robustness": Robustness, "NOTHING": NOTHING, "DOUBTS": DOUBTS}
    text = environment.get_template(template).render(cases=cases, networks=by_network(cases))
    return [line for paragraph in text.split("\n\n") if (line := " ".join(paragraph.split()))]


def _to_html(paragraph: str) -> str:
    if paragraph.startswith("## "):
        return f"<h2>{escape(paragraph.removeprefix('## '))}</h2>"
    if paragraph.startswith("**"):
        return f"<p><strong>{escape(paragraph.strip('*'))}</strong></p>"
    return f"<p>{escape(paragraph)}</p>"
