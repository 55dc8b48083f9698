"""The explorer in a real browser, against the artefacts that it is made of: `make test-pages`."""

import json
import re

import h5py
import numpy as np
import pytest

from featurepaths.report.explorer.contents import Evaluation, Sources, contents
from featurepaths.report.figures.style import SIMILARITY
from featurepaths.store.jsonfile import sealed

RUN, ATTACKED = "small-standard-s0", "apgd.max-loss"
OUTCOMES = {"correct": "correct", "missed": "missed", "recognised": "flagged, recognised", "lost": "flagged, lost"}
SELECTED = "#images tbody tr[aria-selected=true]"
IMAGE = "document.querySelector('#images tbody tr[aria-selected=true] td:nth-child(2)')?.innerText"


READY = "document.body.getAttribute('aria-busy') === 'false'"


@pytest.fixture
def page(browser, tiny):
    """The explorer, freshly opened, with one run."""
    browser.open(tiny.results / "explore.html", READY)
    browser.choose("network", RUN)
    browser.wait(READY)
    yield browser
    assert browser.errors() == []


@pytest.fixture(scope="module")
def stored(tiny):
    """Of one run, flattened features and the greatest loss: images and records, by name."""
    run = tiny.results / RUN
    with h5py.File(tiny.results / "data.h5") as file:
        images = file["images"][:]
    with h5py.File(run / f"attacks/test.{ATTACKED.partition('.')[0]}.h5") as file:
        arrays = {"index": file["index"][:], "labels": file["labels"][:]}
        arrays["adversarial"] = file["max-loss/adversarial"][:]
    arrays["clean"] = images[arrays["index"]]
    with h5py.File(run / f"paths/flatten/test.{ATTACKED}.h5") as file:
        arrays |= {"similarity": file["similarity"][:], "network": file["logits"][:].argmax(axis=1)}
    with h5py.File(run / f"recognition/flatten/feature-paths.{ATTACKED}.h5") as file:
        arrays["answer"] = file["held-out/otsu/adversarial"][:]
    with h5py.File(run / f"detection/flatten/feature-paths.{ATTACKED}.h5") as file:
        arrays["score"] = file["held-out/adversarial_score"][:]
    with h5py.File(run / "adaptive/flatten.h5") as file:
        arrays["worst"] = {name: file[name][:] for name in ("index", "defended/adaptive", "worst/adversarial")}
    arrays["threshold"] = json.loads((run / "thresholds/flatten/feature-paths.held-out.json").read_text())
    arrays["voting"] = json.loads((run / "selection/flatten/held-out.json").read_text())["layers"]
    return arrays


def outcomes(stored):
    """The outcome of each image, by the page's definition."""
    flagged = stored["score"] < stored["threshold"]["thresholds"]["otsu"]
    right = np.where(flagged, stored["answer"], stored["network"]) == stored["labels"]
    return np.where(flagged, np.where(right, "recognised", "lost"), np.where(right, "correct", "missed"))


def show(page, version, row):
    """Filter the table for a version, and click the row of this number."""
    page.choose("version", version)
    page.driver.find_elements("css selector", "#images tbody tr")[row].click()
    return int(page.value(IMAGE))


def levels(floats):
    """Images [C, H, W] in [0, 1] as 8-bit levels [H, W, C]."""
    return np.round(floats.transpose(1, 2, 0) * 255).astype(np.uint8)


def pixels(page, selector):
    height, width, values = page.pixels(selector)
    return np.array(values, np.uint8).reshape(height, width, 4)


def button(version):
    return f"#versions button[data-version='{version}']"


def test_explorer_asks_no_network_for_anything(page):
    assert page.requests() == []
    assert page.value("document.querySelectorAll('#images tbody tr').length") == 20
    assert "http" not in re.sub("<script.*?</script>", "", page.driver.page_source, flags=re.S)


@pytest.mark.parametrize("row", [0, 7])
def test_pictures_are_those_of_the_row(page, stored, row):
    image = show(page, ATTACKED, row)
    at = int(np.flatnonzero(stored["index"] == image)[0])
    clean, adversarial = stored["clean"][at], levels(stored["adversarial"][at])
    assert (pixels(page, f"{button('clean')} .picture") == np.dstack([clean, np.full(clean.shape[:2], 255)])).all()
    assert (pixels(page, f"{button(ATTACKED)} .picture")[..., :3] == adversarial).all()
    assert (pixels(page, f"{SELECTED} canvas")[..., :3] == adversarial).all()
    (note,) = page.texts(f"{button(ATTACKED)} .note")
    factor = int(re.search(r"×(\d+)", note)[1])
    expected = np.clip(128 + factor * (adversarial.astype(int) - clean), 0, 255)
    assert factor > 1
    assert (pixels(page, f"{button(ATTACKED)} .difference")[..., :3] == expected).all()
    assert abs(adversarial.astype(int) - clean).max() > 0


@pytest.mark.parametrize(
    ("version", "words"), [(ATTACKED, "(L∞, eps 0.1)"), ("adaptive", "(L∞, eps 0.1)"), ("clean", "clean")]
)
def test_heading_states_the_budget_of_an_attack(page, version, words):
    show(page, version, 0)
    assert page.texts("#heading")[0].endswith(words)


def test_worst_case_has_its_outcome_and_picture(page, stored):
    worst = stored["worst"]
    image = show(page, "adaptive", 3)
    at = int(np.flatnonzero(worst["index"] == image)[0])
    assert (pixels(page, f"{button('adaptive')} .picture")[..., :3] == levels(worst["worst/adversarial"][at])).all()
    assert len(page.texts("#attacks tr")) > 2
    verdict = "right" if worst["defended/adaptive"][at] else "wrong"
    assert page.texts("#attacks summary")[0].endswith(f"defence {verdict}.")


def heights(page, selector):
    """The similarities at the points of a line or at the ends of a straight one."""
    points = page.run(
        "const line = document.querySelector(arguments[0]);"
        "const ends = (name) => Number(line.getAttribute(name));"
        "const points = line.points ? Array.from(line.points, ({ y }) => y) : [ends('y1'), ends('y2')];"
        "const { low, high, top, bottom } = document.querySelector('#chart > svg').dataset;"
        "return points.map((y) => high - (y - top) / (bottom - top) * (high - low))",
        selector,
    )
    return np.array(points)


def test_paths_score_threshold_and_votes_are_those_of_the_records(page, stored):
    fooled = np.flatnonzero(stored["network"] != stored["labels"])
    assert len(fooled)
    page.choose("label", str(stored["labels"][fooled[0]]))
    page.choose("version", ATTACKED)
    rows = [int(text) for text in page.texts("#images tbody td:nth-child(2)")]
    page.driver.find_elements("css selector", "#images tbody tr")[rows.index(stored["index"][fooled[0]])].click()
    at = fooled[0]
    similarity, label, network = stored["similarity"][at], stored["labels"][at], stored["network"][at]
    exact = {"atol": 1e-3 * np.ptp(similarity) + 1e-4, "rtol": 0}
    np.testing.assert_allclose(heights(page, ".path.true[points]"), similarity[:, label], **exact)
    np.testing.assert_allclose(heights(page, ".path.named[points]"), similarity[:, network], **exact)
    np.testing.assert_allclose(heights(page, "line.score"), stored["score"][at], **exact)
    np.testing.assert_allclose(heights(page, "line.threshold"), stored["threshold"]["thresholds"]["otsu"], **exact)
    classes = page.value("JSON.parse(document.getElementById('content').textContent).classes")
    legend = " ".join(page.texts("#legend li"))
    assert all(part in legend for part in ("5 to 95 %", "layers of the score S_max", "layers that vote"))
    labels = page.run("return [...document.querySelectorAll('#chart > svg text')].map((each) => each.textContent)")
    assert {SIMILARITY, "layer"} <= set(labels)
    nearest = page.run("return [...document.querySelectorAll('text.nearest')].map((each) => each.firstChild.data)")
    assert nearest == [classes[number] for number in similarity.argmax(axis=1)]
    boxes = {"vote": len(stored["voting"]), "scoring": len(stored["threshold"]["layers"])}
    for kind, count in boxes.items():
        assert page.value(f"document.querySelectorAll('#chart > svg rect.{kind}').length") == count


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_filters_leave_the_rows_of_an_outcome(page, stored, outcome):
    page.choose("version", ATTACKED)
    of_outcome = stored["index"][outcomes(stored) == outcome]
    page.choose("outcome", outcome)
    if not page.value("document.getElementById('outcome').value"):  # no version of any image has this outcome
        assert len(of_outcome) == 0
        return
    (info,) = page.texts("#list .dt-info")
    assert int((re.match(r"[\d,]+", info) or ["0"])[0].replace(",", "")) == len(of_outcome)
    if len(of_outcome):
        assert [int(text) for text in page.texts("#images tbody td:nth-child(2)")] == list(of_outcome[:20])
        assert set(page.texts("#images tbody .outcome")) == {OUTCOMES[outcome]}


def test_click_on_a_head_sorts_by_score(page, stored):
    page.choose("version", ATTACKED)
    page.driver.find_element("css selector", "#images th:nth-child(6)").click()
    lowest = [f"{score:.4f}" for score in np.sort(stored["score"].astype(np.float32))[:20]]
    page.expect("#images tbody td:nth-child(6)", lowest)
    page.driver.find_element("css selector", "#images th:nth-child(6)").click()
    greatest = [f"{score:.4f}" for score in np.sort(stored["score"].astype(np.float32))[::-1][:20]]
    page.expect("#images tbody td:nth-child(6)", greatest)


def test_arrows_move_to_rows_and_versions(page, stored):
    page.choose("version", ATTACKED)
    page.driver.find_elements("css selector", "#images tbody tr")[0].click()
    for _ in range(21):  # beyond the first page
        page.press("ArrowDown")
    assert int(page.value(IMAGE)) == stored["index"][21]
    assert page.value("document.activeElement === document.querySelector('tr[aria-selected=true]')")
    page.press("ArrowUp")
    assert int(page.value(IMAGE)) == stored["index"][20]
    page.press("ArrowLeft")
    assert page.value("document.querySelector('#versions [aria-pressed=true]').dataset.version") == "apgd.last-success"
    page.press("ArrowRight")
    assert page.value("document.querySelector('#versions [aria-pressed=true]').dataset.version") == ATTACKED


def test_choice_of_network_features_and_threshold_changes_the_numbers(page, tiny):
    page.choose("version", ATTACKED)
    for run, pooling, method in ((RUN, "mean", "fpr-5"), ("small-adversarial-s0", "flatten", "otsu")):
        for control, value in (("network", run), ("pooling", pooling), ("method", method)):
            page.choose(control, value)
            page.wait(READY)
        folder = tiny.results / run
        with h5py.File(folder / f"detection/{pooling}/feature-paths.{ATTACKED}.h5") as file:
            scores = file["held-out/adversarial_score"][:20]
        with h5py.File(folder / f"recognition/{pooling}/feature-paths.{ATTACKED}.h5") as file:
            answers = file[f"held-out/{method}/adversarial"][:20]
        page.expect("#images tbody td:nth-child(6)", [f"{score:.4f}" for score in scores.astype(np.float32)])
        page.expect("#images tbody td:nth-child(7)", [str(answer) for answer in answers])


def test_layers_are_each_attacks_own_without_calibration(tiny, tmp_path, monkeypatch):
    """Metrics of three attacks, each with other layers."""
    run, expected = tiny.results / RUN, {}
    records = {kind: sorted(run.glob(f"{kind}/flatten/feature-paths.*.h5")) for kind in ("detection", "recognition")}
    metrics = {kind: [] for kind in records}
    for first, kind in enumerate(records):
        (tmp_path / RUN / kind / "flatten").mkdir(parents=True)
        for number, path in enumerate(records[kind]):
            content = json.loads(path.with_suffix(".json").read_text())
            content["protocols"]["paper"]["layers"] = layers = [1 + first + number]
            metrics[kind].append(tmp_path / RUN / kind / "flatten" / f"{path.stem}.json")
            metrics[kind][-1].write_text(json.dumps(sealed(content)))
            expected.setdefault(path.stem.partition(".")[2], []).append(layers)
    adversarial = sorted(run.glob("paths/flatten/test.*.h5"))
    attacks, clean = [run / "attacks/test.apgd.h5"], [run / "paths/flatten/test.h5"]
    detection, recognition = ((metrics[kind], records[kind]) for kind in records)
    sources = Sources(tiny.results / "data.h5", attacks, clean, adversarial, *detection, *recognition, [])
    monkeypatch.setattr(Evaluation, "protocol", "paper")
    examples = contents(sources)["networks"][RUN]["poolings"]["flatten"]["examples"]
    described = {name: [example["scoring"], example["voting"]] for name, example in examples.items()}
    assert described == expected | {"clean": expected["apgd.first-success"]}


def test_versions_say_how_many_images_they_have(page, stored):
    options = page.texts("#version option")
    assert f"apgd max-loss ({len(stored['index'])} images)" in options
    assert f"adaptive worst case ({len(stored['worst']['index'])} images)" in options


def luminance(colour):
    """The relative luminance of the Web Content Accessibility Guidelines."""
    levels = np.array([float(level) for level in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("part", ["body", "header p", "#images tbody td", "#images th", "#heading", "#legend", "text"])
def test_text_is_readable_in_both_colours(browser, tiny, colours, part):
    browser.open(tiny.results / "explore.html", READY, colours)
    ink, paper = browser.run(
        "const part = document.querySelector(arguments[0]), style = getComputedStyle(part);"
        "let behind = part;"
        "while (/, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;"
        "return [part instanceof SVGElement ? style.fill : style.color, getComputedStyle(behind).backgroundColor]",
        part,
    )
    dim, bright = sorted([luminance(ink), luminance(paper)])
    assert (bright + 0.05) / (dim + 0.05) >= 4.5
    assert (luminance(paper) > 0.5) == (colours == "light")


@pytest.mark.parametrize("width", [1280, 700])
def test_nothing_is_wider_than_the_window(page, width):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value("document.querySelector('#list').scrollWidth <= document.querySelector('#list').clientWidth")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
