"""The device of the tests that need a GPU; FEATUREPATHS_GPU=cpu rehearses those on the CPU that call nothing of CUDA."""

import os

DEVICE = os.environ.get("FEATUREPATHS_GPU", "cuda")
