"""Training: data.h5 -> checkpoint.safetensors and training.csv.

A killed training resumes from a state that it saves every 45 seconds next to the checkpoint.
"""

import csv
import math
from dataclasses import asdict

from featurepaths.data.splits import normalisation, open_split
from featurepaths.stages import cli
from featurepaths.store.atomic import atomic
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.seal import checksum_of

MOST_CALIBRATION_IMAGES = 500
"""Greatest number of calibration images on which accuracy is measured after an epoch, so that it costs little."""


def main(arguments):
    import torch

    from featurepaths.networks.checkpoint import check_finite, save_checkpoint
    from featurepaths.networks.forward import memory_format, resolve_precision
    from featurepaths.networks.resnet import ResNet
    from featurepaths.runtime.devices import device_name, use_device
    from featurepaths.store.resume import ResumeFiles
    from featurepaths.training.images import training_images
    from featurepaths.training.loop import train

    settings = arguments.settings
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    device = use_device(arguments.device, settings.torch_threads)
    options, adversary = settings.training, settings.training.adversary
    precision = resolve_precision(options.precision, device)
    resume = ResumeFiles(arguments.checkpoint, origin.key)  # the file states its arithmetic
    with open_split(arguments.data, "train") as data, cli.stop_requests() as stop:
        mean, std = normalisation(data)
        build = {**settings.model.model_dump(), "classes": len(data.class_names), "mean": mean, "std": std}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = ResNet(**build).to(device)
        epochs = train(
            network,
            training_images(data, device, settings.in_memory_mb),
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=float(options.learning_rate),
            momentum=float(options.momentum),
            weight_decay=float(options.weight_decay),
            schedule=options.schedule,
            milestones=options.milestones,
            augment=options.augment,
            adversary=adversary
            and {
                "method": adversary.method,
                "eps": float(adversary.eps),
                "step": adversary.step and float(adversary.step),
                "iterations": adversary.iterations,
            },
            precision=precision,
            compile=options.compile,
            seed=settings.seed,
            calibration=calibration_images(arguments.data, device),
            resume=resume,
            stop=stop,
        )
        records = []
        for record in epochs:
            records.append({name: value for name, value in asdict(record).items() if value is not None})
            print(", ".join(f"{name} {value:.6g}" for name, value in records[-1].items()), flush=True)
            del records[-1]["images_per_second"]  # so that the table is the same whenever it is made
        if stop() and len(records) < options.epochs:
            cli.end_by(stop())
        _, height, width, channels = data.shape
    check_finite(network, "Training diverged: a weight is not a finite number, in")
    with atomic(arguments.training) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, records[0])
        table.writeheader()
        table.writerows(records)
    notes = {
        "device": device_name(device),
        "precision": precision,
        "memory_format": str(memory_format(precision, device)).removeprefix("torch."),
        "adversarial": adversary is not None,
        "files": {arguments.training.name: checksum_of(arguments.training)},
    }
    save_checkpoint(
        arguments.checkpoint, network, build, network.layer_names, (channels, height, width), origin, **notes
    )
    resume.clear()


def calibration_images(path, device):
    """Return calibration images, resident on the device; None if there are none."""
    from featurepaths.training.images import training_images

    with open_hdf5(path) as file:
        if not (file["split"][:] == b"calibration").any():
            return None
    with open_split(path, "calibration", MOST_CALIBRATION_IMAGES) as split:
        return training_images(split, device, math.inf)


if __name__ == "__main__":
    cli.run("train", main)
