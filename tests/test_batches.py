import numpy as np
import torch

from featurepaths.batches import BLOCK, blocks, extent, fill, to_tensor


def test_blocks_cover_every_row_once_at_multiples_of_64():
    for count in (1, 63, 64, 65, 200):
        rows = blocks(count)
        assert len(rows) == -(-count // BLOCK)
        assert [row for part in rows for row in range(count)[part]] == list(range(count))
        assert all(part.start % BLOCK == 0 for part in rows)


def test_shards_are_whole_blocks_and_together_all_of_them():
    for count in (1, 64, 200, 1000):
        for shards in (1, 2, 5, 30):
            parts = [blocks(count, (number, shards)) for number in range(1, shards + 1)]
            assert [rows for part in parts for rows in part] == blocks(count)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            assert sum(extent(part).stop - extent(part).start for part in parts) == count


def test_fill_repeats_the_last_row():
    rows = np.arange(6).reshape(3, 2)
    filled = fill(rows)
    assert filled.shape == (64, 2)
    assert (filled[:3] == rows).all()
    assert (filled[3:] == rows[-1]).all()


def test_uint8_images_become_channels_first_fractions():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 4, 5)
    torch.testing.assert_close(tensor[1, 2, 3, 4], torch.tensor(images[1, 3, 4, 2] / 255).float())
