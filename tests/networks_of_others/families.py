"""Families of networks of other libraries, small and with random weights, and how many blocks each is built of.

The numbers are the sums of the depths in the libraries' own configurations, not what the finder returns.
"""

import importlib
import sys
import types
from importlib.metadata import distribution

from torchvision import models as torchvision


def vit(**arguments):
    return torchvision.VisionTransformer(**{"image_size": 32, "patch_size": 8, "num_heads": 2} | arguments)


TORCHVISION = {
    "ResNet": (torchvision.resnet18, 64, 2 + 2 + 2 + 2),
    "ResNeXt": (torchvision.resnext50_32x4d, 32, 3 + 4 + 6 + 3),
    "DenseNet": (torchvision.densenet121, 32, 4),
    "GoogLeNet": (lambda **of: torchvision.googlenet(init_weights=False, aux_logits=False, **of), 32, 2 + 5 + 2),
    "Inception v3": (lambda **of: torchvision.inception_v3(init_weights=False, **of), 75, 3 + 1 + 4 + 1 + 2),
    "SqueezeNet": (torchvision.squeezenet1_1, 64, 8),
    "ShuffleNet v2": (torchvision.shufflenet_v2_x0_5, 64, 4 + 8 + 4),
    "MobileNet v2": (torchvision.mobilenet_v2, 64, 1 + 2 + 3 + 4 + 3 + 3 + 1),
    "MobileNet v3": (torchvision.mobilenet_v3_small, 64, 11),
    "MNASNet": (torchvision.mnasnet0_5, 64, 3 + 3 + 3 + 2 + 4 + 1),
    "EfficientNet": (torchvision.efficientnet_b0, 64, 1 + 2 + 2 + 3 + 3 + 4 + 1),
    "EfficientNet v2": (torchvision.efficientnet_v2_s, 32, 2 + 4 + 4 + 6 + 9 + 15),
    "RegNet": (torchvision.regnet_y_400mf, 64, 1 + 3 + 6 + 6),
    "ConvNeXt": (torchvision.convnext_tiny, 32, 3 + 3 + 9 + 3),
    "ViT": (lambda **of: vit(num_layers=3, hidden_dim=16, mlp_dim=32, **of), 32, 3),
    "Swin": (lambda **of: torchvision.SwinTransformer([4, 4], 8, [2, 1, 2], [1, 2, 2], [2, 2], **of), 64, 2 + 1 + 2),
    "MaxViT": (
        lambda **of: torchvision.MaxVit((64, 64), 16, 2, [8, 16], [2, 1], 8, 0.0, **of),
        64,
        2 + 1,
    ),
}
"""By family: a function of num_classes, the height and width of its images, and its number of blocks."""

TIMM = {
    "beit_base_patch16_224": ({"embed_dim": 48, "num_heads": 3}, 12),
    "botnet26t_256": ({}, 2 + 2 + 2 + 2),
    "caformer_s18": ({}, 3 + 3 + 9 + 3),
    "convmixer_768_32": ({}, 32),
    "convnext_atto": ({}, 2 + 2 + 6 + 2),
    "cs3darknet_focus_s": ({}, 4),
    "davit_tiny": ({}, 2 * (1 + 1 + 3 + 1)),
    "edgenext_xx_small": ({}, 2 + 2 + 6 + 2),
    "efficientvim_m1": ({}, 2 + 2 + 2),
    "fastvit_t8": ({}, 2 + 2 + 4 + 2),
    "gcvit_xxtiny": ({}, 2 + 2 + 6 + 2),
    "gernet_s": ({}, 1 + 3 + 7 + 2 + 1),
    "halonet26t": ({}, 2 + 2 + 2 + 2),
    "hrnet_w18_small": ({}, 1 + 1 + 1 + 1),
    "lambda_resnet26t": ({}, 2 + 2 + 2 + 2),
    "levit_128s": ({}, 2 + 3 + 4),
    "lcnet_050": ({}, 1 + 2 + 2 + 1 + 5 + 2),
    "mobilenetv4_conv_small": ({}, 2 + 2 + 6 + 6 + 1),
    "mobileone_s1": ({}, 2 * (2 + 8 + 10 + 1)),
    "mvitv2_tiny": ({}, 1 + 2 + 5 + 2),
    "nextvit_small": ({}, 3 + 4 + 10 + 3),
    "pit_ti_224": ({}, 2 + 6 + 4),
    "pvt_v2_b0": ({}, 2 + 2 + 2 + 2),
    "resnet10t": ({}, 1 + 1 + 1 + 1),
    "shvit_s1": ({}, 2 + 4 + 5),
    "swin_tiny_patch4_window7_224": ({"embed_dim": 24, "depths": (2, 1, 2, 1)}, 2 + 1 + 2 + 1),
    "tf_efficientnetv2_b0": ({}, 1 + 2 + 2 + 3 + 5 + 8),
    "tnt_s_legacy_patch16_224": ({"embed_dim": 96, "inner_dim": 8, "num_heads_outer": 3}, 12),
    "tresnet_m": ({}, 3 + 4 + 11 + 3),
    "vit_small_r26_s32_224": ({"embed_dim": 48, "depth": 4, "num_heads": 3}, 2 + 2 + 2 + 2 + 4),
    "xcit_nano_12_p8_224": ({}, 12 + 2),
}
"""By name: further arguments, and the number of blocks."""

STAGES = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
TOKENS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
IMAGES = {"image_size": 32, "patch_size": 8}
WINDOWS = {"image_size": 64, "embed_dim": 16, "depths": [2, 2, 2], "num_heads": [1, 2, 2], "window_size": 2}
HEADS = {"num_attention_heads": [1, 2, 2, 2]}
TRANSFORMERS = {
    "Bit": (STAGES | {"embedding_size": 16, "hidden_sizes": [32, 32, 64, 64], "num_groups": 8}, 5),
    "ConvNext": (STAGES, 5),
    "Data2VecVision": (TOKENS | IMAGES, 3),
    "Dinov2": (TOKENS | IMAGES, 3),
    "FocalNet": (STAGES | {"image_size": 64, "embed_dim": 16, "hidden_sizes": [16, 32, 48, 64]}, 5),
    "Levit": (
        {"image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8]}
        | {"depths": [2, 2, 2]},
        2 * (2 + 2 + 2)
        + 2 * 2,  # attention and perceptron are blocks apart, and so in the two subsamplings of the list
    ),
    "MobileViT": ({"image_size": 64}, 1 + 3 + 1 + 1 + 1),
    "PoolFormer": (STAGES, 5),
    "Pvt": (STAGES | HEADS | {"image_size": 64}, 5),
    "RegNet": (STAGES | {"embedding_size": 8, "groups_width": 4}, 5),
    "ResNet": (STAGES | {"embedding_size": 8}, 5),
    "Segformer": (STAGES | HEADS, 5),
    "Swin": (WINDOWS, 2 + 2 + 2),
    "Swinv2": (WINDOWS, 2 + 2 + 2),
    "ViT": (TOKENS | IMAGES, 3),
}
"""By family: arguments of its configuration, and the number of blocks."""

WIDE = {"num_classes": 5, "depth": 16, "widen_factor": 1}
ROBUSTBENCH = {
    "WideResNet": ("wide_resnet", "WideResNet", WIDE, 3 * 2),
    "WideResNet, sub_block1": ("wide_resnet", "WideResNet", WIDE | {"sub_block1": True}, 3 * 2),
    "DMWideResNet": ("dm_wide_resnet", "DMWideResNet", {"num_classes": 5, "depth": 16, "width": 1}, 3 * 2),
    "PreActResNet": ("resnet", "PreActResNet18", {}, 2 + 2 + 2 + 2),
}
"""By name: module, class, arguments, and the number of blocks."""

PYTORCHCV = {"bn_vgg11": (224, 8), "resnet20_cifar10": (32, 9), "densenet40_k12_cifar10": (32, 36)}
"""By name: the height and width of its images, and the number of blocks."""


def torchvision_networks():
    """Yield the library's name, the family, a function that builds a network, its image size and number of blocks."""
    for family, (make, size, blocks) in TORCHVISION.items():
        yield "torchvision", family, lambda make=make: make(num_classes=5), [size], blocks


def timm_networks():
    """Yield what `torchvision_networks` does; of the sizes, the first that the network accepts is meant."""
    for name, (arguments, blocks) in TIMM.items():
        yield "timm", name, *timm_network(name, arguments), blocks


def timm_network(name, arguments):
    import timm

    size = timm.get_pretrained_cfg(name).input_size[-1]
    return lambda: timm.create_model(name, num_classes=5, **arguments), [64, 128, size]


def transformers_networks():
    import transformers

    for family, (arguments, blocks) in TRANSFORMERS.items():

        def make(family=family, arguments=arguments):
            config = getattr(transformers, f"{family}Config")(**arguments, num_labels=5)
            return getattr(transformers, f"{family}ForImageClassification")(config)

        yield "transformers", family, make, [arguments.get("image_size", 64)], blocks


def of_robustbench(module, name):
    """Return a class of RobustBench's architectures.

    Its packages' own code is not run: it imports the whole benchmark, and a package that is not on PyPI.
    """
    for package in ("robustbench", "robustbench.model_zoo", "robustbench.model_zoo.architectures"):
        shell = sys.modules.setdefault(package, types.ModuleType(package))
        shell.__path__ = [str(distribution("robustbench").locate_file(package.replace(".", "/")))]
    return getattr(importlib.import_module(f"robustbench.model_zoo.architectures.{module}"), name)


def robustbench_networks():
    for family, (module, name, arguments, blocks) in ROBUSTBENCH.items():
        network = of_robustbench(module, name)
        yield "RobustBench", family, lambda network=network, of=arguments: network(**of), [32], blocks


def pytorchcv_networks():
    from pytorchcv.model_provider import get_model

    for name, (size, blocks) in PYTORCHCV.items():
        yield "pytorchcv", name, lambda name=name: get_model(name), [size], blocks
