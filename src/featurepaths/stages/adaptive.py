"""Adaptive: a frozen defence and oblivious examples -> all attacks of one who knows the defence, and the worst case.

Killed and started again, it goes on from the blocks that it saves every 45 seconds beside the artefact.
"""

from contextlib import closing
from functools import partial

from featurepaths.attacks.class_limits import left_out, possible_losses
from featurepaths.attacks.undefined import report_undefined
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli, frozen_defense
from featurepaths.stages.budget import budget_of
from featurepaths.store.hdf5 import RowWriter, create_hdf5
from featurepaths.store.provenance import read_origin


def main(arguments):
    from featurepaths.adaptive.run import adaptive_records
    from featurepaths.attacks.runner import run_blocks
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import Progress, resuming

    settings = arguments.settings
    called = cli.whole(arguments.adaptive, arguments.shard).stem
    pooling = read_origin(arguments.centroids).pooling
    if called != pooling:
        raise FeaturePathsError(f"{arguments.adaptive} is to be called {pooling}.h5, for its pooling.")
    name = cli.name_of(f"adaptive/{pooling}", arguments.shard)
    origin = cli.origin_of(arguments, name)
    device = use_device(arguments.device, settings["torch_threads"])
    target, description, precision = frozen_defense.load_target(arguments, device)
    saved = Progress(arguments.adaptive, origin.key, device_name(device), precision)
    attack_name = read_origin(arguments.attack).name.rpartition(".")[2]
    with (
        frozen_defense.open_images(arguments.data, arguments.attack, settings["max_images"]) as (images, examples),
        create_hdf5(arguments.adaptive, origin) as file,
    ):
        classes = len(images.class_names)
        if not possible_losses(settings["losses"], classes):
            raise FeaturePathsError(
                f"adaptive.losses: dlr needs at least three classes, and there are {classes}; use losses: [ce]."
            )
        if words := " and ".join(left_out(settings["losses"], settings["n_targets"], classes)):
            file.attrs["left_out"] = words
            print(f"Left out, because there are {classes} classes: {words}.")
        options = ("objectives", "losses", "n_targets", "restarts", "skip_defeated")
        attack = partial(
            adaptive_records,
            target=target,
            oblivious={f"{attack_name}.{stopping_rule}": rows for stopping_rule, rows in examples.items()},
            budget=budget_of(settings, description, device),
            **{key: settings[key] for key in options},
        )
        search = partial(run_blocks, attack, images, device=device)
        mine = blocks(len(images), arguments.shard or (1, 1))
        file.attrs["device"] = device_name(device)
        file.attrs["precision"] = precision
        write = RowWriter(file, span(mine), {"labels": images.labels, "index": images.indices})
        with closing(resuming(search, mine, saved)) as attacked:
            for rows, records in progress(attacked, "adaptive attacks", len(mine), "blocks of 64"):
                write(rows, records)
        if mine:  # else there are more shards than blocks
            report_undefined(file["index"][:], file["undefined"][:])
    saved.clear()
    if arguments.shard is None:
        cli.remove_shards(arguments.adaptive)


if __name__ == "__main__":
    cli.run("adaptive", main)
