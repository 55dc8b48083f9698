"""The data flow of a network: which modules run, in which order, and which of them all paths to the logits pass."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import first_tensor, tensors_in
from featurepaths.networks.running import blank_images, evaluation_mode, logits_of, uncompiled

COUNT = 3
"""Number of images of a trace."""


class Call(NamedTuple):
    """A module's run: the nodes of its output tensors in torch's graph, and places of its input and output.

    Places are the positions or tokens of a tensor, None if it has no row for each image.
    """

    nodes: list[Node]
    places_in: int | None
    places_out: int | None


class DataFlow:
    """The data flow of one pass in evaluation mode, from torch's graph of the logits' gradient.

    Parameters
    ----------
    network, image_shape
        The network, and channels, height and width of the random images that it is run on.

    Attributes
    ----------
    calls
        The modules that ran exactly once, by name, in the order in which they finished.
    connected
        Names of those whose output the logits depend on, and which depends on the images.
    trunk
        Names of those whose output all paths from the images to the logits pass. The gate of a gated product, as in
        squeeze-and-excitation, does not count as a path.
    weighted
        Names of the connected modules that hold a weight matrix or kernel themselves.

    Raises
    ------
    FeaturePathsError
        If the logits do not depend on the images by operations that torch can differentiate.
    """

    def __init__(self, network: nn.Module, image_shape: Sequence[int]):
        runs: Counter[str] = Counter()
        self.calls: dict[str, Call] = {}

        def hook(name: str, module: nn.Module, arguments: Any, named_arguments: Any, output: Any) -> None:
            runs[name] += 1
            nodes = [tensor.grad_fn for tensor in tensors_in(output) if tensor.grad_fn is not None]
            inputs = first_tensor((arguments, named_arguments), COUNT)
            self.calls[name] = Call(nodes, _places(inputs), _places(first_tensor(output, COUNT)))

        with ExitStack() as handles, torch.inference_mode(False), torch.enable_grad(), evaluation_mode(network):
            for name, module in network.named_modules():
                if not isinstance(module, torch.jit.ScriptModule):  # which has no hooks
                    handles.enter_context(module.register_forward_hook(partial(hook, name), with_kwargs=True))
            pixels = torch.rand(COUNT, *image_shape, generator=torch.Generator().manual_seed(0))
            pixels = pixels.to(blank_images(network, 1, image_shape)).requires_grad_()
            images = pixels.clone()  # not a leaf, which networks may not change in place
            logits = logits_of(uncompiled(network, images), images)
        self.calls = {name: call for name, call in self.calls.items() if name and runs[name] == 1}
        self._images = images.grad_fn
        self._logits = logits.grad_fn
        self._edges, order = _sorted_nodes(self._logits) if self._logits else ({}, [])
        if self._images not in self._edges:
            raise FeaturePathsError(
                "The network's logits have no gradient with respect to the images, from which layers: auto finds its "
                "blocks. Name its layers."
            )
        self._between = self._depending(order)
        bottlenecks = self._bottlenecks(reversed(order))
        self.connected = {
            name for name, call in self.calls.items() if any(node in self._between for node in call.nodes)
        }
        self.trunk = {name for name in self.connected if self._separates(self.calls[name].nodes, bottlenecks)}
        self.weighted = {name for name in self.connected if _has_matrix(network.get_submodule(name))}

    def _depending(self, order: Iterable[Node]) -> set[Node]:
        """Return the nodes, of those in `order` from the images on, that depend on the images."""
        depending = {self._images}
        for node in order:
            if any(source in depending for source in self._edges[node]):
                depending.add(node)
        return depending

    def _bottlenecks(self, order: Iterable[Node]) -> set[Node]:
        """Return the nodes, of those in `order` from the logits on, that every path passes: no edge goes past them."""
        nodes = [node for node in order if node in self._between]
        positions = {node: position for position, node in enumerate(nodes)}
        furthest, bottlenecks = 0, set()
        for position, node in enumerate(nodes):
            if furthest <= position:
                bottlenecks.add(node)
            furthest = max([furthest, *(positions.get(source, 0) for source in self._edges[node])])
        return bottlenecks

    def _separates(self, nodes: Sequence[Node], bottlenecks: set[Node]) -> bool:
        """Return whether every path from the logits to the images passes one of the nodes."""
        removed = self._between.intersection(nodes)
        if len(removed) < 2 or removed & bottlenecks:
            return bool(removed & bottlenecks)
        pending = [self._logits]
        while pending:
            node = pending.pop()
            if node is self._images:
                return False
            if node not in removed:
                removed.add(node)
                pending += [source for source in self._edges[node] if source in self._between]
        return True


def _places(values: Tensor | None) -> int | None:
    """Return how many positions or tokens a tensor [N, ...] has; for maps, as if they were square."""
    if values is None or values.dim() == 2:
        return values if values is None else 1
    if values.dim() == 3:
        return values.shape[1]
    _, first, second, third = values.shape
    return first * second if first == second != third else second * third


def _has_matrix(module: nn.Module) -> bool:
    """Return whether a module holds a parameter with two axes or more itself, parametrised or not."""
    return any(
        sum(size > 1 for size in parameter.shape) > 1
        for name, parameter in module.named_parameters()
        if "." not in name or name.startswith("parametrizations.")
    )


def _sorted_nodes(logits: Node) -> tuple[dict[Node, list[Node]], list[Node]]:
    """Return the sources of the nodes that the logits depend on, and these nodes, each after its sources."""
    edges = {logits: _sources(logits)}
    order, path = [], [(logits, iter(edges[logits]))]
    while path:
        node, sources = path[-1]
        new = next((source for source in sources if source not in edges), None)
        if new is None:
            order.append(node)
            path.pop()
        else:
            edges[new] = _sources(new)
            path.append((new, iter(edges[new])))
    return edges, order


def _sources(node: Node) -> list[Node]:
    """Return the nodes whose results a node takes, without the gate of a product, which has a value for each image."""
    sources = [(source, index) for source, index in node.next_functions if source is not None]
    if len(sources) == 2 and node.name().startswith("MulBackward"):
        shapes = [source._input_metadata[index].shape for source, index in sources]
        sizes = [math.prod(shape) for shape in shapes]
        gates = ["igmoid" in source.name() for source, _ in sources]
        if any(list(shape[:1]) != [COUNT] for shape in shapes):  # one is the same for all images, and has no gradient
            return [source for source, _ in sources]
        if sizes[0] != sizes[1]:
            del sources[sizes[0] > sizes[1]]
        elif gates[0] != gates[1]:
            del sources[gates[1]]
    return [source for source, _ in sources]
