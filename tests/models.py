"""A model of three layers whose features can be written out, and a small ResNet, with images that fit them."""

import numpy as np
import torch
from torch import nn

from featurepaths import FeaturePathDefense
from featurepaths.networks.resnet import ResNet

CLASSES = 3
LAYERS = ["blurred", "pixels", "sharpened"]


class Layered(nn.Module):
    """Three classes of images of three pixels in two rows; later layers separate them better."""

    def __init__(self):
        super().__init__()
        self.mix = nn.ParameterList([torch.full((3, 3), 1.0) + a * torch.eye(3) for a in (1, 8, 50)])
        self.blurred, self.pixels, self.sharpened = nn.Identity(), nn.Identity(), nn.Identity()
        self.unused, self.pair = nn.Identity(), Pair()
        self.dropout = nn.Dropout()
        self.requires_grad_(False)

    def forward(self, images):
        outputs = [torch.einsum("nchw,wv->nchv", images, mix).relu() for mix in self.mix]
        self.blurred(outputs[0])
        self.pixels(outputs[1])
        last = self.sharpened(outputs[2])
        self.pair(last)
        return self.dropout(last.mean(dim=(1, 2)))


class Pair(nn.Module):
    def forward(self, values):
        return values.mean(), len(values)


def images(seed, count=90, spread=0.3):
    """Images float32 [N, 1, 2, 3] whose brightest column is mostly that of their class, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    clean = 0.3 + 0.4 * nn.functional.one_hot(labels, CLASSES).float().view(-1, 1, 1, 3).expand(-1, 1, 2, 3)
    return (clean + spread * torch.randn(count, 1, 2, 3, generator=generator)).clamp(0, 1), labels


def loader(seed, size=20, **options):
    batch, labels = images(seed, **options)
    return list(zip(batch.split(size), labels.split(size), strict=True))


def fitted(pooling="flatten", **options):
    return FeaturePathDefense(Layered(), LAYERS, pooling).fit(loader(0), **options)


def calibrated(pooling="flatten", **options):
    return fitted(pooling).calibrate(loader(1), loader(2, spread=0.6), **options)


def layer_features(some, pooling):
    """Of each layer the features, written out: float64."""
    outputs = [np.maximum(some.double().numpy() @ m.double().numpy(), 0) for m in Layered().mix]
    return [out.reshape(len(some), -1) if pooling == "flatten" else out.mean(axis=(2, 3)) for out in outputs]


def plain_similarity(some, pooling):
    """Eq. (2) with centroids of the training images, written out: [N, L, C]."""
    train, labels = images(0)
    similarities = []
    for of_train, features in zip(layer_features(train, pooling), layer_features(some, pooling), strict=True):
        means = np.stack([of_train[labels.numpy() == c].mean(axis=0) for c in range(CLASSES)])
        similarities.append(unit(features) @ unit(means).T)
    return np.stack(similarities, axis=1)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def network_and_images(count, classes, seed=0):
    """A ResNet of random weights, and uint8 images [N, 32, 32, 3] of classes far apart."""
    torch.manual_seed(seed)
    network = ResNet("resnet18", classes, width=4).eval()
    generator = np.random.default_rng(seed)
    # large squares of colour: classes are so far apart that rounding does not decide which one is near
    of_classes = generator.integers(0, 192, (classes, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = of_classes[np.arange(count) % classes] + generator.integers(0, 64, (count, 32, 32, 3))
    return network, images.astype(np.uint8)
