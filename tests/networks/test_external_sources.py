"""Networks as other libraries build them, in small stand-ins: their outputs, their wrappers, their state."""

import io
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths import FeaturePathDefense
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import load_checkpoint, save_checkpoint
from featurepaths.networks.external.build import build_external
from featurepaths.paths.features import extract_blocks
from featurepaths.runtime.entry_points import load_factory
from featurepaths.store.origin import Origin

SHAPE, CLASSES = (3, 8, 8), 3


class Net(nn.Module):
    """Two layers, `a` and `b`, and three logits, handed to `after`."""

    def __init__(self, after=lambda logits: logits):
        super().__init__()
        self.after = after
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.b = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.after(self.head(self.b(self.a(images)).mean(dim=(2, 3))))


class Output(OrderedDict):
    """As transformers' ModelOutput: a dict whose entries are attributes."""

    __getattr__ = OrderedDict.__getitem__


@dataclass
class Answer:
    logits: torch.Tensor
    hidden_states: None = None


class Batch(Net):
    """It wants a dict."""

    def forward(self, batch):
        return super().forward(batch["pixel_values"])


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.LazyConv2d(4, 3), nn.Sequential(nn.ReLU(), nn.Flatten())
        self.head = nn.LazyLinear(3)

    def forward(self, images):
        return self.head(self.b(self.a(images)))


class Extra(Net):
    """State that is no tensor, and a mask of minus infinity."""

    def __init__(self):
        super().__init__()
        self.scale = 1.0
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]

    def forward(self, images):
        return super().forward(images) * self.scale


class Stubborn(Net):
    """A module that stays in training mode."""

    def train(self, mode=True):
        return super().train(True)


class WithoutParameters(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


def half():
    return Net().half()


def double():
    return Net().double()


def compiled():
    network = torch.compile(Net(), backend="eager")
    network(torch.rand(2, *SHAPE))
    return network


def compiled_within():
    network = Net()
    network.a = torch.compile(network.a, backend="eager")
    network.b.compile(backend="eager")
    network(torch.rand(2, *SHAPE))
    return network


def compiled_twice():
    """One compiled module under two names, and a name without a module."""
    network = Net()
    network.b = network.again = torch.compile(network.b, backend="eager")
    network.register_module("absent", None)
    network(torch.rand(2, *SHAPE))
    return network


def parallel():
    return nn.DataParallel(Net())


def scripted():
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))


def exported():
    return torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), (torch.rand(2, *SHAPE),))


def graph():
    return exported().module()


def meta():
    with torch.device("meta"):
        return Net()


def pair():
    return Net(), None


def weights():
    return Net().state_dict()


def plain():
    return Net()


def model_output():
    return Net(lambda logits: Output(loss=None, logits=logits))


def answer():
    return Net(Answer)


def dictionary():
    return Net(lambda logits: {"features": None, "logits": logits})


def several():
    return Net(lambda logits: (logits, logits[:, :1]))


WORKS = [
    plain,
    model_output,
    answer,
    dictionary,
    several,
    half,
    double,
    Lazy,
    Extra,
    compiled,
    compiled_within,
    compiled_twice,
    parallel,
]
REFUSED = {
    "one logit": (lambda: Net(lambda logits: logits[:, 0]), r"\(3,\).*stack"),
    "maps of one pixel": (lambda: Net(lambda logits: logits[:, :, None, None]), r"\(3, 3, 1, 1\).*flatten"),
    "maps": (lambda: Net(lambda logits: logits[:, :, None, None].expand(-1, -1, 4, 4)), "segmentation"),
    "dict without logits": (lambda: Net(lambda logits: {"out": logits, "aux": logits}), "keys out, aux"),
    "NaN": (lambda: Net(lambda logits: logits * torch.nan), "not finite"),
    "wants a dict": (Batch, "takes a dict"),
    "no parameters": (WithoutParameters, "no parameters"),
    "TorchScript": (scripted, r"torch\.jit\.load\(path\)\.state_dict"),
    "exported program": (exported, r"torch\.export\.load\(path\)\.state_dict"),
    "exported graph": (graph, "exported graph"),
    "meta device": (meta, "meta"),
    "tuple": (pair, "a tuple"),
    "weights": (weights, "`checkpoint`"),
    "training mode": (Stubborn, "overrides train"),
}


def built(factory, monkeypatch, **options):
    monkeypatch.setattr(sys.modules[__name__], "FACTORY", factory, raising=False)
    build = {"factory": f"{__name__}:FACTORY", "arguments": {}, "mean": [0.0] * 3, "std": [1.0] * 3, "size": None}
    return build, build_external(build, None, ["a", "b"], SHAPE, CLASSES, seed=0, **options)


@pytest.mark.parametrize("factory", WORKS)
def test_network_is_taken_and_comes_back_from_its_checkpoint(factory, monkeypatch, tmp_path):
    build, external = built(factory, monkeypatch)
    network = external.network
    images = torch.rand(4, *SHAPE)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (4, CLASSES)
        assert logits.dtype == torch.float32
        assert not any("_orig_mod" in name for name in network.state_dict())
        answers = network.network(images)
        answers = answers.logits if factory is answer else answers[0] if factory is several else answers
        assert torch.equal(answers if isinstance(answers, torch.Tensor) else answers["logits"], logits)
        if factory is Extra:
            network.network.scale = 2.0
            logits = network(images)
        save_checkpoint(tmp_path / "c.safetensors", network, build, external.layers, SHAPE, Origin("c", "d"))
        again, _ = load_checkpoint(tmp_path / "c.safetensors")
        assert torch.equal(again(images), logits)


@pytest.mark.parametrize("state", [io.BytesIO(b"state"), np.float64(0.5), Path("state"), lambda: None])
def test_state_that_is_not_read_without_executing_code_is_refused_when_saved(state, monkeypatch, tmp_path):
    build, external = built(Extra, monkeypatch)
    monkeypatch.setattr(Extra, "get_extra_state", lambda _: {"state": state})
    with pytest.raises(FeaturePathsError, match=r"network\._extra_state.*\(dict\)") as caught:
        save_checkpoint(tmp_path / "c.safetensors", external.network, build, external.layers, SHAPE, Origin("c", "d"))
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "c.safetensors").exists()


def test_state_that_the_checkpoint_lacks_is_reported(monkeypatch, tmp_path):
    build, external = built(plain, monkeypatch)
    save_checkpoint(tmp_path / "c.safetensors", external.network, build, external.layers, SHAPE, Origin("c", "d"))
    monkeypatch.setattr(sys.modules[__name__], "FACTORY", Extra)
    with pytest.raises(FeaturePathsError, match=r"(?s)does not fit.*network\._extra_state"):
        load_checkpoint(tmp_path / "c.safetensors")


@pytest.mark.parametrize("name", REFUSED)
def test_network_that_cannot_be_used_is_refused_for_what_it_is(name, monkeypatch):
    factory, said = REFUSED[name]
    with pytest.raises(FeaturePathsError, match=said) as caught:
        built(factory, monkeypatch)
    assert "model's size" not in str(caught.value)


def test_size_is_proposed_where_it_is_the_matter(monkeypatch):
    class OfSize(Net):
        def forward(self, images):
            assert images.shape[-1] == 32, "Input height doesn't match model"
            return super().forward(images)

    with pytest.raises(FeaturePathsError, match="size to 32"):
        built(OfSize, monkeypatch)


@pytest.mark.parametrize("factory", [model_output, answer, dictionary, several])
def test_library_and_streams_take_the_logits(factory):
    torch.manual_seed(0)
    network = factory().eval()
    plain = Net()
    plain.load_state_dict(network.state_dict())
    images, labels = torch.rand(12, *SHAPE), torch.arange(12) % CLASSES
    defense = FeaturePathDefense(network, ["a", "b"], "mean").fit([(images, labels)])
    assert torch.equal(defense.logits(images), plain.eval()(images).detach())
    pixels = (images.permute(0, 2, 3, 1) * 255).numpy().astype(np.uint8)
    (block,) = extract_blocks(network, ["a"], pixels, ["mean"])
    assert len(block) > 0


def test_library_names_shape_and_lazy_modules():
    images, labels = torch.rand(12, *SHAPE), torch.arange(12) % CLASSES
    with pytest.raises(FeaturePathsError, match=r"\(12,\).*stack"):
        FeaturePathDefense(Net(lambda logits: logits[:, 0]), ["a"], "mean").fit([(images, labels)])
    with pytest.raises(FeaturePathsError, match="lazy"):
        FeaturePathDefense(Lazy(), ["a"], "mean")
    with pytest.raises(FeaturePathsError, match="training mode"):
        FeaturePathDefense(Stubborn(), ["a"], "mean").fit([(images, labels)])


@pytest.mark.parametrize("in_place", [False, True])
def test_network_compiled_before_hooks_were_set_shows_its_layers(in_place):
    torch.manual_seed(0)
    inner, images, labels = Net().eval(), torch.rand(12, *SHAPE), torch.arange(12) % CLASSES
    plain = Net().eval()
    plain.load_state_dict(inner.state_dict())
    network, prefix = (inner, "") if in_place else (torch.compile(inner, backend="eager"), "_orig_mod.")
    if in_place:
        inner.compile(backend="eager")
    network(images)
    compiled = FeaturePathDefense(network, [f"{prefix}a", f"{prefix}b"], "mean").fit([(images, labels)])
    expected = FeaturePathDefense(plain, ["a", "b"], "mean").fit([(images, labels)])
    network.train()  # as attack libraries leave it
    torch.testing.assert_close(compiled.paths(images), expected.paths(images))


def test_wrapper_of_a_compiled_network_in_training_mode_shows_its_layers():
    wrapper = nn.Sequential(torch.compile(Net(), backend="eager"))
    images, labels = torch.rand(12, *SHAPE), torch.arange(12) % CLASSES
    wrapper.train()(images)
    defense = FeaturePathDefense(wrapper, ["0._orig_mod.a"], "mean").fit([(images, labels)])
    wrapper.train()
    assert defense.paths(images).shape == (12, 1, CLASSES)


def timm_like():
    network = Net()
    network.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "input_size": (3, 8, 8)}
    return network


def test_inputs_that_the_network_states_are_proposed(monkeypatch, tmp_path):
    _, external = built(timm_like, monkeypatch)
    (note,) = external.notes
    assert "mean: (0.5, 0.5, 0.5), std: (0.25, 0.25, 0.25)" in note
    assert "size" not in note.partition(";")[0]
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True, "size": {"height": 16}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))

    def from_folder():
        network = Net()
        network.name_or_path = str(tmp_path)
        return network

    _, external = built(from_folder, monkeypatch)
    (note,) = external.notes
    assert "mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], size: 16" in note
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor | {"rescale_factor": 0}))
    assert built(from_folder, monkeypatch)[1].notes == []


def test_lazy_attribute_of_a_module_that_cannot_be_imported_is_reported(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = "def __getattr__(name):\n    if name == 'make':\n        import missing\n    raise AttributeError(name)\n"
    (tmp_path / "lazy_nets.py").write_text(code)
    with pytest.raises(FeaturePathsError, match=r"lazy_nets:make.*No module named 'missing'.*line 3"):
        load_factory("lazy_nets:make")
    sys.modules.pop("lazy_nets", None)


def test_file_that_the_factory_opens_is_named_unless_the_configuration_does(monkeypatch, tmp_path):
    torch.save(Net().state_dict(), tmp_path / "own.pth")

    def reading():
        network = Net()
        network.load_state_dict(torch.load(tmp_path / "own.pth"))
        return network

    _, external = built(reading, monkeypatch)
    assert "own.pth" in " ".join(external.notes)
    _, external = built(reading, monkeypatch, files=[tmp_path / "own.pth"])
    assert external.notes == []
