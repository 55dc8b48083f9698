"""bfloat16 passes of a network where these are fast; weights, inputs and logits stay in float32."""

import torch
from torch import Tensor, nn


def resolve_precision(name: str, device: torch.device) -> str:
    """Return ``float32`` or ``bfloat16``; ``auto`` is bfloat16 if the device has instructions for it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def memory_format(precision: str, device: torch.device) -> torch.memory_format:
    """Return the fastest memory layout of images and weights: channels-last where tensor cores compute in bfloat16.

    Not on a CPU, where it saves less than a tenth of the time and is not safe (see `featurepaths.networks.resnet`).
    """
    tensor_cores = device.type == "cuda" and precision == "bfloat16"
    return torch.channels_last if tensor_cores else torch.contiguous_format


class InPrecision(nn.Module):
    """A network whose passes are computed in a precision, from images in float32 to logits in float32.

    Parameters
    ----------
    network
        Its weights are shared, and their memory layout is changed in place.
    precision
        ``float32`` or ``bfloat16``: see `resolve_precision`.
    """

    def __init__(self, network: nn.Module, precision: str):
        super().__init__()
        self.device = next(network.parameters()).device
        self.bfloat16 = precision == "bfloat16"
        self.memory_format = memory_format(precision, self.device)
        self.network = network.to(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.network(images.contiguous(memory_format=self.memory_format)).float()
