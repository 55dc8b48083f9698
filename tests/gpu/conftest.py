"""Tests that need a GPU: `make test-gpu`. Without one they are skipped."""

import pytest
import torch

from tests.gpu.device import DEVICE


def pytest_collection_modifyitems(items):
    """Skip the tests of this folder without a GPU."""
    for item in items:
        if "gpu" not in item.path.parts or torch.cuda.is_available():
            continue
        if DEVICE == "cuda" or item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="torch finds no GPU on this machine"))


def pytest_configure(config):
    """Register the marker of tests that call CUDA itself."""
    config.addinivalue_line("markers", "cuda: calls CUDA itself, and cannot be rehearsed on the CPU")
