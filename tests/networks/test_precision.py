import torch
from torch import nn

from featurepaths.networks.forward import InPrecision, memory_format, resolve_precision
from featurepaths.networks.resnet import ResNet

CPU = torch.device("cpu")


def test_auto_follows_the_processor(monkeypatch):
    for found, expected in (({"avx512_bf16": True}, "bfloat16"), ({"avx2": True}, "float32"), ({}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"


def test_channels_last_is_for_tensor_cores():
    assert memory_format("bfloat16", torch.device("cuda")) == torch.channels_last
    for device, precision in (("cuda", "float32"), ("cpu", "bfloat16"), ("cpu", "float32")):
        assert memory_format(precision, torch.device(device)) == torch.contiguous_format


def test_float32_changes_nothing():
    network, images = ResNet("resnet18", 10, width=8).eval(), torch.rand(4, 3, 32, 32)
    assert torch.equal(InPrecision(network, "float32")(images), network(images))


def test_bfloat16_computes_convolutions_in_it_and_keeps_the_rest():
    network, images = ResNet("resnet18", 10, width=8), torch.rand(4, 3, 32, 32, requires_grad=True)
    recorded = []
    network.blocks[0].conv1.register_forward_hook(lambda *of: recorded.append(of[2].dtype))
    logits = InPrecision(network.eval(), "bfloat16")(images)
    assert recorded == [torch.bfloat16]
    assert logits.dtype == torch.float32
    exact = network(images)
    difference = (logits - exact).abs().max() / exact.abs().max()
    assert 0 < difference < 0.05
    nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()
    assert images.grad.dtype == torch.float32
    assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in network.parameters())
