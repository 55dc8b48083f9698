"""Attack: checkpoint and data.h5 -> adversarial images of one split, one group a stopping rule.

Precomputed adversarial images of a file are measured and evaluated like those of an attack.

Killed and started again, it goes on from the blocks that it saves every 45 seconds beside the artefact.
"""

from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

from featurepaths.attacks.precomputed.files import open_adversarial
from featurepaths.attacks.undefined import report_undefined
from featurepaths.data.splits import open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.budget import budget_of
from featurepaths.store.fingerprints import digest_of_file
from featurepaths.store.hdf5 import RowWriter, create_hdf5


def main(arguments):
    from featurepaths.attacks.runner import run_blocks
    from featurepaths.networks.checkpoint import load_checkpoint
    from featurepaths.runtime.blocks import blocks, span
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.runtime.progress import progress
    from featurepaths.store.resume import Progress, resuming

    settings = arguments.settings
    called = cli.whole(arguments.adversarial, arguments.shard).stem
    name = cli.name_of(f"attacks/{called}", arguments.shard)
    if not called.startswith(f"{arguments.split}."):
        raise FeaturePathsError(
            f"{arguments.adversarial} is to be called {arguments.split}.<attack>.h5, for its split."
        )
    origin = cli.origin_of(arguments, name)
    device = use_device(arguments.device, settings["torch_threads"])
    network, description = load_checkpoint(arguments.checkpoint, device)
    from_file = settings["method"] == "precomputed"
    precision = "float32"
    if settings["method"] == "apgd":
        attack, precision = autopgd(settings, network, description, device)
    elif not from_file:
        attack = torchattacks(settings, network)
    saved = Progress(arguments.adversarial, origin.key, device_name(device), precision)
    with ExitStack() as stack:
        limit = None if from_file else settings["max_images"]
        data = stack.enter_context(open_split(arguments.data, arguments.split, limit))
        if from_file:
            data, attack = precomputed(settings, arguments, network, data, device, stack)
        file = stack.enter_context(create_hdf5(arguments.adversarial, origin))
        mine = blocks(len(data), arguments.shard or (1, 1))
        file.attrs["device"] = device_name(device)
        file.attrs["precision"] = precision
        write = RowWriter(file, span(mine), {"labels": data.labels, "index": data.indices})
        search = partial(run_blocks, attack, data, device=device)
        with closing(resuming(search, mine, saved)) as attacked:
            for rows, records in progress(attacked, "attack", len(mine), "blocks of 64"):
                write(rows, records)
        tell(file)
    saved.clear()
    if arguments.shard is None:
        cli.remove_shards(arguments.adversarial)


def autopgd(settings, network, description, device):
    """Return AutoPGD as a function of a block, and the precision it searches in."""
    from featurepaths.attacks.objective import misclassification, search_and_reference
    from featurepaths.attacks.runner import autopgd_records
    from featurepaths.networks.precision import InPrecision, resolve_precision

    precision = resolve_precision(settings["precision"], device)

    def objective(network, precision):
        computed = network if precision == "float32" else InPrecision(network, precision)
        return misclassification(computed, settings["loss"])

    search, reference = search_and_reference(objective, network, precision)
    budget = budget_of(settings, description, device)
    options = {"stopping_rules": settings["stopping_rule"], "reference": reference}
    return partial(autopgd_records, objective=search, budget=budget, **options), precision


def torchattacks(settings, network):
    """Return an attack of torchattacks as a function of a block."""
    from featurepaths.attacks.torchattacks.runner import LibraryAttack

    options = {key: settings[key] for key in ("method", "norm", "parameters", "seed")}
    return LibraryAttack(network, eps=settings.number("eps"), **options)


def precomputed(settings, arguments, network, data, device, stack):
    """Return the images that those of a file were made from, and a function of a block of them."""
    from featurepaths.attacks.objective import misclassification
    from featurepaths.attacks.precomputed.runner import check_distances, precomputed_records
    from featurepaths.runtime.blocks import blocks

    if arguments.file is None:
        raise FeaturePathsError("method: precomputed needs --file.")
    adversarial = stack.enter_context(open_adversarial(arguments.file))
    if settings["contents"] != digest_of_file(arguments.file):
        raise FeaturePathsError(f"{arguments.file} changed meanwhile. Run snakemake again.")
    adversarial.check(data.shape, arguments.split)
    positions = adversarial.positions
    attacked = replace(data, labels=data.labels[positions], indices=data.indices[positions])
    mine = blocks(len(attacked), arguments.shard or (1, 1))
    check_distances(adversarial, attacked, mine, settings["norm"], settings.number("eps"), device)
    options = {"reference": misclassification(network, "ce"), "norm": settings["norm"]}
    return attacked, partial(precomputed_records, precomputed=adversarial, **options)


def tell(file):
    """Print what the attack did."""
    if len(file["labels"]) == 0:
        print("No image: there are more shards than blocks.")
        return
    correct, fooled = file["clean_correct"][:].mean(), file["success"][:].mean()
    print(f"{len(file['labels'])} images: {correct:.2%} correct when clean, {correct - fooled:.2%} under attack")
    if "returned" not in file:  # of others this is not known
        vanished = (file["vanished_steps"][:] > 0).mean()
        print(f"The gradient vanished at some step on {vanished:.2%} of them.")
    report_undefined(file["index"][:], file["undefined"][:])


if __name__ == "__main__":
    cli.run("attack", main)
