"""Controls: a frozen defence and the attacks on it -> whether their failures can be trusted."""

from contextlib import ExitStack, closing
from functools import partial

import numpy as np

from featurepaths.attacks.undefined import report_undefined
from featurepaths.experiment.config.types import as_floats
from featurepaths.stages import cli, frozen_defense
from featurepaths.stages.attack_blocks import budget_of
from featurepaths.statistics.worst_case import summarise_attacks
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    from featurepaths.adaptive.controls import control_blocks, summarise
    from featurepaths.runtime.blocks import blocks
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import Progress, resuming

    settings, search, controls = arguments.settings, arguments.settings.search, arguments.settings.controls
    output = cli.output_of(arguments)
    # the examples of another network have another checkpoint among their ancestors: they belong to no other input
    origin = cli.origin_of(arguments, output, strangers=["transfer"])
    device = use_device(arguments.device, settings.torch_threads)
    target, description, precision = frozen_defense.load_target(arguments, device)
    greatest = controls.iterations[-1]
    budgets = [(iterations, 0) for iterations in controls.iterations]
    budgets += [(greatest, restart) for restart in range(1, controls.restarts + 1)]
    saved = Progress(output.path, origin.key, device_name(device), precision)
    with ExitStack() as stack:
        attacked = frozen_defense.open_attacked(arguments.data, arguments.adaptive, controls.max_images)
        images, _ = stack.enter_context(attacked)
        transferred = None
        if arguments.transfer is not None:
            transferred = stack.enter_context(frozen_defense.open_worst(arguments.transfer, images.indices))
        attack = partial(
            control_blocks,
            target,
            images,
            images.labels,
            images.indices,
            transferred,
            objectives=search.objectives,
            losses=search.losses,
            budget=budget_of(settings.ball, search, settings.seed, description, device),
            eps_multiples=as_floats(controls.eps_multiples),
            budgets=budgets,
            n_queries=controls.n_queries,
            device=device,
        )
        all_blocks = blocks(len(images))
        with closing(resuming(attack, all_blocks, saved)) as attacked:
            parts = [records for _, records in progress(attacked, "controls", len(all_blocks), "blocks of 64")]
        records = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        report_undefined(images.indices, records["undefined"])
    with open_hdf5(arguments.adaptive) as file:
        rows = np.isin(file["index"][:], images.indices)
        standing = file["defended/adaptive"][:][rows]
        summaries = summarise_attacks(file["attacks"], file["labels"][:], settings.attack)
    content = summarise(
        records,
        standing,
        summaries,
        eps=float(settings.ball.eps),
        eps_multiples=list(map(str, controls.eps_multiples)),
        budgets=budgets,
        n_queries=controls.n_queries,
        source=None if arguments.transfer is None else arguments.transfer.parts[-3],
    )
    write_json(output.path, content, origin)
    saved.clear()


if __name__ == "__main__":
    cli.run("controls", main)
