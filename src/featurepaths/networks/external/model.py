"""External networks: any module that a function of the user, or of a library, returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.networks.resnet import Normalise
from featurepaths.networks.running import logits_of
from featurepaths.runtime.entry_points import call_factory

UNUSABLE = {
    torch.jit.ScriptModule: "a TorchScript network, whose layers cannot be read. Return the network that was scripted; "
    "torch.jit.load(path).state_dict() has its weights",
    torch.export.ExportedProgram: "an exported program, not a module. Return the network that was exported; "
    "torch.export.load(path).state_dict has its weights",
    tuple: "a tuple. Return its network alone",
    Mapping: "a dict, perhaps weights. Return a network, and name the file of its weights in `checkpoint`",
}
"""Objects that factories return in place of a network, and what to return."""


class ExternalNetwork(nn.Module):
    """An external network over images in [0, 1], which are resized and normalised for it.

    It computes in float32 on the CPU, not compiled, and without wrappers for several devices, until it is moved.

    Parameters
    ----------
    factory
        ``package.module:function``, which returns the network.
    arguments
        Keyword arguments of the function.
    mean, std
        Normalisation of the input, by channel.
    size
        Height and width that images are resized to, bilinearly; None leaves them as they are. Attacks change the images
        before they are resized.

    Raises
    ------
    FeaturePathsError
        If there is no such function, it fails, or it returns no module, or one that cannot be used.
    """

    def __init__(
        self,
        factory: str,
        arguments: Mapping[str, Any],
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
    ):
        super().__init__()
        self.size = size
        self.normalise = Normalise(mean, std)
        network = call_factory(factory, arguments)
        for kind, remedy in UNUSABLE.items():
            if isinstance(network, kind):
                raise FeaturePathsError(f"{factory} returns {remedy}.")
        if not isinstance(network, nn.Module):
            raise FeaturePathsError(f"{factory} returns a {type(network).__name__}, not a torch.nn.Module.")
        remedy = "It is quantised, an exported graph, or without weights (meta device): return a plain float32 network."
        with reported(f"{factory} returns a network that cannot be used", Exception, remedy=remedy):
            self.network = unwrapped(network).cpu().float().eval()
        if training := [name for name, module in self.network.named_modules() if module.training]:
            which = f"the module {training[0]}" if training[0] else "the network"
            raise FeaturePathsError(
                f"{factory}: eval() leaves {which} in training mode. Its class overrides train() or eval()."
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [0, 1] to logits [N, classes]."""
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return logits_of(self.network(self.normalise(images)), images)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return a network without the wrappers of `torch.compile` and data parallelism, which hide its modules.

    Wrappers of modules within it are replaced in place.
    """
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(network.module)
    if "_orig_mod" in network._modules:
        return unwrapped(network._orig_mod)
    network._compiled_call_impl = None
    for name, child in list(network._modules.items()):  # named_children has a shared one under one name
        if child is not None and (plain := unwrapped(child)) is not child:
            setattr(network, name, plain)
    return network
