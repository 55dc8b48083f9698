"""Attack: checkpoint and data.h5 -> adversarial images of one split, one group a stopping rule."""

from pathlib import Path

from featurepaths.data import read_split
from featurepaths.stages import command
from featurepaths.storage import create_hdf5


def main(arguments):
    import torch

    from featurepaths.attacks.apgd import KEEPS
    from featurepaths.attacks.norms import size
    from featurepaths.attacks.objectives import misclassify
    from featurepaths.attacks.run import attack_blocks
    from featurepaths.batches import block_count, fill, to_tensor
    from featurepaths.devices import device_name, use_device
    from featurepaths.networks.checkpoint import load_checkpoint
    from featurepaths.progress import progress

    settings = arguments.settings
    name = f"attacks/{arguments.adversarial.stem}"
    origin = command.origin_of("attack", arguments, name, [arguments.checkpoint, arguments.data])
    device = use_device(arguments.device, settings["torch_threads"])
    network, _ = load_checkpoint(arguments.checkpoint, device)
    data = read_split(arguments.data, arguments.split)
    count, height, width, channels = data.images.shape
    searches = attack_blocks(
        misclassify(network, settings["loss"]),
        data.images,
        data.labels,
        data.indices,
        eps=settings.number("eps"),
        norm=settings["norm"],
        step=settings.number("step"),
        iterations=settings["iterations"],
        seed=settings["seed"],
        device=device,
    )
    with create_hdf5(arguments.adversarial, origin) as file:
        file.attrs["device"] = device_name(device)
        file["labels"] = data.labels
        file["index"] = data.indices
        for record, kind in [("clean_correct", bool), ("success", bool), ("first_fooled_step", "i4"),
                             ("vanished_steps", "i4"), ("queries", "i4")]:  # fmt: skip
            file.create_dataset(record, (count,), kind)
        for keep in KEEPS:
            group = file.create_group(keep)
            group.create_dataset("adversarial", (count, channels, height, width), "f4")
            group.create_dataset("loss", (count,), "f4")
            group.create_dataset("norm", (count,), "f4")
        for rows, search in progress(searches, "attack", block_count(count), "blocks of 64"):
            kept = slice(rows.stop - rows.start)
            clean = to_tensor(fill(data.images[rows]), device)
            with torch.inference_mode():
                clean_correct = (network(clean).argmax(dim=1).cpu().numpy() == fill(data.labels[rows]))[kept]
            file["clean_correct"][rows] = clean_correct
            file["success"][rows] = clean_correct & (search.first_fooled_step[kept].cpu().numpy() >= 0)
            file["first_fooled_step"][rows] = search.first_fooled_step[kept].cpu().numpy()
            file["vanished_steps"][rows] = search.vanished_steps[kept].cpu().numpy()
            file["queries"][rows] = search.queries
            for keep, points in search.points.items():
                file[keep]["adversarial"][rows] = points.adversarial[kept].cpu().numpy()
                file[keep]["loss"][rows] = points.loss[kept].cpu().numpy()
                file[keep]["norm"][rows] = size(points.adversarial - clean, settings["norm"])[kept].cpu().numpy()
        correct, fooled = file["clean_correct"][:].mean(), file["success"][:].mean()
        vanished = (file["vanished_steps"][:] > 0).mean()
        print(f"{count} images: {correct:.2%} correct when clean, {correct - fooled:.2%} under attack; "
              f"the gradient vanished at some step on {vanished:.2%}")  # fmt: skip


def parser():
    made = command.parser(__doc__, "method, norm, eps, step, iterations, loss, seed, torch_threads")
    command.add_device(made)
    made.add_argument("--data", type=Path, required=True, help="data.h5")
    made.add_argument("--split", choices=["train", "calibration", "test"], required=True, help="which images to attack")
    made.add_argument("--checkpoint", type=Path, required=True, help="the network's checkpoint")
    made.add_argument("--adversarial", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
