"""Attack: checkpoint and data.h5 -> adversarial images of one split, one group per stopping rule.

Precomputed adversarial images of a file are measured and evaluated like those of an attack.

A killed stage resumes from the blocks that it saves every 45 seconds next to the artefact.
"""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from featurepaths.data.splits import open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.attack_blocks import blocks_of, write_attack
from featurepaths.store.fingerprints import digest_of_file


def main(arguments):
    from featurepaths.networks.checkpoint import load_checkpoint
    from featurepaths.runtime.devices import use_device

    settings = arguments.settings
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    split = output.names["split"]
    device = use_device(arguments.device, settings.torch_threads)
    network, description = load_checkpoint(arguments.checkpoint, device)
    precision = "float32"
    with ExitStack() as stack:
        images = stack.enter_context(open_split(arguments.data, split, settings.attack.max_images))
        if settings.attack.method == "apgd":
            attack, precision = autopgd(settings, network, description, device)
        elif settings.attack.method == "precomputed":
            images, attack = precomputed(arguments, network, images, split, stack)
        else:
            attack = torchattacks(settings, network)
        write_attack(arguments, output, origin, images, attack, device, precision, report=report)


def autopgd(settings, network, description, device):
    """Return AutoPGD as a function of a block, and the precision it searches in."""
    from featurepaths.attacks.objective import misclassification, search_and_reference
    from featurepaths.attacks.runner import autopgd_records, budget_of
    from featurepaths.networks.forward import InPrecision, resolve_precision

    attack = settings.attack
    precision = resolve_precision(attack.precision, device)

    def objective(network, precision):
        computed = network if precision == "float32" else InPrecision(network, precision)
        return misclassification(computed, attack.loss)

    search, reference = search_and_reference(objective, network, precision)
    budget = budget_of(attack, attack, settings.seed, description, device)
    options = {"stopping_rules": attack.stopping_rule, "reference": reference}
    return partial(autopgd_records, objective=search, budget=budget, **options), precision


def torchattacks(settings, network):
    """Return an attack of torchattacks as a function of a block."""
    from featurepaths.attacks.torchattacks.runner import LibraryAttack

    attack = settings.attack
    eps = attack.eps and float(attack.eps)
    options = {"method": attack.method, "norm": attack.norm, "parameters": attack.parameters}
    return LibraryAttack(network, eps=eps, seed=settings.seed, **options)


def precomputed(arguments, network, images, split, stack):
    """Return the clean images of a file of adversarial ones, and the attack: a function of one block."""
    from featurepaths.attacks.objective import misclassification
    from featurepaths.attacks.precomputed.files import open_adversarial
    from featurepaths.attacks.precomputed.runner import check_distances, precomputed_records

    attack = arguments.settings.attack
    if split not in attack.files:
        raise FeaturePathsError(f"method: precomputed names no file for the {split} split.")
    file = Path(attack.files[split])
    adversarial = stack.enter_context(open_adversarial(file))
    if arguments.settings.contents != digest_of_file(file):
        raise FeaturePathsError(f"{file} changed meanwhile. Run snakemake again.")
    adversarial.check(images.shape, split)
    positions = adversarial.positions
    attacked = replace(images, labels=images.labels[positions], indices=images.indices[positions])
    eps = attack.eps and float(attack.eps)
    check_distances(adversarial, attacked, blocks_of(arguments, attacked), attack.norm, eps)
    options = {"reference": misclassification(network, "ce"), "norm": attack.norm}
    return attacked, partial(precomputed_records, precomputed=adversarial, **options)


def report(file):
    """Print the results of the attack."""
    correct, fooled = file["clean_correct"][:].mean(), file["success"][:].mean()
    print(f"{len(file['labels'])} images: {correct:.2%} correct when clean, {correct - fooled:.2%} under attack")
    if "returned" not in file:  # of others this is not known
        vanished = (file["vanished_steps"][:] > 0).mean()
        print(f"The gradient vanished at some step on {vanished:.2%} of them.")


if __name__ == "__main__":
    cli.run("attack", main)
