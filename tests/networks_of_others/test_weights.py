"""Networks of timm, transformers and RobustBench, tiny and with random weights, with the files that these write.

`python -m tests.networks_of_others.test_weights docs/networks-and-checkpoints.md` writes the table of the page.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from torch import nn

from featurepaths.__main__ import main
from featurepaths.experiment.config.networks import PretrainedNetwork
from featurepaths.networks.external.build import build_external
from featurepaths.networks.resnet import Normalise
from tests.checkpoint_kinds import prefixed, update
from tests.networks_of_others import families

MARK = "<!-- make test-networks writes what follows, up to the next mark -->\n"
END = "<!-- the end of the table of networks -->\n"
CLASSES = 10
SIZE = 32


class Source(NamedTuple):
    """A network of a library, and how its files are written.

    `save(folder)` writes them and returns the section of the configuration and the library's own network with these
    weights, whose output for normalised images `reference` turns into logits.
    """

    package: str
    save: object
    reference: object = lambda network, images: network(images)


def of_transformers(name, size=SIZE, shards=None, **options):
    """A network of transformers in a folder as `save_pretrained` writes it, in shards of a size if it is given."""

    def save(folder):
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        network = getattr(transformers, f"{name}ForImageClassification")(config).eval()
        randomise(network)
        network.save_pretrained(folder / "net", **({"max_shard_size": shards} if shards else {}))
        transformers.ViTImageProcessor(
            size={"height": size, "width": size}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.5]
        ).save_pretrained(folder / "net")
        section = {
            "factory": "transformers:AutoModelForImageClassification.from_pretrained",
            "arguments": {"pretrained_model_name_or_path": "net"},
        }
        return section, network

    return Source("transformers", save, lambda network, images: network(images).logits)


def of_timm(name, average=False, **options):
    """A network of timm with a checkpoint as its training script writes it."""

    def save(folder):
        import timm
        from timm.utils import CheckpointSaver, ModelEmaV3

        def create():
            network = timm.create_model(name, num_classes=CLASSES, **options)
            randomise(network)
            return network

        torch.manual_seed(0)
        network = create()
        ema = ModelEmaV3(network)
        randomise(ema.module)
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        args = argparse.Namespace(model=name, lr=0.1)
        saver = CheckpointSaver(
            network, optimiser, args=args, model_ema=ema if average else None, checkpoint_dir=str(folder)
        )
        saver.save_checkpoint(0, metric=0.5)
        right = ema.module if average else network
        arguments = {"model_name": name, "num_classes": CLASSES, **options}
        section = {"factory": "timm:create_model", "arguments": arguments, "checkpoint": "last.pth.tar"}
        return section, right.eval()

    return Source("timm", save)


def of_robustbench(module, name, wrap, **options):
    """A network of RobustBench's architectures with weights under `state_dict`, changed by `wrap`."""

    def save(folder):
        torch.manual_seed(0)
        make = families.of_robustbench(module, name)
        network = make(**options)
        randomise(network)
        torch.save({"state_dict": wrap(network.state_dict()), "epoch": 3}, folder / "net.pt")
        section = {"factory": f"{make.__module__}:{name}", "arguments": options, "checkpoint": "net.pt"}
        return section, network.eval()

    return Source("robustbench", save)


def randomise(network):
    """Draw parameters that some libraries set to 0, so that logits and gradients are not 0."""
    for parameter in network.parameters():
        if parameter.std(correction=0) == 0:
            nn.init.normal_(parameter, 0.5, 0.2)


def beside(weights):
    """Return weights with the constants that older files of RobustBench hold beside them."""
    return prefixed("module.", weights) | {"mu": torch.full((3,), 0.5), "sigma": torch.full((3,), 0.25)}


VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SQUARE = {"image_size": SIZE, "patch_size": 8}
STAGES = {"depths": [1, 1, 1, 1]}
SWIN = {"image_size": SIZE, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SOURCES = {
    "transformers ViT": of_transformers("ViT", **VIT, **SQUARE),
    "transformers ViT, sharded with an index": of_transformers("ViT", shards="10KB", **VIT, **SQUARE),
    "transformers DeiT": of_transformers("DeiT", **VIT, **SQUARE),
    "transformers BEiT": of_transformers("Beit", **VIT, **SQUARE),
    "transformers Data2Vec": of_transformers("Data2VecVision", **VIT, **SQUARE),
    "transformers DINOv2": of_transformers("Dinov2", **{**VIT, **SQUARE}),
    "transformers Swin": of_transformers("Swin", **SWIN),
    "transformers Swin V2": of_transformers("Swinv2", **SWIN),
    "transformers ConvNeXt": of_transformers("ConvNext", hidden_sizes=[8, 8, 16, 16], **STAGES),
    "transformers ConvNeXt V2": of_transformers("ConvNextV2", hidden_sizes=[8, 8, 16, 16], **STAGES),
    "transformers ResNet": of_transformers("ResNet", embedding_size=8, hidden_sizes=[8, 8, 16, 16], **STAGES),
    "transformers RegNet": of_transformers(
        "RegNet", embedding_size=8, hidden_sizes=[8, 8, 16, 16], groups_width=8, **STAGES
    ),
    "transformers MobileNet V2": of_transformers("MobileNetV2", depth_multiplier=0.25, min_depth=8),
    "transformers PoolFormer": of_transformers("PoolFormer", hidden_sizes=[8, 8, 16, 16], **STAGES),
    "transformers PVT": of_transformers(
        "Pvt", image_size=SIZE, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], **STAGES
    ),
    "timm ViT, with the average": of_timm(
        "vit_tiny_patch16_224", True, img_size=SIZE, patch_size=8, embed_dim=24, depth=3
    ),
    "timm ViT, without an average": of_timm("vit_tiny_patch16_224", img_size=SIZE, patch_size=8, embed_dim=24, depth=3),
    "timm ResNet": of_timm("resnet10t", True),
    "timm ConvNeXt": of_timm("convnext_atto", True, depths=[1, 1, 1, 1], dims=[8, 8, 16, 16]),
    "timm EfficientNet": of_timm("tinynet_e", True),
    "timm Swin": of_timm("swin_tiny_patch4_window7_224", True, img_size=SIZE, window_size=4, embed_dim=24,
                         depths=[2, 2], num_heads=[2, 4]),
    "timm MobileNet V3": of_timm("mobilenetv3_small_050", True),
    "RobustBench WideResNet, `module.`": of_robustbench(
        "wide_resnet", "WideResNet", lambda w: prefixed("module.", w), depth=10, widen_factor=1
    ),
    "RobustBench WideResNet, `mu` and `sigma` beside": of_robustbench(
        "wide_resnet", "WideResNet", beside, depth=10, widen_factor=1
    ),
    "RobustBench WideResNet with sub_block1": of_robustbench(
        "wide_resnet", "WideResNet", lambda w: prefixed("model.", w), depth=10, widen_factor=1, sub_block1=True
    ),
    "RobustBench DMWideResNet": of_robustbench(
        "dm_wide_resnet", "DMWideResNet", lambda w: prefixed("module.0.", w), depth=10, width=1
    ),
    "RobustBench PreActResNet18": of_robustbench("resnet", "PreActResNet18", lambda w: prefixed("module.", w)),
}  # fmt: skip


def head(network):
    """Return the name of the last linear layer, a layer that every network has."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def measure(name, folder):
    """Build a network as the configuration does; return it, the section and the largest difference of its logits."""
    section, library = SOURCES[name].save(folder)
    model = PretrainedNetwork(**section)
    build = {"factory": model.factory, "arguments": model.arguments, "size": None}
    build |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.5]}
    weights = folder / model.checkpoint if model.checkpoint else None
    layers, shape = [head(library)], (3, SIZE, SIZE)
    external = build_external(build, weights, layers, shape, CLASSES, 0, files=list(model.external_files().values()))
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = SOURCES[name].reference(library, Normalise(build["mean"], build["std"])(images))
        difference = (external.network(images) - expected).abs().max() / expected.abs().max()
    return external, model, float(difference)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SOURCES)
def test_network_has_the_logits_of_its_library(name, folder):
    if not packages_distributions().get(SOURCES[name].package):
        pytest.skip(f"{SOURCES[name].package} is not installed")
    external, model, difference = measure(name, folder)
    assert difference < 1e-5
    assert external.doubts == []
    assert any(file.suffix in (".safetensors", ".pt", ".tar") for file in model.external_files().values())


def test_check_names_average_and_proposes_inputs(folder, capsys):
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    sections = {}
    for key, name in {"vit": "transformers ViT", "ema": "timm ViT, with the average"}.items():
        sections[key] = SOURCES[name].save(folder)[0] | {"layers": "*.layers.?" if key == "vit" else "auto"}
    config = {
        "name": "others",
        "data": {"source": "digits"},
        "models": sections,
        "attacks": {"apgd": {"eps": "1/20"}},
        "calibration": {"attack": "apgd", "stopping_rule": "first-success"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    main(["check", "c.yaml"])
    printed = capsys.readouterr().out
    assert re.search(r"NOTE +models.vit: net/preprocessor_config.json states mean: \[0.4, 0.5, 0.6\]", printed)
    assert re.search(r"NOTE +models.ema: weights: state_dict_ema of last.pth.tar, the average; not state_dict", printed)
    assert re.search(r"NOTE +models.ema: its pretrained_cfg states mean", printed)


CROPPED = {"crop_size": {"height": SIZE, "width": SIZE}, "size": {"shortest_edge": SIZE}}
SQUARED = {"size": {"height": SIZE, "width": SIZE}}
PROCESSORS = [
    ("ViTImageProcessor", SQUARED),
    ("ViTImageProcessor", {**SQUARED, "do_normalize": False}),
    ("ViTImageProcessor", {**SQUARED, "rescale_factor": 1 / 127.5}),
    ("BitImageProcessor", CROPPED),
]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_proposed_normalisation_is_the_processors(folder, processor):
    transformers = pytest.importorskip("transformers")
    from featurepaths.networks.external.inputs import stated_inputs

    name, options = processor
    processor = getattr(transformers, name)(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.5], **options)
    processor.save_pretrained(folder)
    network = nn.Module()
    network.name_or_path = str(folder)
    _, stated = stated_inputs(network)
    pixels = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)
    expected = processor(images=pixels, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(Normalise(stated["mean"], stated["std"])(pixels / 255), expected, atol=1e-4, rtol=1e-4)
    assert stated["size"] == SIZE


def table():
    """Return the table of the page: what was tried, and how far the logits are from the library's."""
    packages = ("torch", "timm", "transformers", "robustbench")
    lines = [f"Tried with {', '.join(f'{name} {version(name)}' for name in packages)}.\n"]
    lines += ["| network | factory | weights | greatest difference of a logit |", "|:--|:--|:--|--:|"]
    for name in SOURCES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            _, model, difference = measure(name, Path(folder))
        assert difference < 1e-5, name
        weights = f"`checkpoint: {model.checkpoint}`" if model.checkpoint else "read by the factory"
        lines.append(f"| {name} | `{model.factory}` | {weights} | {'0' if difference == 0 else f'{difference:.0e}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    update(Path(sys.argv[1]), MARK, END, table())
