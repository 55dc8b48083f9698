"""Finding a network's blocks, which `layers: auto` takes, by its structure and data flow."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from featurepaths.networks.dataflow import DataFlow
from featurepaths.networks.forward import user_name

STEM = 4
"""The greatest number of blocks in a stem, or in what stands between two stages."""
FAR = 0.25
"""The share of modules with weights before the first layer, or after the last, from which a note reports it."""
NAMED = 4  # number of modules in a note


def find_blocks(network: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """Return the names of a network's residual, convolutional or transformer blocks, in the order in which they run.

    A branching block lies on the trunk, which all data pass, and holds weights that do not, because it has a shortcut
    or parallel paths. Modules of the same class, or numbered like these blocks, are blocks too. Without branches,
    blocks are the numbered modules that hold a convolution or linear layer directly. Stems, and what changes the
    resolution between blocks, are left out.

    Raises
    ------
    FeaturePathsError
        If the logits have no gradient with respect to the images.
    """
    flow = DataFlow(network, image_shape)
    owners = {name: next((outer for outer in _outer(name) if outer in flow.trunk), "") for name in flow.weighted}
    branching = {owners[name] for name in flow.weighted - flow.trunk}
    blocks = _whole_blocks(_without_series(branching - {""}, flow, network), flow)
    if not branching:
        numbered = ((name, *_outer(name)) for name in set(owners.values()))
        blocks = _repeated(_outermost({next(filter(_is_numbered, names), "") for names in numbered} & flow.trunk))
    elif len(blocks) < 2:  # no trunk: several streams run through all of the network
        blocks = _first_repeated(flow) or blocks
    else:
        blocks = _with_alike(_without_transitions(blocks, flow, network), flow, network)
    blocks = {name for name in blocks if flow.calls[name].places_out is not None}
    blocks = _without_transitions(blocks, flow, network)
    return [name for name in flow.calls if name in blocks]


def layer_notes(network: nn.Module, layers: Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Return sentences about modules numbered like layers that are none, and about ends that layers are far from.

    Parameters
    ----------
    layers
        Names of modules of the network, at least one.
    image_shape
        Channels, height and width of the images.
    """
    flow = DataFlow(network, image_shape)
    order = {name: position for position, name in enumerate(flow.calls)}
    patterns = {_pattern(name) for name in layers}
    covered = {outer for name in layers for outer in (name, *_outer(name))}
    omitted = [
        name
        for name in order
        if _pattern(name) in patterns and name not in covered and _weights_in(name, flow) - {name}
    ]
    notes = []
    if omitted:
        more = f" and {len(omitted) - NAMED} more" if len(omitted) > NAMED else ""
        notes.append(f"Left out, though numbered like the layers: {', '.join(map(user_name, omitted[:NAMED]))}{more}.")
    unselected = [order[name] for name in flow.weighted if not any(_is_inside(name, layer) for layer in layers)]
    positions = [order[name] for name in layers if name in order]
    before = sum(position < min(positions) for position in unselected)
    after = sum(position > max(positions) for position in unselected)
    for count, place in ((before, "before the first layer"), (after, "after the last layer")):
        if count > FAR * len(flow.weighted):
            notes.append(f"{count} of the network's {len(flow.weighted)} modules with weights run {place}.")
    return notes


def _without_series(branching: set[str], flow: DataFlow, network: nn.Module) -> set[str]:
    """Return the outermost branching modules. Those that hold a list of others, such as an encoder with another part
    next to its blocks, are replaced by these others.
    """
    kinds = Counter((_pattern(name), type(network.get_submodule(name))) for name in flow.connected)

    def holds_list(name: str) -> bool:
        listed = (block for block in branching if _is_inside(block, name) and _is_index(block))
        return any(kinds[_pattern(block), type(network.get_submodule(block))] > 1 for block in listed)

    return _outermost({name for name in branching if not holds_list(name)})


def _whole_blocks(blocks: set[str], flow: DataFlow) -> set[str]:
    """Replace parts of a block by the block: the module of a list that they are in, if no list lies between.

    Parts are, for example, the attention and the perceptron of a transformer block. Where every block is followed by
    weights in a separate module of the list that keeps the resolution, as in ConvMixer, it is a part too.
    """
    order = {name: position for position, name in enumerate(flow.calls)}

    def list_member(name: str) -> str:
        return next((outer for outer in _outer(name) if _is_index(outer)), "")

    def is_followed(name: str) -> bool:
        outer = list_member(name)
        later = {member for member in _weights_in(outer, flow) if order[member] > order[name]}
        alone = sum(_is_inside(member, outer) for member in blocks) == 1
        return alone and outer in flow.trunk and bool(later) and not _changes_resolution(outer, flow)

    if blocks and all(map(is_followed, blocks)):
        return set(map(list_member, blocks))
    nested = {list_member(name) for name in blocks if _is_index(name)}
    outers = {name: list_member(name) for name in blocks if not _is_index(name)}
    return blocks - set(outers) | {
        outer
        if outer in flow.trunk and not any(outer == block or _is_inside(block, outer) for block in nested)
        else name
        for name, outer in outers.items()
    }


def _with_alike(blocks: set[str], flow: DataFlow, network: nn.Module) -> set[str]:
    """Return blocks, and modules of the same class or numbered like them; single layers only as a separate stage.

    A module that is both alike in class and number may also lie off the trunk, as where exits along it are averaged.
    """
    classes = {type(network.get_submodule(name)) for name in blocks} - {nn.Sequential, nn.ModuleList}
    patterns = {_pattern(name) for name in blocks}

    def free(names: set[str]) -> set[str]:
        covered = {outer for name in names for outer in (name, *_outer(name))}
        return {name for name in flow.connected - covered if _weights_in(name, flow) - {name}}

    candidates = free(blocks)
    alike = {name for name in candidates if type(network.get_submodule(name)) in classes}
    blocks = _outermost(blocks | {name for name in alike if name in flow.trunk or _pattern(name) in patterns})
    outer = {outer for name in blocks for outer in _outer(name)}

    def is_numbered_alike(name: str) -> bool:
        stage = name.rpartition(".")[0]
        is_stage = _is_numbered(stage) and stage not in outer
        return _pattern(name) in patterns and (len(_weights_in(name, flow)) > 1 or is_stage)

    return _outermost(blocks | {name for name in free(blocks) & flow.trunk if is_numbered_alike(name)})


def _first_repeated(flow: DataFlow) -> set[str]:
    """Return the outermost modules of a network that are numbered, occur more than once and contain weights."""
    depths = defaultdict(set)
    for name in flow.connected:
        if _is_numbered(name) and _weights_in(name, flow) - {name}:
            depths[name.count(".")].add(name)
    return next(filter(None, (_repeated(depths[depth]) for depth in sorted(depths))), set())


def _without_transitions(blocks: set[str], flow: DataFlow, network: nn.Module) -> set[str]:
    """Leave out blocks of stems, of heads, and of changes of resolution between stages.

    They are numbered differently from the blocks that hold most of the weights. Half of them change the resolution, or
    few of them lie in a module in which something else changes it, or each is a single layer, as a positional encoding
    by convolution is, or there is one without a number.
    """
    kinds = defaultdict(set)
    for name in blocks:
        kinds[_pattern(name)].add(name)
    main = max(kinds.values(), key=lambda kind: sum(len(_weights_in(name, flow)) for name in kind), default=set())

    def is_in_transition(name: str) -> bool:
        alike = [call for call in flow.calls if type(network.get_submodule(call)) is type(network.get_submodule(name))]
        for outer in _outer(name):
            few = sum(_is_inside(block, outer) for block in blocks) <= STEM
            few = few and not any(_is_inside(block, outer) for block in main)
            if few and outer in flow.calls and _changes_resolution(outer, flow):
                return not any(_changes_resolution(call, flow) for call in alike if _is_inside(call, outer))
        return False

    for kind in list(kinds.values()):
        changing = sum(_changes_resolution(name, flow) for name in kind)
        unnumbered = len(kind) == 1 < len(main) - 1 and not any(map(_is_numbered, kind))
        single = all(len(_weights_in(name, flow)) == 1 for name in kind)
        if kind is not main and (2 * changing >= len(kind) or unnumbered or single or any(map(is_in_transition, kind))):
            blocks = blocks - kind
    return blocks


def _changes_resolution(name: str, flow: DataFlow) -> bool:
    return flow.calls[name].places_in != flow.calls[name].places_out


def _weights_in(name: str, flow: DataFlow) -> set[str]:
    """Return the weighted modules that a module is or contains."""
    return {module for module in flow.weighted if module == name or _is_inside(module, name)}


def _repeated(names: set[str]) -> set[str]:
    """Return the names of whose pattern there is more than one."""
    counts = Counter(map(_pattern, names))
    return {name for name in names if counts[_pattern(name)] > 1}


def _outermost(names: set[str]) -> set[str]:
    return {name for name in names if names.isdisjoint(_outer(name))}


def _outer(name: str) -> Iterator[str]:
    """Yield the names of the modules that contain a module, the innermost first, without the network."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _is_inside(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}.")


def _pattern(name: str) -> str:
    """Return a name with ``#`` for its numbers, and for a letter after one: ``inception3a`` is ``inception#``."""
    return re.sub(r"\d+([a-z](?![a-z]))?", "#", name)


def _is_numbered(name: str) -> bool:
    return any(character.isdigit() for character in name.rpartition(".")[2])


def _is_index(name: str) -> bool:
    """Return whether a module's name is a number: it stands in a list or a sequence."""
    return name.rpartition(".")[2].isdigit()
