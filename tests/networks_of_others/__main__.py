"""The layers that `auto` finds in networks of other libraries, as docs/own-network.md has the table.

python -m tests.networks_of_others [--page docs/own-network.md] [--only NETWORK ...] [--all]

With `--all`, the smallest network of every family of timm is tried instead, and the list is printed.
"""

import argparse
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.blocks import layer_notes
from featurepaths.networks.layers import find_layers
from tests.checkpoint_kinds import update
from tests.networks_of_others import families

BEGIN = "<!-- make test-networks writes what follows -->\n"
END = "<!-- make test-networks wrote what precedes -->\n"
PACKAGES = {"RobustBench": "robustbench"}


def find(make, sizes):
    """Return the layers of a network for images of the first of sizes that it accepts, and notes about them."""
    torch.manual_seed(0)
    network = make()
    for size in sizes:
        try:
            layers = find_layers(network, "auto", (3, size, size))
            return layers, layer_notes(network, layers, (3, size, size))
        except FeaturePathsError as error:
            problem = error
    raise problem


def every_family_of_timm():
    """Yield the smallest network of every module of timm, of a number of blocks that is not known here."""
    import timm

    for module in timm.list_modules():
        sizes = {}
        for name in timm.list_models(module=module):
            try:
                with torch.device("meta"):
                    network = timm.create_model(name)
            except Exception:  # models that need their weights, or packages that are not here
                continue
            sizes[name] = sum(parameter.numel() for parameter in network.parameters())
        name = min(sizes, key=sizes.get, default=None)
        if name is not None:
            yield f"timm, {module}", name, *families.timm_network(name, {}), None


def networks():
    yield from families.torchvision_networks()
    yield from families.timm_networks()
    yield from families.transformers_networks()
    yield from families.robustbench_networks()
    yield from families.pytorchcv_networks()


def main():
    """Find the layers, write the table, and stop where their number is not that of the blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="the page to write the table to")
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--all", action="store_true", help="every family of timm")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    start, wrong, lines = time.perf_counter(), [], []
    libraries = []
    for library, family, make, sizes, blocks in every_family_of_timm() if arguments.all else networks():
        if arguments.only and family not in arguments.only:
            continue
        try:
            layers, notes = find(make, sizes)
        except Exception as error:
            layers, notes = [], [f"{type(error).__name__}: {error}"]
        if not layers or blocks not in (None, len(layers)):
            wrong.append(f"{library} {family}: {len(layers)} layers, {blocks} blocks. {' '.join(notes)}")
        if library not in libraries:
            libraries.append(library)
        ends = [f"`{layers[0]}`", f"`{layers[-1]}`"] if layers else ["", ""]
        lines.append(f"| {library} | {family} | {len(layers)} | {' | '.join(ends)} |")
        print(f"{lines[-1]} {' '.join(notes)}", flush=True)
    print(f"{len(lines)} networks in {time.perf_counter() - start:.0f} s")
    if arguments.page is not None:
        head = ["| library | network | layers | first | last |", "|:--|:--|--:|:--|:--|"]
        versions = ", ".join(f"{each} {version(PACKAGES.get(each, each))}" for each in libraries)
        table = "\n".join([*head, *lines, "", f"Versions: {versions}.", ""])
        update(arguments.page, BEGIN, END, table)
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
