"""Controls: a frozen defence and the attacks on it -> whether their failures can be trusted."""

from contextlib import ExitStack, closing
from functools import partial

import numpy as np

from featurepaths.attacks.undefined import report_undefined
from featurepaths.stages import cli, frozen_defense
from featurepaths.stages.budget import budget_of
from featurepaths.statistics.worst_case import summarise_attacks
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import write_json
from featurepaths.store.provenance import read_origin


def main(arguments):
    from featurepaths.adaptive.controls import control_records, summarise
    from featurepaths.attacks.runner import run_blocks
    from featurepaths.runtime.blocks import blocks
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import Progress, resuming

    settings = arguments.settings
    pooling = read_origin(arguments.centroids).pooling
    # the examples of another network have another checkpoint among their ancestors: they belong to no other input
    origin = cli.origin_of(arguments, f"controls/{pooling}", strangers=["transfer"])
    device = use_device(arguments.device, settings["torch_threads"])
    target, description, precision = frozen_defense.load_target(arguments, device)
    budget = budget_of(settings, description, device)
    eps_multiples = cli.fractions(settings["eps_multiples"])
    budgets = [(steps, 0) for steps in settings["growing_iterations"]]
    budgets += [(settings["growing_iterations"][-1], restart) for restart in range(1, settings["restarts"] + 1)]
    saved = Progress(arguments.controls, origin.key, device_name(device), precision)
    with ExitStack() as stack:
        images, _ = stack.enter_context(
            frozen_defense.open_images(arguments.data, arguments.adaptive, settings["max_images"])
        )
        transferred = None
        if arguments.transfer is not None:
            transferred = stack.enter_context(frozen_defense.open_worst(arguments.transfer, images.indices))
        attack = partial(
            control_records,
            target=target,
            transferred=transferred,
            budget=budget,
            eps_multiples=eps_multiples,
            budgets=budgets,
            **{key: settings[key] for key in ("objectives", "losses", "n_queries")},
        )
        search = partial(run_blocks, attack, images, device=device)
        mine = blocks(len(images))
        with closing(resuming(search, mine, saved)) as attacked:
            parts = [records for _, records in progress(attacked, "controls", len(mine), "blocks of 64")]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        report_undefined(images.indices, found["undefined"])
    with open_hdf5(arguments.adaptive) as file:
        rows = np.isin(file["index"][:], images.indices)
        standing = file["defended/adaptive"][:][rows]
        summaries = summarise_attacks(file["attacks"], file["labels"][:], settings["attack"])
    content = summarise(
        found,
        standing,
        summaries,
        eps=settings.number("eps"),
        eps_multiples=settings["eps_multiples"],
        budgets=budgets,
        n_queries=settings["n_queries"],
        source=None if arguments.transfer is None else arguments.transfer.parts[-3],
    )
    write_json(arguments.controls, content, origin)
    saved.clear()


if __name__ == "__main__":
    cli.run("controls", main)
