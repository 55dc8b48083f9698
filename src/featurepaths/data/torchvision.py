"""The names of torchvision's data sets, which a configuration is checked against, and how their parts are called."""

from collections.abc import Mapping
from typing import Any

TRAIN = ({"train": True}, {"train": False})
SPLIT = ({"split": "train"}, {"split": "test"})
TRAIN_AND_VAL = ({"split": "train"}, {"split": "val"})
TORCHVISION: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    **dict.fromkeys(["CIFAR10", "CIFAR100", "EMNIST", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"], TRAIN),
    **dict.fromkeys(["Country211", "DTD", "FER2013", "FGVCAircraft", "Flowers102", "Food101", "GTSRB"], SPLIT),
    **dict.fromkeys(["PCAM", "RenderedSST2", "STL10", "SVHN", "StanfordCars"], SPLIT),
    **dict.fromkeys(["CLEVRClassification", "ImageNet", "Imagenette"], TRAIN_AND_VAL),
    "OxfordIIITPet": ({"split": "trainval"}, {"split": "test"}),
    "FakeData": ({}, {}),
}
"""torchvision's data sets of images with one label each: the arguments of their training and test parts."""
