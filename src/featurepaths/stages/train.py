"""Training: data.h5 -> checkpoint.safetensors and training.csv."""

import csv
import sys
from dataclasses import asdict, fields
from pathlib import Path

from featurepaths.data import normalisation, read_split
from featurepaths.stages import command
from featurepaths.storage import atomic


def main(arguments):
    import torch

    from featurepaths.devices import device_name, use_device
    from featurepaths.networks.checkpoint import check_finite, save_checkpoint
    from featurepaths.networks.resnet import ResNet
    from featurepaths.progress import progress
    from featurepaths.training.loop import Epoch, train

    settings = arguments.settings
    origin = command.origin_of("train", arguments, "checkpoint", [arguments.data])
    device = use_device(arguments.device, settings["torch_threads"])
    data = read_split(arguments.data, "train")
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2).contiguous()

    mean, std = normalisation(data.images)
    build = {**settings["model"], "classes": len(data.class_names), "mean": mean, "std": std}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        network = ResNet(**build)
    network.to(device)

    options = command.Settings(settings["training"])
    adversary = options["adversary"] and command.Settings(options["adversary"])
    epochs = train(
        network,
        images.to(device),
        torch.from_numpy(data.labels).to(device),
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        learning_rate=options.number("learning_rate"),
        momentum=options.number("momentum"),
        weight_decay=options.number("weight_decay"),
        schedule=options["schedule"],
        milestones=options["milestones"],
        augment=options["augment"],
        adversary=adversary and {**adversary, "eps": adversary.number("eps"), "step": adversary.number("step")},
        seed=settings["seed"],
    )
    with atomic(arguments.training) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(field.name for field in fields(Epoch))
        for record in progress(epochs, "training", options["epochs"], "epochs"):
            table.writerow(asdict(record).values())
            if not sys.stderr.isatty():
                print(
                    f"epoch {record.epoch}: loss {record.loss:.4f}, accuracy {record.accuracy:.4f}, "
                    f"{record.images_per_second:.0f} images/s",
                    flush=True,
                )
    check_finite(network, "Training diverged: a weight is not a finite number, in")
    image_shape = tuple(images.shape[1:])
    notes = {"device": device_name(device), "adversarial": adversary is not None}
    save_checkpoint(arguments.checkpoint, network, build, image_shape, origin, **notes)


def parser():
    made = command.parser(__doc__, "model, training (both as in the configuration), seed, torch_threads")
    command.add_device(made)
    made.add_argument("--data", type=Path, required=True, help="data.h5")
    made.add_argument("--checkpoint", type=Path, required=True, help="the checkpoint to write")
    made.add_argument("--training", type=Path, required=True, help="the table of epochs to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
