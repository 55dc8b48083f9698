"""The device of the tests that need a GPU. FEATUREPATHS_GPU=cpu rehearses on the CPU those that do not call CUDA."""

import os

DEVICE = os.environ.get("FEATUREPATHS_GPU", "cuda")
