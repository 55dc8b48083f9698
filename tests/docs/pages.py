"""The pages that people read."""

from tests.experiments import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def name_of(page):
    return str(page.relative_to(ROOT))
