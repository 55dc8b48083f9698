"""Writing an attack's artefact, block by block."""

from contextlib import closing, contextmanager
from functools import partial

from featurepaths.attacks.undefined import report_undefined
from featurepaths.stages import cli
from featurepaths.store.hdf5 import RowWriter, create_hdf5


def blocks_of(arguments, images):
    """Return the rows of the blocks of images that a stage attacks, or a shard of it."""
    from featurepaths.runtime.blocks import blocks

    return blocks(len(images.labels), getattr(arguments, "shard", None) or (1, 1))


@contextmanager
def attacked_blocks(arguments, origin, path, images, attack, device, precision, together=1):
    """Yield the rows of the blocks of a stage, and an iterator over rows and records of each as they are attacked.

    They are saved every 45 seconds next to the artefact at `path`; a killed stage resumes from there. The saved
    records are removed when the block of code ends without an error.
    """
    from featurepaths.attacks.runner import run_blocks
    from featurepaths.runtime.devices import device_name
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import ResumeFiles, resuming

    saved = ResumeFiles(path, origin.key, device_name(device), precision)
    own_blocks = blocks_of(arguments, images)
    run = partial(run_blocks, attack, images, device=device, together=together)
    with closing(resuming(run, own_blocks, saved)) as attacked:
        yield own_blocks, progress(attacked, arguments.stage, len(own_blocks), "blocks of 64")
    saved.clear()


def write_attack(
    arguments, output, origin, images, attack, device, precision, *, report=lambda file: None, together=1, **notes
):
    """Write the records of an attack.

    Parameters
    ----------
    images
        The split that is attacked, all shards together.
    attack
        Returns the records of a block.
    report
        Called with the open file when all is written.
    together
        The number of blocks that are attacked together.
    notes
        Further attributes of the artefact.
    """
    from featurepaths.runtime.blocks import span
    from featurepaths.runtime.devices import device_name

    with (
        attacked_blocks(arguments, origin, output.path, images, attack, device, precision, together) as (
            own_blocks,
            attacked,
        ),
        create_hdf5(output.path, origin) as file,
    ):
        file.attrs.update({**notes, "device": device_name(device), "precision": precision})
        write = RowWriter(file, span(own_blocks), {"labels": images.labels, "index": images.indices})
        for rows, records in attacked:
            write(rows, records)
        if own_blocks:
            report(file)
            report_undefined(file["index"][:], file["undefined"][:])
        else:
            print("No image: there are more shards than blocks.")
    if arguments.shard is None:
        cli.remove_shards(output.path)
