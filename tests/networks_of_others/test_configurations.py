"""Networks of three libraries on three kinds of data, from at most twelve lines of configuration to the verdict."""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from tests.networks_of_others.families import of_robustbench
from tests.processes import Workflow

SIZE, CLASSES, COUNTS = 32, 4, {"train": 160, "test": 48}
TINTS = np.array([[60, 0, 0], [0, 60, 0], [0, 0, 60], [40, 40, 0]])
TRANSFORMERS = """name: vit
data: {source: arrays, train: pathmnist.npz, test: pathmnist.npz, size: 32}
models:
  vit:
    factory: transformers:AutoModelForImageClassification.from_pretrained
    arguments: {pretrained_model_name_or_path: net}
    mean: [0.4, 0.5, 0.6]
    std: [0.5, 0.5, 0.5]
attacks: {apgd: {eps: 8/255, iterations: 3}}
calibration: {attack: apgd, stopping_rule: max-loss}
detectors: [confidence]
adaptive: {attack: apgd, max_images: 16, iterations: 3, controls: null}"""
TIMM = """name: timm
data: {source: parquet, train: "data/train-*.parquet", test: "data/test-*.parquet"}
models:
  resnet:
    factory: timm:create_model
    arguments: {model_name: resnet10t, num_classes: 4}
    checkpoint: last.pth.tar
attacks: {apgd: {eps: 8/255, iterations: 3}}
calibration: {attack: apgd, stopping_rule: max-loss}
detectors: [confidence]
adaptive: {attack: apgd, max_images: 16, iterations: 3, controls: null}"""
ROBUSTBENCH = """name: wide
data: {source: folder, root: images}
models:
  wide:
    factory: nets:wide_resnet
    checkpoint: net.pt
attacks: {apgd: {eps: 8/255, iterations: 3}}
calibration: {attack: apgd, stopping_rule: max-loss}
detectors: [confidence]
adaptive: {attack: apgd, max_images: 16, iterations: 3, controls: null}"""
WIDE = {"num_classes": CLASSES, "depth": 10, "widen_factor": 1}
NETS = f"""
from tests.networks_of_others.families import of_robustbench


def wide_resnet():
    return of_robustbench("wide_resnet", "WideResNet")(**{WIDE})
"""


def images_of(part, size):
    """Return noise with a tint for each class, uint8 [n, size, size, 3], and labels."""
    generator = np.random.default_rng(list(COUNTS).index(part))
    labels = generator.permutation(np.arange(COUNTS[part]) % CLASSES)
    images = generator.integers(60, 140, (len(labels), size, size, 3)) + TINTS[labels][:, None, None]
    return images.astype(np.uint8), labels


def trained(network, mean, std, logits=lambda output: output, average=None, steps=60):
    """Train a network for a few seconds on images that are normalised."""
    pixels, labels = images_of("train", SIZE)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:64]
        loss = torch.nn.functional.cross_entropy(logits(network.train()(images[rows])), torch.from_numpy(labels)[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if average:
            average.update(network)
    return network.eval()


def transformers_on_medmnist(folder):
    """Write a ViT as `save_pretrained` does, and images in the layout of MedMNIST: 28x28, labels [N, 1]."""
    import transformers

    arrays = {}
    for part in COUNTS:
        images, labels = images_of(part, 28)
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[:, None]}
    np.savez(folder / "pathmnist.npz", val_images=images, val_labels=labels[:, None], **arrays)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.ViTConfig(image_size=SIZE, patch_size=8, num_labels=CLASSES, **sizes)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    network = trained(
        transformers.ViTForImageClassification(config), mean, 0.5, lambda output: output.logits, steps=200
    )
    network.save_pretrained(folder / "net")


def timm_on_parquet(folder):
    """Write timm's checkpoint with an average that is better than the last weights, and two shards of a data set."""
    import timm
    from timm.utils import CheckpointSaver, ModelEmaV3

    network = timm.create_model("resnet10t", num_classes=CLASSES)
    average = ModelEmaV3(network, decay=0.8)
    trained(network, 0, 1, average=average)
    with torch.no_grad():
        network.fc.weight.zero_()  # whoever takes these weights is right on no more images than chance
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    saver = CheckpointSaver(
        network, optimiser, args=argparse.Namespace(model="resnet10t"), model_ema=average, checkpoint_dir=str(folder)
    )
    saver.save_checkpoint(0, metric=0.5)
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b", "c", "d"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    (folder / "data").mkdir()
    for part in COUNTS:
        images, labels = images_of(part, SIZE)
        encoded = []
        for image in images:
            Image.fromarray(image).save(file := io.BytesIO(), "PNG")
            encoded.append({"bytes": file.getvalue(), "path": None})
        for shard, rows in enumerate(np.array_split(np.arange(len(labels)), 2)):
            table = pyarrow.table({"img": [encoded[row] for row in rows], "label": labels[rows]})
            parquet.write_table(table.replace_schema_metadata(metadata), folder / f"data/{part}-{shard}-of-2.parquet")


def robustbench_on_train_and_val(folder):
    """Write a WideResNet trained in parallel, and a folder without `test`."""
    (folder / "nets.py").write_text(NETS)
    network = of_robustbench("wide_resnet", "WideResNet")(**WIDE)
    weights = trained(network, 0, 1).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, folder / "net.pt")
    for part, name in (("train", "train"), ("test", "val")):
        for number, (image, label) in enumerate(zip(*images_of(part, SIZE), strict=True)):
            file = folder / "images" / name / f"class{label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)


@pytest.mark.parametrize(
    ("configuration", "write"),
    [(TRANSFORMERS, transformers_on_medmnist), (TIMM, timm_on_parquet), (ROBUSTBENCH, robustbench_on_train_and_val)],
)
def test_configuration_of_twelve_lines_runs_to_the_verdict(configuration, write, tmp_path):
    assert len(configuration.splitlines()) <= 12
    torch.manual_seed(0)
    write(tmp_path)
    workflow = Workflow(tmp_path, configuration)
    workflow(environment={"PYTHONPATH": str(Path.cwd())})
    verdict = (workflow.results / "tables/verdict.md").read_text()
    accuracy = pd.read_csv(workflow.results / "tables/accuracy.csv")
    assert accuracy["clean_accuracy"].max() > 0.8
    assert "chance" not in verdict
    assert (workflow.results / "figures/verdict.flatten.png").exists()
