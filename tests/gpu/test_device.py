"""The GPU itself: its claim by one process at a time, its memory, and the memory layout of fast passes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import InPrecision
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.features import extract_blocks
from featurepaths.runtime.blocks import blocks, to_tensor

pytestmark = pytest.mark.cuda
USE = """
import sys, time
from featurepaths.runtime.devices import use_device
device = use_device("cuda", 1)
print(f"{device.index} {time.monotonic()}", flush=True)
time.sleep(2)
print(time.monotonic(), flush=True)
"""


def test_two_jobs_use_two_gpus_or_one_after_the_other():
    jobs = [subprocess.Popen([sys.executable, "-c", USE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [job.communicate()[0].splitlines() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    (number, start), (other_number, other_start) = (line[-2].split() for line in outputs)
    end, other_end = (float(line[-1]) for line in outputs)
    if torch.cuda.device_count() > 1:
        assert number != other_number
    else:
        assert end <= float(other_start) or other_end <= float(start)


@pytest.fixture
def full_card():
    """Fill the GPU's memory with a tensor, but for some megabytes."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(1.0)

    def fill(left):
        return torch.empty(free - left, dtype=torch.uint8, device="cuda")

    yield fill
    torch.cuda.empty_cache()


def test_out_of_memory_halves_blocks_and_keeps_the_features(full_card, capsys):
    network = ResNet("resnet18", 10).cuda().eval().requires_grad_(False)
    images = np.random.default_rng(0).integers(0, 256, (256, 64, 64, 3), np.uint8)

    def features():
        passes = extract_blocks(network, network.layer_names, images, ["mean"], "cuda", blocks(len(images)))
        return [pooled["mean"] for _, _, pooled in passes], capsys.readouterr().out

    roomy, printed = features()
    assert "at a time" not in printed
    ballast = full_card(left=100 * 2**20)
    tight, printed = features()
    del ballast
    assert "at a time" in printed
    assert len(tight) > len(roomy)
    for layer in range(len(network.layer_names)):
        ours, theirs = (np.concatenate([part[layer] for part in parts]) for parts in (tight, roomy))
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), rtol=1e-2, atol=1e-3)


def test_memory_for_no_image_is_one_clear_error(full_card):
    network = ResNet("resnet18", 10).cuda().eval().requires_grad_(False)
    images = np.zeros((64, 512, 512, 3), np.uint8)
    ballast = full_card(left=2**20)
    with pytest.raises(FeaturePathsError, match="device: cpu"):
        list(extract_blocks(network, network.layer_names, images, ["mean"], torch.device("cuda"), blocks(len(images))))
    del ballast


def test_bfloat16_passes_are_channels_last_and_label_as_float32():
    network = ResNet("resnet18", 10).cuda().eval().requires_grad_(False)
    images = to_tensor(np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), np.uint8), "cuda")
    exact = network(images)
    fast = InPrecision(network, "bfloat16")(images)
    weights = [weight for weight in network.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().max() < 0.1 * exact.abs().max()
    assert (fast.argmax(dim=1) == exact.argmax(dim=1)).float().mean() > 0.95
