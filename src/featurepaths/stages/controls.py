"""Controls: a frozen defence and the attacks on it -> whether their failures can be trusted."""

from contextlib import ExitStack
from functools import partial

import numpy as np

from featurepaths.attacks.undefined import report_undefined
from featurepaths.stages import cli, frozen_defense
from featurepaths.stages.attack_blocks import attacked_blocks
from featurepaths.statistics.worst_case import summarise_attacks
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    from featurepaths.adaptive.controls import control_records, summarise
    from featurepaths.attacks.runner import budget_of
    from featurepaths.runtime.devices import use_device

    settings, search, controls = arguments.settings, arguments.settings.search, arguments.settings.controls
    output = cli.output_of(arguments)
    # the examples of another network have another checkpoint among their ancestors: they belong to no other input
    origin = cli.origin_of(arguments, output, strangers=["transfer"])
    device = use_device(arguments.device, settings.torch_threads)
    target, description, precision = frozen_defense.load_target(arguments, device)
    with ExitStack() as stack:
        opened = frozen_defense.open_attacked(arguments.data, arguments.adaptive, controls.max_images)
        images, _ = stack.enter_context(opened)
        with open_hdf5(arguments.adaptive) as file:
            rows = np.isin(file["index"][:], images.indices)
            suite = {side: file[f"{side}/adaptive"][:][rows] for side in ("undefended", "defended")}
            summaries = summarise_attacks(file["attacks"], file["labels"][:], settings.attack)
        transferred, source = None, None
        if arguments.transfer is not None:
            transferred = stack.enter_context(frozen_defense.open_worst(arguments.transfer, images.indices))
            source = arguments.transfer.parts[-3]
        attack = partial(
            control_records,
            target=target,
            suite=suite,
            transferred=transferred,
            budget=budget_of(settings.ball, search, settings.seed, description, device),
            search=search,
            controls=controls,
        )
        _, attacked = stack.enter_context(
            attacked_blocks(arguments, origin, output.path, images, attack, device, precision)
        )
        parts = [records for _, records in attacked]
        records = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        report_undefined(images.indices, records["undefined"])
        content = summarise(records, suite["defended"], summaries, controls, float(settings.ball.eps), source)
        write_json(output.path, content, origin)


if __name__ == "__main__":
    cli.run("controls", main)
