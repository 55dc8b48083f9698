"""Writing an attack's artefact, block by block: what the stages that attack share."""

from contextlib import closing

from featurepaths.attacks.undefined import report_undefined
from featurepaths.stages import cli
from featurepaths.store.hdf5 import RowWriter, create_hdf5


def budget_of(ball, search, seed, description, device):
    """Return the budget, in pixel values, for the network that a checkpoint's description is of.

    `ball` has the configuration's keys `norm`, `eps` and `eps_space`, `search` its keys `step` and `iterations`.
    """
    from featurepaths.attacks.budget import pixel_budget

    return pixel_budget(
        float(ball.eps),
        search.step and float(search.step),
        norm=ball.norm,
        iterations=search.iterations,
        seed=seed,
        eps_space=ball.eps_space,
        std=description["build"]["std"],
        image_shape=description["image_shape"],
        device=device,
    )


def write_attack(arguments, output, origin, images, attack, device, precision, report=lambda file: None, **notes):
    """Write the records of an attack, and resume from the blocks that are saved beside the artefact every 45 seconds.

    Parameters
    ----------
    images
        Has `labels` and `indices` of all images that are attacked, shards together.
    attack
        Yields rows and records for each of the blocks passed to it.
    report
        Called with the open file when all is written.
    notes
        Further attributes of the artefact.
    """
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import Progress, resuming

    saved = Progress(output.path, origin.key, device_name(device), precision)
    with create_hdf5(output.path, origin) as file:
        file.attrs.update({**notes, "device": device_name(device), "precision": precision})
        own_blocks = blocks(len(images.labels), arguments.shard or (1, 1))
        write = RowWriter(file, span(own_blocks), {"labels": images.labels, "index": images.indices})
        with closing(resuming(attack, own_blocks, saved)) as attacked:
            for rows, records in progress(attacked, arguments.stage, len(own_blocks), "blocks of 64"):
                write(rows, records)
        if own_blocks:
            report(file)
            report_undefined(file["index"][:], file["undefined"][:])
        else:
            print("No image: there are more shards than blocks.")
    saved.clear()
    if arguments.shard is None:
        cli.remove_shards(output.path)
