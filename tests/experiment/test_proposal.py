"""`featurepaths new`: the configuration that it writes for kinds of data and networks, and what it refuses."""

import shlex

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from featurepaths.__main__ import main
from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.preview import Layer, read
from featurepaths.experiment.proposal import create, estimate, numbers
from featurepaths.experiment.proposal.estimate import Speed, measure, seconds_of, with_memory
from featurepaths.experiment.proposal.network import stated_by_library
from featurepaths.experiment.proposal.requests import data_section, name_from, network_section
from tests.experiments import save_arrays, small_experiment

SPEED = Speed(both=0.001, forward=0.0003, start=1.0, resisting=0.2, lanes=2)
SHUFFLENET = "torchvision.models:shufflenet_v2_x0_5"
NETS = """
import torch
from torch import nn


def block(width, into):
    return nn.Sequential(nn.Conv2d(into, width, 3, 2, 1), nn.ReLU())


def small(num_classes=7, channels=3):
    blocks = nn.Sequential(block(4, channels), block(4, 4))
    return nn.Sequential(blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def seven():
    return small()


def grey(num_classes):
    return small(num_classes, 1)


def stripes():
    labels = torch.arange(60) % 3
    images = (labels.view(-1, 1, 1) * 80 + torch.arange(32 * 32).view(32, 32) % 40).byte().numpy()
    return (images, labels.numpy()), (images[:30], labels[:30].numpy()), None
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a module of networks, and a speed that does not depend on the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(create, "measure", lambda *arguments: SPEED)
    (tmp_path / "new_nets.py").write_text(NETS)
    return tmp_path


def pictures(root, sizes=(32,), classes=3, train=12, test=4):
    """A folder of pictures, of a grey level per class."""
    for part, count in (("train", train), ("test", test)):
        for label in range(classes):
            (root / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                side = sizes[number % len(sizes)]
                pixels = np.random.default_rng(number).integers(0, 60, (side, side, 3)) + 90 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / f"class{label}" / f"{number}.png")


def new(capsys, *words):
    """Return the lines that `featurepaths new mine.yaml` prints, the text that it writes, and that as values."""
    main(["new", "mine.yaml", *map(str, words)])
    with open("mine.yaml") as file:  # noqa: PTH123 (the working directory)
        text = file.read()
    read_from, _ = read(create.Path("mine.yaml"))
    assert read_from.name == "mine"
    return capsys.readouterr().out.splitlines(), text, yaml.safe_load(text)


def refused(*words):
    with pytest.raises(SystemExit) as caught:
        main(["new", "mine.yaml", *map(str, words)])
    return str(caught.value.code)


DATA = {
    "digits": (["digits"], {"source": "digits"}),
    "cifar": (["cifar10"], {"source": "cifar10", "root": "data", "download": True}),
    "cifar_folder": (["there"], {"source": "cifar100", "root": "there"}),
    "cifar_inside": (["there/cifar-100-python"], {"source": "cifar100", "root": "there"}),
    "pictures": (["photos/"], {"source": "folder", "root": "photos"}),
    "one_file": (["data.npz"], {"source": "arrays", "train": "data.npz", "test": "data.npz"}),
    "two_files": (["a.h5", "b.h5"], {"source": "arrays", "train": "a.h5", "test": "b.h5"}),
    "files_in_folder": (["arrays"], {"source": "arrays", "train": "arrays/train.npz", "test": "arrays/val.npz"}),
    "file_in_folder": (["one"], {"source": "arrays", "train": "one/all.npz", "test": "one/all.npz"}),
    "parquet": (
        ["hub"],
        {"source": "parquet", "train": "hub/data/train-*.parquet", "test": "hub/data/validation-*.parquet"},
    ),
    "torchvision": (["SVHN"], {"source": "torchvision", "dataset": "SVHN", "root": "data"}),
    "function": (["new_nets:stripes"], {"source": "factory", "factory": "new_nets:stripes"}),
    "section": (["{source: digits, size: 64}"], {"source": "digits", "size": 64}),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_word_is_section(kind, folder):
    for path in ("there/cifar-100-python", "photos/train", "arrays", "one", "hub/data"):
        (folder / path).mkdir(parents=True)
    for file in ("data.npz", "arrays/train.npz", "arrays/val.npz", "one/all.npz"):
        (folder / file).touch()
    for file in ("train-0.parquet", "train-1.parquet", "validation-0.parquet"):
        (folder / "hub/data" / file).touch()
    words, section = DATA[kind]
    assert data_section(words) == section


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no file or folder 'nowhere'"),
        (["SHVN"], "did you mean 'SVHN'?"),
        (["empty"], "empty has neither"),
        (["images.npy"], "train: {images: a.npy"),
        (["a.npz", "b.npz", "c.npz"], "3 words"),
        (["notes.txt"], "notes.txt"),
        (["{root: photos}"], "no key 'source'"),
        (["{source: digits, sise: 3}"], "sise"),
    ],
)
def test_data_word_unknown_is_refused_with_one_message(words, said, folder):
    (folder / "empty").mkdir()
    for file in ("images.npy", "notes.txt"):
        (folder / file).touch()
    assert said in refused("--data", *words)
    assert not (folder / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("word", "section"),
    [
        (SHUFFLENET, {"factory": SHUFFLENET}),
        ("timm:resnet18.a1_in1k", {"factory": "timm:create_model", "arguments": {"model_name": "resnet18.a1_in1k"}}),
        (
            "net",
            {
                "factory": "transformers:AutoModelForImageClassification.from_pretrained",
                "arguments": {"pretrained_model_name_or_path": "net"},
            },
        ),
        ("{factory: 'a:b', arguments: {depth: 10}}", {"factory": "a:b", "arguments": {"depth": 10}}),
    ],
)
def test_network_word_is_section(word, section, folder):
    (folder / "net").mkdir()
    (folder / "net/config.json").touch()
    assert network_section(word, None) == section
    assert network_section(word, "a.pth") == section | {"checkpoint": "a.pth"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SHUFFLENET, "shufflenet_v2_x0_5"),
        ("../nets/vit-base/", "vit_base"),
        ("timm:resnet18", "resnet18"),
        ("timm:resnet18.a1_in1k", "resnet18_a1_in1k"),
        ("models/model.v2/", "model_v2"),
        ("models:Net.from_pretrained", "from_pretrained"),
        ("é", "mine"),
    ],
)
def test_name_is_that_of_the_last_part(text, name):
    assert name_from(text) == name


def test_network_word_unknown_is_refused(folder):
    assert "resnet18" in refused("--network", "resnet18")
    assert "no module 'nowhere'" in refused("--network", "nowhere:resnet18")
    assert "--network" in refused("--checkpoint", "net.pth")


@pytest.mark.parametrize(("name", "given"), [("resnet18", None), ("efficientnet_v2_l", None), ("vit_b_16", "SWAG")])
def test_stated_inputs_are_those_of_torchvisions_weights(name, given):
    """Against torchvision's own transforms, applied to an image."""
    published = torchvision.models.get_model_weights(name)
    weights = next(each for each in published if given in each.name) if given else published.DEFAULT
    arguments = {"weights": weights.name} if given else {}
    section = {"factory": f"torchvision.models:{name}", "arguments": arguments}
    stated = stated_by_library(section, torch.nn.Identity())
    size = stated.values["size"]
    image = torch.rand(3, size, size)
    mean, std = (torch.tensor(stated.values[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = weights.transforms(resize_size=size)(image) if "resize" in str(weights.transforms()) else None
    torch.testing.assert_close((image - mean) / std, expected)
    assert stated.source.endswith(str(weights))
    assert stated.own == bool(given)


def test_network_without_metadata_states_nothing(folder):
    for factory in ("torchvision.models:VisionTransformer", "new_nets:small"):
        assert stated_by_library({"factory": factory}, torch.nn.Identity()).values == {}


def test_new_of_torchvision_network_and_pictures(folder, capsys):
    """The file means what was asked for, and passes `featurepaths check`."""
    pictures(folder / "photos", sizes=(48,), train=50)
    torch.manual_seed(0)
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict(), folder / "net.pth")
    words = ["--network", SHUFFLENET, "--checkpoint", "net.pth", "--data", "photos", "--eps", "4/255"]
    lines, text, config = new(capsys, *words)
    imagenet = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()
    assert config["models"] == {
        "shufflenet_v2_x0_5": {
            "factory": SHUFFLENET,
            "arguments": {"num_classes": 3},
            "checkpoint": "net.pth",
            "mean": imagenet.mean,
            "std": imagenet.std,
        }
    }
    assert config["data"] == {"source": "folder", "root": "photos", "calibration": "1/5"}
    assert config["attacks"]["apgd"] == {
        "eps": "4/255",
        "iterations": 20,
        "stopping_rule": ["first-success", "max-loss"],
        "max_images": 12,
    }
    assert "training" not in config
    assert text.startswith("# Made by: featurepaths new mine.yaml --network")
    assert "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1" in text
    assert 30 <= len(text.splitlines()) <= 55
    assert max(map(len, text.splitlines())) <= 160
    said = "\n".join(lines)
    assert "150 training and 12 test images of 3 classes, 48x48 pixels" in said
    assert "224x224" in said, "the published weights have another size"
    assert "only 30 calibration images" in said
    assert lines[-1] == "next      featurepaths run mine.yaml"
    main(["check", "mine.yaml"])
    assert "WRONG" not in capsys.readouterr().out


def test_new_command_in_the_file_makes_it_again(folder, capsys):
    save_arrays(folder, 60, 3)
    _, text, _ = new(capsys, "--network", "{factory: 'new_nets:small'}", "--data", "data.npz")
    command = shlex.split(text.splitlines()[0].removeprefix("# Made by: "))
    assert command[:2] == ["featurepaths", "new"]
    main([*command[1:], "--force"])
    assert (folder / "mine.yaml").read_text() == text


def test_new_without_network_trains_one(folder, capsys):
    lines, _, config = new(capsys, "--eps", "0.15")
    assert config["models"] == {"resnet18": {"architecture": "resnet18", "width": 16}}
    assert list(config["training"]) == ["standard", "adversarial"]
    assert config["training"]["adversarial"]["adversary"] == {"method": "single-step", "eps": 0.15}
    assert config["attacks"]["apgd"]["eps"] == 0.15
    assert any("1,437 training and 360 test images of 10 classes" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "section"),
    [
        (["FakeData"], None),
        (["{source: torchvision, dataset: FakeData, arguments: {image_size: [3, 32, 32], num_classes: 4}, "
          "train: {size: 200}, test: {size: 100, random_offset: 200}}"], {"source": "torchvision"}),
        (["new_nets:stripes"], {"source": "factory", "factory": "new_nets:stripes"}),
        (["data.npz"], {"source": "arrays", "train": "data.npz"}),
        (["part.npz", "data.npz"], {"source": "arrays", "train": "part.npz", "test": "data.npz"}),
        (["data.parquet", "test.parquet"], {"source": "parquet", "train": "data.parquet"}),
        (["cifar10"], {"source": "cifar10", "download": True}),
    ],
)  # fmt: skip
def test_new_reads_every_source(words, section, folder, capsys):
    save_arrays(folder, 60, 3)
    with np.load("data.npz") as file:
        np.savez("part.npz", images=file["train_images"], labels=file["train_labels"])
    if "data.parquet" in words:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
        save_parquet(folder)
        words = [f"{{source: parquet, train: {words[0]}, test: {words[1]}, image: image, label: label}}"]
    if section is None:  # both parts would be the same
        assert "training and the test images would be the same" in refused("--data", *words)
        return
    _, _, config = new(capsys, "--data", *words)
    assert section.items() <= config["data"].items()


def save_parquet(folder):
    import io

    import pyarrow
    from pyarrow import parquet

    def encoded(label):
        Image.fromarray(np.full((32, 32, 3), 80 * label, np.uint8)).save(stream := io.BytesIO(), format="PNG")
        return {"bytes": stream.getvalue(), "path": None}

    labels = [number % 3 for number in range(60)]
    table = pyarrow.table({"image": [encoded(label) for label in labels], "label": labels})
    for name in ("data", "test"):
        parquet.write_table(table, folder / f"{name}.parquet")


def test_new_existing_file_is_overwritten_only_by_force(folder, capsys):
    (folder / "mine.yaml").write_text("mine")
    assert "--force" in refused()
    assert (folder / "mine.yaml").read_text() == "mine"
    new(capsys, "--force")


@pytest.mark.parametrize(
    ("network", "data", "said"),
    [
        (SHUFFLENET, "data.npz", "does not fit the network"),
        ("new_nets:seven", "data.npz", "7 logits, but the data have 3 classes"),
        (SHUFFLENET, "grey.npz", "1 channels, and the network takes 3"),
        ("new_nets:grey", "data.npz", "3 channels, and the network takes 1"),
    ],
)
def test_new_network_that_does_not_fit_is_refused(network, data, said, folder):
    save_arrays(folder, 60, 3)
    with np.load("data.npz") as file:
        np.savez("grey.npz", **{name: values[..., 0] if values.ndim > 1 else values for name, values in file.items()})
    checkpoint = []
    if said.startswith("does not fit"):
        torch.save(torch.nn.Linear(2, 3).state_dict(), "net.pth")
        checkpoint = ["--checkpoint", "net.pth"]
    assert said in refused("--network", network, *checkpoint, "--data", data)
    assert not (folder / "mine.yaml").exists()


def test_new_eps_that_no_image_can_reach_is_refused(folder):
    assert "eps" in refused("--eps", "8")
    assert not (folder / "mine.yaml").exists()


@pytest.mark.parametrize("eps", ["[", "", "0", "-1/255", "8/0", "0.1, iterations: 2"])
def test_new_eps_that_is_no_radius_is_refused_before_anything_is_read(eps, folder, monkeypatch):
    monkeypatch.setattr(create, "propose_data", lambda *arguments: pytest.fail("the data were read"))
    assert "--eps" in refused(f"--eps={eps}")
    assert not (folder / "mine.yaml").exists()


def test_new_file_with_a_blank_is_quoted_for_a_shell(folder, capsys):
    save_arrays(folder, 60, 3)
    main(["new", "my net.yaml", "--data", "data.npz", "--network", "new_nets:small", "--eps", "\t8 / 255"])
    text = (folder / "my net.yaml").read_text()
    assert shlex.split(text.splitlines()[1].removeprefix("# Next:")) == ["featurepaths", "run", "my net.yaml"]
    assert capsys.readouterr().out.splitlines()[-1].endswith("run 'my net.yaml'")
    assert yaml.safe_load(text)["attacks"]["apgd"]["eps"] == "8/255"


@pytest.mark.parametrize(("gib", "lanes"), [(1, 1), (9, 2), (1000, 8)])
def test_lanes_are_jobs_of_attacks_that_fit_into_memory(gib, lanes, monkeypatch):
    """A job of a given network at 32x32 requests 3768 MB: 3000, and 6 for each of 64 images, doubled."""
    monkeypatch.setattr(estimate, "machine_memory_mb", lambda: gib * 1024)
    config = small_experiment("mine", models={"net": {"factory": "a:b"}}, training=None)
    speed = with_memory(SPEED._replace(lanes=8), read_experiment(config), DataSize(150, 10))
    assert speed == SPEED._replace(lanes=lanes)


def test_new_pictures_of_several_sizes_are_resized(folder, capsys):
    pictures(folder / "photos", sizes=(40, 48))
    _, text, config = new(capsys, "--data", "photos", "--network", "new_nets:small")
    assert config["data"]["size"] == 64
    assert "set mean and std" in text
    assert "mean" not in config["models"]["small"]
    torchvisions = ["--network", SHUFFLENET, "--force"]
    _, _, config = new(capsys, "--data", "photos", *torchvisions)
    assert config["data"]["size"] == torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms().crop_size[0]


def test_new_network_of_one_size_gets_it(folder, capsys):
    save_arrays(folder, 60, 3)
    vit = (
        "{factory: 'torchvision.models:VisionTransformer', arguments: {image_size: 64, patch_size: 16, num_layers: 2, "
    )
    _, text, config = new(
        capsys, "--data", "data.npz", "--network", vit + "num_heads: 2, hidden_dim: 8, mlp_dim: 8, num_classes: 3}}"
    )
    assert config["models"]["network"]["size"] == 64
    assert "does not accept images of 32x32" in text


def test_new_network_at_chance_is_warned_of(folder, capsys):
    save_arrays(folder, 150, 3)
    torch.manual_seed(0)
    lines, _, _ = new(capsys, "--network", SHUFFLENET, "--data", "data.npz")
    warnings = [line for line in lines if line.startswith("WARNING")]
    assert any("chance" in line for line in warnings)
    assert any("random" in line for line in warnings)


def test_numbers_grow_with_speed_and_never_exceed_the_test_images():
    slow, fast = (numbers.largest_that_fits(lambda rung, each=each: each * rung.adaptive, 700) for each in (100, 1e-3))
    assert slow == numbers.LADDER[0]
    assert fast == (700, 700, 200)
    assert numbers.largest_that_fits(lambda rung: 1e9, 40) == (40, 32, 16)


@pytest.mark.parametrize(("channels", "fits"), [(64, True), (64_000, False)])
def test_flattened_features_are_proposed_where_memory_and_disk_hold_them(channels, fits, monkeypatch):
    monkeypatch.setattr(numbers, "free_space", lambda: 10**12)
    monkeypatch.setattr(numbers.os, "sysconf", lambda name: 2**16)  # 4 GiB
    layers = [Layer("first", (channels, 8, 8))]
    assert numbers.flatten_fits(layers, DataSize(1000, 100), dump=10**9) == fits
    assert not numbers.flatten_fits(layers[:1], DataSize(1000, 2), dump=10**12)


def test_estimate_counts_passes():
    """Against passes counted by hand: of an attack, and of searches that attack what resists."""
    counts, size, layers = {"train": 100, "calibration": 10, "test": 40}, DataSize(150, 10), [Layer("a", (1,))]
    only_passes = Speed(both=1, forward=0, start=0, resisting=0, lanes=1)
    model = {"net": {"factory": "a:b"}}
    config = small_experiment("mine", models=model, training=None, attacks={"apgd": {"eps": "1/10", "iterations": 3}})

    def seconds(speed=only_passes, **sections):
        return seconds_of(read_experiment(config | sections), counts, size, layers, speed)

    assert seconds() == pytest.approx((10 + 40) * (3 + 2), rel=1e-3)
    adaptive = {"attack": "apgd", "max_images": 20, "iterations": 4, "losses": ["ce"], "objectives": ["evade"],
                "n_targets": 0, "controls": None}  # fmt: skip
    detectors = {"adaptive": adaptive, "detectors": ["confidence"]}
    assert seconds(**detectors) - seconds() == pytest.approx(20 * 6, rel=1e-2), "one search, on the detector"
    resisting = only_passes._replace(resisting=1)
    assert seconds(resisting, **detectors) - seconds() == pytest.approx(20 * 6 * 4, rel=1e-2), "and three searches"
    assert seconds(only_passes._replace(lanes=2), shards={"attacks": 2}) == pytest.approx(seconds() / 2, rel=1e-2)


def test_measure_of_a_slower_network_is_slower():
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (64, 32, 32, 3), np.uint8), np.arange(64) % 10

    def network(width):
        layers = torch.nn.Conv2d(3, width, 3), torch.nn.Conv2d(width, width, 3), torch.nn.AdaptiveAvgPool2d(1)
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(width, 10))

    narrow, wide = (measure(network(width), images, labels, 0.1) for width in (8, 128))
    assert wide.both > 4 * narrow.both
    assert wide.both > wide.forward > 0
    assert narrow.start > 0.1
    assert 0 <= narrow.resisting <= 1


def test_few_images_are_warned_of():
    assert len(numbers.few_images({"train": 900, "calibration": 99, "test": 100})) == 1
    assert numbers.few_images({"train": 900, "calibration": 100, "test": 100}) == []


def test_data_error_names_how_to_set_further_keys(folder):
    save_arrays(folder, 60, 3)
    with np.load("data.npz") as file:
        np.savez("data.npz", **{name: values + ("labels" in name) for name, values in file.items()})
    with pytest.raises(FeaturePathsError, match="first_label") as caught:
        list(create.create(create.Request(create.Path("mine.yaml"), None, None, ["data.npz"], "8/255")))
    assert "--data '{source: arrays, train: data.npz, test: data.npz}'" in str(caught.value)
