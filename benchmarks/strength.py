"""Is AutoPGD as strong when it searches in bfloat16? Robust accuracy of a checkpoint, on the same images, both ways.

python -m benchmarks.strength results/<name>/<run>/checkpoint.safetensors results/<name>/data.h5
"""

import argparse
import copy
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch

from featurepaths.attacks.apgd import STOPPING_RULES, Budget
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.runner import autopgd_records, run_blocks
from featurepaths.data.splits import Split, open_split
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.networks.forward import InPrecision
from featurepaths.runtime.blocks import blocks
from featurepaths.runtime.devices import use_device
from featurepaths.runtime.progress import progress


def main() -> None:
    """Attack twice and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=2000, help="test images, evenly spaced (default: 2000)")
    parser.add_argument("--eps", type=Fraction, default=Fraction(8, 255))
    parser.add_argument("--step", type=Fraction, default=Fraction(2, 255))
    parser.add_argument("--iterations", type=int, default=20)
    arguments = parser.parse_args()
    device = use_device("auto", torch.get_num_threads())
    network, _ = load_checkpoint(arguments.checkpoint, device)
    exact, search_model = (
        misclassification(network, "ce"),
        misclassification(InPrecision(copy.deepcopy(network), "bfloat16"), "ce"),
    )
    with open_split(arguments.data, "test", arguments.images) as data:
        stands = {
            "float32": _stands(exact, data, arguments, STOPPING_RULES, None, device),
            "bfloat16, all stopping rules": _stands(search_model, data, arguments, STOPPING_RULES, exact, device),
            "bfloat16, max-loss alone": _stands(search_model, data, arguments, ["max-loss"], exact, device),
        }
    reference = stands["float32"]
    print("| search | robust accuracy (%) | less float32 (points) | stands only here | stands only in float32 |")
    print("|:--|--:|--:|--:|--:|")
    for name, resists in stands.items():
        difference = 100 * (resists.mean() - reference.mean())
        only_here, only_reference = (resists & ~reference).sum(), (reference & ~resists).sum()
        print(f"| {name} | {100 * resists.mean():.2f} | {difference:+.2f} | {only_here} | {only_reference} |")


def _stands(searched, data: Split, arguments, stopping_rules, reference, device) -> np.ndarray:
    """Return which images [N] the network gets right, clean and attacked, in float32."""
    budget = Budget(float(arguments.eps), step=float(arguments.step), iterations=arguments.iterations)
    options = {"stopping_rules": stopping_rules, "reference": reference}
    attack = partial(autopgd_records, objective=searched, budget=budget, **options)
    attacked = run_blocks(attack, data, device=device)
    shown = progress(attacked, "attack", len(blocks(len(data))), "blocks of 64")
    return np.concatenate([records["clean_correct"] & ~records["success"] for _, records in shown])


if __name__ == "__main__":
    main()
