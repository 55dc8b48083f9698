"""Pictures and records of the explorer, apart from a browser."""

import base64
import io
import json
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from featurepaths.data.splits import Split, evenly_spaced
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.stages import STAGES
from featurepaths.paths.records import FeaturePaths
from featurepaths.report.explorer import page as pages
from featurepaths.report.explorer import pictures, records
from featurepaths.report.explorer.choice import BYTES, PACKED, most_attacked, room
from featurepaths.report.explorer.contents import Evaluation, Shown, Sources, evaluations_of


def decoded(sheet, count, height, width):
    """The pictures of a sheet, read tile by tile."""
    content = base64.b64decode(sheet["url"].removeprefix("data:image/png;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    places = [divmod(number, sheet["columns"]) for number in range(count)]
    return np.stack([pixels[y * height : (y + 1) * height, x * width : (x + 1) * width] for y, x in places])


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize(("height", "width", "channels"), [(4, 4, 3), (3, 9, 3), (9, 3, 1), (1, 1, 1)])
def test_sheet_holds_every_picture_without_loss(count, height, width, channels):
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)
    shown = decoded(pictures.sheet(images), count, height, width)
    assert (shown == (images[..., 0] if channels == 1 else images)).all()


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_thumbnails_are_means_of_squares(channels, shown):
    images = np.random.default_rng(0).integers(0, 256, (2, 130, 195, channels), np.uint8)
    small = pictures.thumbnails(images)
    assert pictures.factor_of(130, 195) == 4
    assert small.shape == (2, 33, 49, shown)
    assert small[0].size == pictures.values_of(images.shape[1:])
    means = images[:, :128, :192, :shown].reshape(2, 32, 4, 48, 4, shown).mean(axis=(2, 4))
    assert abs(small[:, :32, :48] - means).max() <= 0.5 + 1e-6


def test_thumbnails_small_images_stay():
    images = np.arange(2 * 64 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 64, 30, 3)
    assert (pictures.thumbnails(images) == images).all()


def test_as_levels_rounds_to_the_nearest_level():
    floats = np.array([0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 1], np.float32).reshape(1, 1, 1, 5)
    assert pictures.as_levels(floats).ravel().tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize(("difference", "factor"), [(0, 127), (1, 127), (8, 15), (38, 3), (63, 2), (64, 1), (255, 1)])
def test_magnification_keeps_differences_within_the_levels(difference, factor):
    clean = np.full((1, 2, 2, 1), 0, np.uint8)
    assert pictures.magnification(clean, clean + np.uint8(difference)) == factor
    assert pictures.magnification(clean + np.uint8(difference), clean) == factor


def unpacked(value):
    """A packed array as explorer.js.jinja unpacks it."""
    return np.frombuffer(base64.b64decode(value["data"]), f"<{value['type']}").reshape(value["shape"])


@pytest.fixture
def clean():
    """Feature paths of twelve images of three classes, one of which has none."""
    similarity = np.random.default_rng(0).uniform(-1, 1, (12, 4, 3)).astype(np.float32)
    labels = np.array([0, 2] * 6)
    return FeaturePaths(similarity, np.arange(12), np.roll(labels, 1), labels, np.arange(12))


def test_bands_are_quantiles_of_the_images_of_a_class(clean):
    described = records.bands(clean, 3)
    band = unpacked(described["band"]) * records.SIMILARITY_UNIT
    assert described["counts"] == [6, 0, 6]
    for number in (0, 2):
        for layer in range(4):
            of_class = np.sort(clean.similarity[clean.labels == number, layer, number])
            low = of_class[0] + 0.25 * (of_class[1] - of_class[0])  # 5 % of the way to the last of six
            high = of_class[5] - 0.25 * (of_class[5] - of_class[4])
            assert band[number, layer] == pytest.approx([low, high], abs=1e-4)


def test_example_has_paths_votes_and_flags_of_every_image(clean):
    scores = np.linspace(0.2, 0.8, 12)
    answers = {"otsu": np.arange(12) % 3}
    described = records.example(clean, np.arange(12), scores, {"otsu": scores[4]}, answers)
    own, named = (unpacked(described[name]) * records.SIMILARITY_UNIT for name in ("own", "named"))
    for image in range(12):
        assert own[image] == pytest.approx(clean.similarity[image, :, clean.labels[image]], abs=6e-5)
        assert named[image] == pytest.approx(clean.similarity[image, :, clean.network_predictions[image]], abs=6e-5)
    assert (unpacked(described["votes"]) == clean.similarity.argmax(axis=2)).all()
    assert unpacked(described["flagged"]["otsu"]).tolist() == [True] * 4 + [False] * 8


def test_worst_case_has_records_of_worst_examples(clean, tmp_path):
    rows, thresholds = np.array([1, 4, 5]), {"otsu": 0.5}
    with h5py.File(tmp_path / "adaptive.h5", "w") as file:
        file["labels"], file["index"] = clean.labels, clean.index
        file["worst/adversarial"] = np.zeros((12, 1, 2, 2), np.float32)
        for side in ("undefended", "defended"):
            file[f"{side}/adaptive"] = np.arange(12) % 2 == 0
        for name, values in {"attacked": np.ones(12, bool), "network_prediction": clean.labels, "label": clean.labels,
                             "score": np.full(12, 0.4)}.items():  # fmt: skip
            file[f"attacks/evade.ce/{name}"] = values
        file["worst/similarity"] = clean.similarity
        file["worst/network_prediction"], file["worst/vote"] = np.zeros(12, int), np.ones(12, int)
        file["worst/score"] = np.linspace(0, 1, 12)
        described = records.worst_case(file, rows, np.array([0, 1, 2]), thresholds)
    assert unpacked(described["worst"]["defended"]).tolist() == [False, True, False]
    assert unpacked(described["worst"]["attacks"]["evade.ce"]["answer"]).tolist() == clean.labels[rows].tolist()
    assert unpacked(described["answers"]["otsu"]).tolist() == [1, 1, 1]
    assert (unpacked(described["votes"]) == clean.similarity[rows].argmax(axis=2)).all()


def test_matching_rows_are_those_of_the_data_set():
    rows, positions = records.matching_rows(np.array([3, 5, 8, 9]), np.array([1, 5, 9, 12]))
    assert (rows.tolist(), positions.tolist()) == ([1, 3], [1, 2])


def test_explorer_inputs_are_all_that_the_page_reads():
    assert [field.name for field in fields(Sources)] == list(STAGES["explorer"].inputs)


@pytest.fixture
def split(tmp_path):
    """Fifty test images of 4x5 pixels, in rows 10 to 59 of a data set."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (60, 4, 5, 3), np.uint8)
        yield Split(file["images"], np.arange(50) % 3, np.arange(10, 60), ["a", "b", "c"])


def test_shown_images_are_those_at_the_positions(split):
    images = Shown.of(split, np.array([0, 3, 49]))
    assert images.index.tolist() == [10, 13, 59]
    assert (images.clean == split.dataset[:][images.index]).all()
    assert images.labels.tolist() == [0, 0, 1]
    assert images.page["shown"] == 3


@pytest.mark.parametrize(
    ("limit", "of_each"),
    [(2000, (128, 1000, 2000)), (1220, (128, 1000, 1220)), (500, (128, 500, 500)), (64, (64, 64, 64)), (1, (1, 1, 1))],
)
def test_most_attacked_images_are_shown_first(limit, of_each):
    """Of 10,000 images in odd rows, an attack was run on 1,000, and adaptive ones on 128 of these."""
    index = 2 * np.arange(10_000) + 1
    attacked = index[evenly_spaced(10_000, 1000)]
    adaptive = attacked[evenly_spaced(1000, 128)]
    positions = most_attacked(index, [adaptive, adaptive], [attacked, attacked, index[:0]], limit)
    shown = index[positions]
    counts = [np.isin(shown, rows).sum() for rows in (adaptive, attacked, index)]
    assert tuple(counts) == of_each
    assert (np.diff(positions) > 0).all()
    if limit == 64:
        assert shown.tolist() == adaptive[::2].tolist()


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (28, 28, 1), (96, 130, 3), (4, 5, 3)])
def test_pictures_of_noise_stay_within_their_room(height, width, channels):
    shape = (height, width, channels)
    count = room(3 * pictures.values_of(shape), 0) // 10
    small = pictures.thumbnails(np.zeros((1, *shape), np.uint8)).shape[1:]
    noise = np.random.default_rng(0).integers(0, 256, (count, *small), np.uint8)
    assert 3 * len(pictures.sheet(noise)["url"]) <= BYTES / 10


def test_records_stay_within_their_room(clean):
    many = clean.take(np.arange(1200) % 12)
    scores, answers = np.linspace(0.2, 0.8, 1200), {"otsu": np.zeros(1200, int), "fpr-5": np.zeros(1200, int)}
    described = records.example(many, np.arange(1200), scores, dict.fromkeys(answers, 0.5), answers)
    packed = json.dumps(described).encode()
    least = 4 / 3 * 1200 * records.bytes_of_example(layers=4, methods=2)
    assert least <= len(packed) <= least + 1000, "arrays have names"
    bands = json.dumps(records.bands(clean, 3000))
    assert len(bands) <= PACKED * records.bytes_of_bands(layers=4, count=3000) + 1000


def test_pictures_of_no_image_have_the_shape_of_thumbnails():
    assert pictures.thumbnails(np.zeros((0, 130, 195, 3), np.uint8)).shape == (0, 33, 49, 3)
    assert pictures.thumbnails(np.zeros((0, 30, 20, 2), np.uint8)).shape == (0, 30, 20, 1)


def test_layers_are_each_attacks_own_without_calibration():
    def of(scoring, voting):
        kinds = ({"protocols": {"paper": {"layers": layers}}} for layers in (scoring, voting))
        detection, recognition = kinds
        return Evaluation(("a-b-s0", "mean", "x.y"), Path(), detection, Path(), recognition, Path()).layers

    assert of([1], [2, 3]) == {"scoring": [1], "voting": [2, 3]}


def test_evaluations_in_different_orders_are_refused():
    def paths(kind, suffix, attacks):
        return [Path(f"results/x/a-b-s0/{kind}/mean/feature-paths.{attack}.max-loss.{suffix}") for attack in attacks]

    adversarial = [Path(f"results/x/a-b-s0/paths/mean/test.{attack}.max-loss.h5") for attack in ("one", "two")]
    kinds = ("detection", "json"), ("detection", "h5"), ("recognition", "json"), ("recognition", "h5")
    listed = [paths(*kind, ("one", "two") if number else ("two", "one")) for number, kind in enumerate(kinds)]
    sources = Sources(Path("data.h5"), [], [], adversarial, *listed, [])
    with pytest.raises(FeaturePathsError, match="one order"):
        list(evaluations_of(sources))


@pytest.mark.parametrize(
    ("first", "bytes_per_image", "shown"),
    [
        (10, [1000, 1000], 98),  # compressed to a tenth of what the first page counted on: 98 % of what fits
        (10, [1000, 1100], 10),  # the others are larger, and the page of 98 images too large
        (100, [1000], 100),  # as noise takes
        (200, [100], 200),  # all images
    ],
)
def test_page_shows_as_many_images_as_fit(monkeypatch, first, bytes_per_image, shown):
    sizes = iter(bytes_per_image)
    monkeypatch.setattr(pages, "BYTES", 100_000)
    monkeypatch.setattr(pages, "contents", lambda _, limit=first: {"page": {"shown": limit, "total": 200}})

    class Page(tuple):
        """A page that is only as long as one."""

        def __len__(self):
            return self[0] * self[1]

    monkeypatch.setattr(pages, "rendered_page", lambda content: Page((content["page"]["shown"], next(sizes))))
    assert pages.explorer_page(None, {})[0] == shown
