from functools import partial

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.precomputed.files import counted, digests_of_attacks, open_adversarial
from featurepaths.attacks.precomputed.runner import check_distances, precomputed_records
from featurepaths.attacks.runner import run_blocks
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import blocks
from featurepaths.store.fingerprints import last_look
from tests.splits import Images, joined

COUNT = 70  # more than a block
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}


def split():
    generator = np.random.default_rng(0)
    return generator.integers(20, 236, (COUNT, 8, 8, 3), np.uint8), generator.integers(0, 4, COUNT)


def attacked(eps=8 / 255, seed=1):
    """Images [N, C, H, W] that far from those of the split."""
    noise = np.random.default_rng(seed).uniform(-eps, eps, (COUNT, 3, 8, 8))
    return (split()[0].transpose(0, 3, 1, 2) / 255 + noise).astype(np.float32)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(192, 4)

    def forward(self, images):
        return self.layer(images.flatten(1))


def write(path, adversarial, index=None, **more):
    arrays = {"adversarial": adversarial, "index": np.arange(len(adversarial)) if index is None else index, **more}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return path


def evaluated(path, norm="linf", eps=8 / 255, rows_of_blocks=None):
    images, labels = split()
    with open_adversarial(path) as precomputed:
        precomputed.check(images.shape, "test")
        positions = precomputed.positions
        attacked = Images(images[positions], labels[positions], positions)
        rows_of_blocks = rows_of_blocks or blocks(len(attacked))
        check_distances(precomputed, attacked, rows_of_blocks, norm, eps)
        reference = misclassification(Linear(), "ce")
        attack = partial(precomputed_records, precomputed=precomputed, reference=reference, norm=norm)
        return joined(run_blocks(attack, attacked, rows_of_blocks))


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_precomputed_images_are_evaluated_by_the_network(tmp_path, suffix):
    adversarial = attacked(0.3).clip(0, 1)
    records = evaluated(write(tmp_path / f"made.{suffix}", adversarial), eps=0.3)
    images, labels = split()
    with torch.no_grad():
        clean, wrong = (
            Linear()(torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32))).argmax(1).numpy() != labels
            for each in (images.transpose(0, 3, 1, 2) / 255, adversarial)
        )
        loss = nn.CrossEntropyLoss(reduction="none")(Linear()(torch.from_numpy(adversarial)), torch.from_numpy(labels))
    assert (records["clean_correct"] == ~clean).all()
    assert (records["success"] == (~clean & wrong)).all()
    assert records["success"].any()
    np.testing.assert_array_equal(records["returned/adversarial"], adversarial)
    np.testing.assert_allclose(records["returned/loss"], loss, rtol=1e-4)
    for unknown in ("first_fooled_step", "n_queries"):
        assert (records[unknown] == -1).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_precomputed_images_norm_equals_numpys(tmp_path, norm):
    adversarial = attacked()
    records = evaluated(write(tmp_path / "made.npz", adversarial), norm, eps=None)
    delta = adversarial.reshape(COUNT, -1) - (split()[0].transpose(0, 3, 1, 2) / 255).reshape(COUNT, -1)
    np.testing.assert_allclose(records["returned/norm"], np.linalg.norm(delta, ORDERS[norm], axis=1), rtol=1e-4)


def test_precomputed_images_l0_counts_pixels_without_rounding(tmp_path):
    adversarial = split()[0].transpose(0, 3, 1, 2) / 255 + 1e-9
    adversarial[:, 1, 2, 3] = adversarial[:, 2, 2, 3] = 1
    records = evaluated(write(tmp_path / "made.npz", adversarial), "l0", eps=1)
    assert (records["returned/norm"] == 1).all()


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "uint8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_precomputed_images_of_every_type_and_layout_are_read(tmp_path, kind, layout, suffix):
    levels = split()[0].astype(int) + np.random.default_rng(1).integers(-8, 9, (COUNT, 8, 8, 3))
    stored = levels.astype(np.uint8) if kind == "uint8" else (levels / 255).astype(kind)
    if layout == "NCHW":
        stored = stored.transpose(0, 3, 1, 2)
    records = evaluated(write(tmp_path / f"made.{suffix}", stored))
    assert records["returned/adversarial"].dtype == np.float32
    np.testing.assert_allclose(records["returned/adversarial"], levels.transpose(0, 3, 1, 2) / 255, atol=3e-4)


def test_precomputed_images_in_any_order_are_sorted(tmp_path):
    index = np.random.default_rng(2).permutation(COUNT)[:66]
    path = write(tmp_path / "made.h5", attacked()[index], index)
    records = evaluated(path)
    np.testing.assert_array_equal(records["returned/adversarial"], attacked()[np.sort(index)])
    second = evaluated(path, rows_of_blocks=[slice(64, 66)])
    np.testing.assert_array_equal(second["returned/adversarial"], attacked()[np.sort(index)[64:]])


def test_precomputed_images_outside_of_eps_are_refused_by_index(tmp_path):
    adversarial = attacked()
    for row in (3, 11, 67):
        adversarial[row, 0, 0, 0] += 0.1
    path = write(tmp_path / "made.npz", adversarial)
    with pytest.raises(FeaturePathsError, match=r"made\.npz: .*3 images \(3, 11, 67\).* eps \(linf, 0\.031"):
        evaluated(path)
    assert evaluated(path, eps=None)["returned/norm"].max() > 0.1
    assert evaluated(path, eps=0.14)["returned/norm"].max() > 0.1
    with pytest.raises(FeaturePathsError, match=r"70 images \(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\).*'index'"):
        evaluated(write(tmp_path / "shuffled.npz", attacked()[::-1]))


def test_precomputed_images_rounded_to_uint8_are_within_eps(tmp_path):
    """7.65 of 255 may become 8 by rounding, and never 9."""
    exact = split()[0].transpose(0, 3, 1, 2) / 255 + 0.03
    path = write(tmp_path / "made.npz", np.rint(exact * 255).astype(np.uint8))
    assert evaluated(path, eps=0.03)["returned/norm"] == pytest.approx(8 / 255, rel=1e-5)
    with pytest.raises(FeaturePathsError, match=r"eps \(linf, 0\.0"):
        evaluated(path, eps=0.029)
    as_float = write(tmp_path / "float.npz", (np.rint(exact * 255) / 255).astype(np.float32))
    with pytest.raises(FeaturePathsError, match=r"eps \(linf, 0\.0"):
        evaluated(as_float, eps=0.03)


def test_precomputed_images_cut_to_uint8_are_told_from_others(tmp_path):
    exact = split()[0].transpose(0, 3, 1, 2) / 255 - 0.029  # 7.4 levels: 7 rounded, 8 downwards when cut
    exact[:, :, ::2] += 0.058
    assert exact.min() > 0
    evaluated(write(tmp_path / "rounded.npz", np.rint(exact * 255).astype(np.uint8)), eps=0.029)
    with pytest.raises(FeaturePathsError, match="rounded") as refused:
        evaluated(write(tmp_path / "cut.npz", (exact * 255).astype(np.uint8)), eps=0.029)
    assert "np.round" in str(refused.value)
    with pytest.raises(FeaturePathsError, match=r"eps \(linf") as refused:
        evaluated(write(tmp_path / "far.npz", (exact * 255).astype(np.uint8)), eps=6 / 255)
    assert "np.round" not in str(refused.value)


def test_precomputed_values_outside_of_range_are_refused_by_index(tmp_path):
    adversarial = attacked()
    adversarial[5, 0, 0, 0] = np.nan
    adversarial[6, 0, 0, 0] = 1.1
    with pytest.raises(FeaturePathsError, match=r"'adversarial' .*2 images \(5, 6\)"):
        evaluated(write(tmp_path / "made.npz", adversarial))


def test_precomputed_images_without_index_are_the_first_of_the_split(tmp_path):
    torch.save({"adv_complete": torch.from_numpy(attacked()[:66])}, tmp_path / "aa.pth")
    np.testing.assert_allclose(evaluated(tmp_path / "aa.pth")["returned/adversarial"], attacked()[:66], atol=2e-6)
    torch.save({"adv_complete": torch.from_numpy(attacked()[1:])}, tmp_path / "shifted.pth")
    with pytest.raises(FeaturePathsError, match=r"shifted\.pth: .*69 images"):
        evaluated(tmp_path / "shifted.pth")
    with pytest.raises(FeaturePathsError, match=r"aa\.pth has no 'index'.*eps"):
        evaluated(tmp_path / "aa.pth", eps=None)
    np.save(tmp_path / "more.npy", np.concatenate([attacked()] * 2))
    with pytest.raises(FeaturePathsError, match=r"more\.npy holds 139; the test split has images 0 to 69"):
        evaluated(tmp_path / "more.npy")


IMAGES = np.zeros((4, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"adversarial": IMAGES}, r"'index'.* adversarial"),
        ({"index": np.arange(4)}, r"'adversarial'"),
        (
            {"adversarial": IMAGES, "index": np.arange(3)},
            r"'index' in .*made\.npz is int64 \[3\].* \[4, 3, 8, 8\]",
        ),
        ({"adversarial": IMAGES, "index": np.arange(4.0)}, r"'index' .*float64 \[4\]"),
        ({"adversarial": IMAGES, "index": np.array([0, 1, 1, 0])}, r"'index' .*2 images \(0, 1\)"),
        ({"adversarial": IMAGES, "index": np.array([0, 1, -1, 3])}, "'index' .*-1"),
        ({"adversarial": IMAGES, "index": np.array([0, 1, 70, 3])}, "'index' .*70.* test .*69"),
        ({"adversarial": IMAGES[:0], "index": np.arange(0)}, r"'index' .*\[0, 3, 8, 8\]"),
        ({"adversarial": IMAGES[..., :7], "index": np.arange(4)}, "8x7x3.* 8x8x3"),
        ({"adversarial": IMAGES[:, :1], "index": np.arange(4)}, "8x8x1.* 8x8x3"),
        ({"adversarial": IMAGES.astype(int), "index": np.arange(4)}, "'adversarial' .*int64"),
        ({"adversarial": IMAGES[0, 0], "index": np.arange(8)}, r"'adversarial'.*\(8, 8\)"),
    ],
)
def test_precomputed_file_that_does_not_fit_is_refused(tmp_path, arrays, expected):
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(FeaturePathsError, match=expected):
        evaluated(tmp_path / "made.npz")


def test_digests_of_attacks_follow_file_contents(tmp_path):
    first = write(tmp_path / "first.npz", IMAGES)
    files = {"a": {"test": str(first), "calibration": str(write(tmp_path / "second.npz", IMAGES + 0.5))}}
    files["b"] = {"test": str(first)}
    digests = digests_of_attacks(files, tmp_path / "memory.json")
    assert digests["a"]["test"] == digests["b"]["test"] != digests["a"]["calibration"]
    assert last_look(tmp_path / "memory.json") == digests
    write(first, IMAGES + 0.25)
    assert digests_of_attacks(files)["a"]["test"] != digests["a"]["test"]
    write(first, IMAGES, np.zeros(4, int))
    with pytest.raises(FeaturePathsError, match=r"first\.npz.*1 image \(0\)"):
        digests_of_attacks(files)


def test_counted_lists_number_and_first_images():
    assert counted(np.array([3])) == "1 image (3)"
    assert counted(np.arange(12)) == "12 images (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)"
