import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import BLOCK, SIZES, blocks, joined, pad_block, retry_smaller_on_oom, span, to_tensor


def test_blocks_cover_every_row_once():
    for count in (1, 63, 64, 65, 200):
        rows = blocks(count)
        assert len(rows) == -(-count // BLOCK)
        assert [row for part in rows for row in range(count)[part]] == list(range(count))
        assert all(part.start % BLOCK == 0 for part in rows)


def test_shards_consist_of_whole_blocks_and_cover_all():
    for count in (1, 64, 200, 1000):
        for shards in (1, 2, 5, 30):
            parts = [blocks(count, (number, shards)) for number in range(1, shards + 1)]
            assert [rows for part in parts for rows in part] == blocks(count)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            assert sum(span(part).stop - span(part).start for part in parts) == count


@pytest.mark.parametrize(("count", "filled_to"), [(1, 1), (3, 4), (33, 48), (64, 64), (65, 65)])
def test_pad_block_short_block_repeats_last_row(count, filled_to):
    rows = np.arange(2 * count).reshape(count, 2)
    filled = pad_block(rows)
    assert filled.shape == (filled_to, 2)
    assert (filled[:count] == rows).all()
    assert (filled[count:] == rows[-1]).all()


def working(most, error, calls):
    """Return work that runs out of memory for more than `most` images."""

    def work(rows_of_blocks):
        for rows in rows_of_blocks:
            size = len(pad_block(np.arange(rows.start, rows.stop)))
            calls.append(size)
            if size > most:
                raise error
            yield rows, {"row": np.arange(rows.start, rows.stop)}

    return work


OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when ...")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "cublas"])
@given(count=st.integers(1, 200), most=st.sampled_from(SIZES))
def test_oom_block_is_halved_and_every_row_computed_once(count, most, error):
    calls = []
    results = list(joined(retry_smaller_on_oom(working(most, error, calls), blocks(count)), blocks(count)))
    assert [rows for rows, _ in results] == blocks(count)
    assert np.array_equal(np.concatenate([records["row"] for _, records in results]), np.arange(count))
    assert sum(size > most for size in calls) <= 6, "a size that did not fit is not tried again"


def test_oom_of_single_image_and_other_errors_raise():
    with pytest.raises(FeaturePathsError, match="does not hold the network and one image"):
        list(retry_smaller_on_oom(working(0, OUT_OF_MEMORY[0], []), blocks(5)))
    with pytest.raises(RuntimeError, match="another"):
        list(retry_smaller_on_oom(working(0, RuntimeError("another"), []), blocks(5)))


def test_to_tensor_uint8_images_become_channels_first_fractions():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 4, 5)
    torch.testing.assert_close(tensor[1, 2, 3, 4], torch.tensor(images[1, 3, 4, 2] / 255).float())
