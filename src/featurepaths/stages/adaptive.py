"""Adaptive: a frozen defence and oblivious examples -> all attacks of one who knows the defence, and the worst case.

A killed stage resumes from the blocks that it saves every 45 seconds next to the artefact.
"""

from functools import partial

from featurepaths.attacks.class_limits import check_losses
from featurepaths.stages import cli, frozen_defense
from featurepaths.stages.attack_blocks import write_attack
from featurepaths.store.provenance import read_origin


def main(arguments):
    from featurepaths.adaptive.run import adaptive_records, blocks_together
    from featurepaths.attacks.runner import budget_of
    from featurepaths.runtime.devices import use_device

    settings, search = arguments.settings, arguments.settings.search
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    device = use_device(arguments.device, settings.torch_threads)
    target, description, precision = frozen_defense.load_target(arguments, device)
    attack_name = read_origin(arguments.attack).name.rpartition(".")[2]
    with frozen_defense.open_attacked(arguments.data, arguments.attack, search.max_images) as (images, examples):
        classes = len(images.class_names)
        notes = {}
        if words := check_losses(search.losses, search.n_targets, classes):
            notes["left_out"] = words
            print(f"Left out, because there are {classes} classes: {words}.")
        attack = partial(
            adaptive_records,
            target=target,
            oblivious={f"{attack_name}.{stopping_rule}": rows for stopping_rule, rows in examples.items()},
            budget=budget_of(settings.ball, search, settings.seed, description, device),
            search=search,
        )
        together = blocks_together(device)
        write_attack(arguments, output, origin, images, attack, device, precision, together=together, **notes)


if __name__ == "__main__":
    cli.run("adaptive", main)
