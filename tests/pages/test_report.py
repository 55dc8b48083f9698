"""The report's first page and a long table of it, in a real browser."""

import base64

import pandas as pd
import pytest

from featurepaths.report.datatables.library import MANY_ROWS, sorting


@pytest.fixture(scope="module")
def report(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    tiny("--report", str(path))
    return path


def test_report_opens_without_errors_and_without_a_network(browser, report):
    browser.open(report, "document.body.innerText.length > 100")
    assert browser.requests() == []
    assert browser.errors() == []


@pytest.fixture
def framed(browser, tiny, tmp_path):
    """The table of combinations, as the report shows it: in a frame, by its content."""
    content = (tiny.results / "tables/combinations.html").read_bytes()
    page = tmp_path / "page.html"
    page.write_text(
        f'<iframe width="1200" height="800" src="data:text/html;base64,{base64.b64encode(content).decode()}">'
    )
    browser.open(page, "document.querySelector('iframe') !== null")
    browser.driver.switch_to.frame(0)
    browser.wait("document.querySelector('.dt-info') !== null")
    yield browser
    browser.driver.switch_to.default_content()
    assert browser.errors() == []
    assert browser.requests() == []


def test_long_table_sorts_numbers_with_intervals(framed, tiny):
    table = pd.read_csv(tiny.results / "tables/combinations.csv")
    assert len(table) > MANY_ROWS
    framed.run(
        "[...document.querySelectorAll('th')].find((each) => each.innerText.startsWith('adversarial')).id = 'by'"
    )
    column = framed.value("document.getElementById('by').cellIndex") + 1
    for ascending in (True, False):
        framed.driver.find_element("css selector", "#by .dt-column-title").click()
        expected = table["adversarial_accuracy"].sort_values(ascending=ascending)[:50]
        shown = framed.texts(f"tbody td:nth-child({column})")
        assert [float(text.partition(" ")[0]) for text in shown] == pytest.approx(list(100 * expected), abs=0.051)


def test_long_table_sorts_small_p_values_as_numbers(browser, tmp_path):
    values = ["0.0300", "&lt;0.0001", "0.2000", "1e-05", "0.0004"]
    rows = "".join(f"<tr><td>{value}</td></tr>" for value in values)
    page = tmp_path / "page.html"
    page.write_text(f"<table><thead><tr><th>p</th></tr></thead><tbody>{rows}</tbody></table>{sorting()}")
    browser.open(page, "document.querySelector('.dt-info') !== null")
    browser.driver.find_element("css selector", "th .dt-column-title").click()
    browser.expect("tbody td", ["1e-05", "<0.0001", "0.0004", "0.0300", "0.2000"])
    browser.driver.find_element("css selector", "th .dt-column-title").click()
    browser.expect("tbody td", ["0.2000", "0.0300", "0.0004", "<0.0001", "1e-05"])


def test_long_table_filters(framed, tiny):
    table = pd.read_csv(tiny.results / "tables/combinations.csv")
    framed.driver.find_element("css selector", ".dt-search input").send_keys("summed-similarity")
    count = int((table["tie_break"] == "summed-similarity").sum())
    assert 0 < count < len(table)
    assert f" of {count}" in framed.texts(".dt-info")[0]


def test_short_tables_stay_plain(browser, tiny):
    assert len(pd.read_csv(tiny.results / "tables/architecture.csv")) <= MANY_ROWS
    assert "<script" not in (tiny.results / "tables/architecture.html").read_text()
