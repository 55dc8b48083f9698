"""Where networks run."""

import torch

from featurepaths.errors import FeaturePathsError


def use_device(name: str, threads: int) -> torch.device:
    """Return the device called `name` (``auto`` takes a GPU where there is one) and make arithmetic repeatable on it.

    On the CPU results are the same to the bit for a given number of `threads`. On a GPU convolutions stay in float32.

    Raises
    ------
    FeaturePathsError
        If ``cuda`` is asked for and there is none.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise FeaturePathsError(
            "device: cuda was asked for, but this machine offers no GPU to torch. Set device: auto."
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def device_name(device: torch.device) -> str:
    """Return what to record of a device: ``cpu``, or the GPU's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
