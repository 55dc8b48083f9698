"""Fingerprints of networks: changed weights or statistics are detected in every pass, at negligible cost."""

import hashlib

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError

SAMPLED = 16
"""Number of evenly spaced values of each tensor that are compared in every pass."""


class Fingerprint:
    """The weights and statistics of a network at one moment: its parameters and persistent buffers.

    `check` and `check_values` cost a fraction of a millisecond. They compare each tensor's address in memory and its
    version counter, and `SAMPLED` of its values. All values are read only if address or counter differ: a network that
    was moved to another device, or into which the same weights were loaded, is still the same. This detects every
    change that PyTorch counts (steps of optimisers, ``load_state_dict``, ``copy_``, other tensors, another type), and
    uncounted ones (through ``.data``, or a NumPy array) that change a compared value. Buffers that are not persistent
    are ignored.

    Copies and pickles keep only the digests.
    """

    def __init__(self, network: nn.Module):
        tensors = _tensors(network)
        self._digests = _digests(tensors)
        self._watch(tensors)

    def __getstate__(self) -> dict:
        return {"_digests": self._digests, "_places": None, "_samples": []}

    def check(self, network: nn.Module) -> None:
        """Compare addresses and counters and, if they differ, all values; without waiting for a GPU.

        Raises
        ------
        FeaturePathsError
            If the network has changed.
        """
        tensors = _tensors(network)
        if _places(tensors) != self._places:
            self.check_all(network)
            self._watch(tensors)

    def check_all(self, network: nn.Module) -> None:
        """Compare all values; errors are those of `check`."""
        digests = _digests(_tensors(network))
        if digests != self._digests:
            names = [name for name in self._digests | digests if digests.get(name) != self._digests.get(name)]
            raise _changed(f"{names[0]} and {len(names) - 1} others differ" if names[1:] else f"{names[0]} differs")

    def check_values(self) -> None:
        """Compare the sampled values of the tensors of the last `check`; errors are those of `check`."""
        if not all(torch.equal(_joined(views), values) for views, values in self._samples):
            raise _changed("values differ")

    def _watch(self, tensors: dict[str, Tensor]) -> None:
        self._places = _places(tensors)
        alike: dict[tuple, list[Tensor]] = {}
        for values in tensors.values():
            if values.numel() > 0:
                alike.setdefault((values.device, values.dtype), []).append(_sample(values))
        self._samples = [(views, _joined(views)) for views in alike.values()]


def _changed(difference: str) -> FeaturePathsError:
    return FeaturePathsError(
        f"The network's weights or statistics are not those that the defence was fitted to ({difference}). It was "
        "trained further, was used in training mode, or other weights were loaded. Call fit again, or restore them."
    )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers; other entries of the modules' state are left out."""
    state = network.state_dict(keep_vars=True)
    return {name: values for name, values in state.items() if isinstance(values, Tensor)}


def _places(tensors: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Return the address of each tensor and how often PyTorch counted a change in place."""
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors.values()]


def _sample(values: Tensor) -> Tensor:
    """Return evenly spaced values as a view [n], or only the first one if the tensor's layout has gaps."""
    values = values.detach()
    in_memory = values.permute(sorted(range(values.dim()), key=values.stride, reverse=True))
    if not in_memory.is_contiguous():
        return values[(0,) * values.dim()].view(1)
    return in_memory.view(-1)[:: -(-values.numel() // SAMPLED)]


def _joined(views: list[Tensor]) -> Tensor:
    """Return the bytes of views of one type, so that NaN equals NaN."""
    return torch.cat(views).view(torch.uint8)


def _digests(tensors: dict[str, Tensor]) -> dict[str, str]:
    digests = {}
    for name, values in tensors.items():
        content = values.detach().cpu().reshape(-1).view(torch.uint8).numpy()
        digests[name] = f"{values.dtype} {hashlib.sha256(content).hexdigest()}"
    return digests
