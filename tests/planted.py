"""Defences of images of two pixels, whose weakest point is known in closed form."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from featurepaths.defense.recognition import Calibration
from featurepaths.library.defense import FeaturePathDefense

LENGTH, ANGLE = 0.6, math.radians(10)
FLAGGED_FROM, FLAGGED_TO = math.radians(20), math.radians(70)
"""Images at angles between these are flagged: the score is the cosine to the nearer axis."""
X, Y = LENGTH * math.cos(ANGLE), LENGTH * math.sin(ANGLE)
TO_EVADE = (math.tan(FLAGGED_TO) * X - Y) / (1 + math.tan(FLAGGED_TO))
"""The L-infinity radius at which an image can lie beyond the flagged angles: (y + eps) / (x - eps) is their tangent."""
TO_FOOL = (X - Y) / 2
"""The radius at which the network alone is wrong."""
CENTROIDS = torch.tensor(
    [[1.0, 0.0], [0.0, 1.0], [-math.sqrt(0.5), -math.sqrt(0.5)], [-math.sqrt(0.5), -math.sqrt(0.5)]]
)


class Plane(nn.Module):
    """Four classes, two of them at the axes: an image belongs to the nearer one, or always to class 0."""

    def __init__(self, always_right=False):
        super().__init__()
        self.pixels = nn.Identity()
        self.constant = nn.Identity()
        self.weights = nn.Parameter(30 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [-2.0, -2.0]]))
        self.always_right = always_right

    def forward(self, images):
        h = self.pixels(images).flatten(1)
        self.constant(torch.tensor([1.0, 0.0]).expand(len(images), 1, 1, 2).contiguous())
        logits = h @ self.weights.T
        return logits + torch.tensor([99.0, 0, 0, 0]) if self.always_right else logits


def defense(network, voting_layers):
    """The score reads the first layer, the pixels; the second layer always votes for class 0."""
    weights = np.full(len(voting_layers), 1 / len(voting_layers))
    calibration = Calibration([1], np.ones(1), math.cos(FLAGGED_FROM), voting_layers, weights)
    return FeaturePathDefense(network, ["pixels", "constant"]).freeze([CENTROIDS, CENTROIDS], calibration)


def images(count=3):
    """Images of class 0, all alike: float32 [N, 1, 1, 2]."""
    point = torch.tensor([math.cos(ANGLE), math.sin(ANGLE)]) * LENGTH
    return point.view(1, 1, 1, 2).repeat(count, 1, 1, 1)


def distance(angle):
    """The L2 distance from these images to the ray at an angle."""
    return LENGTH * math.sin(angle - ANGLE)


class Halves(nn.Module):
    """A `Plane` whose two pixels are the averages of an image's halves; `levels` of a pixel mask its gradients."""

    def __init__(self, levels=None):
        super().__init__()
        self.plane, self.levels = Plane(), levels

    def forward(self, images):
        if self.levels is not None:
            images = (images * self.levels).round() / self.levels
        return self.plane(F.adaptive_avg_pool2d(images, (1, 2)))


def halves_defense(levels=None):
    """The defence of `defense`, for images of two halves."""
    calibration = Calibration([1], np.ones(1), math.cos(FLAGGED_FROM), [2], np.ones(1))
    module = FeaturePathDefense(Halves(levels), ["plane.pixels", "plane.constant"])
    return module.freeze([CENTROIDS, CENTROIDS], calibration)


def halves(count):
    """Images of class 0, a bright left half and a dark right one: uint8 [N, 8, 8, 1]."""
    left, right = (round(255 * LENGTH * part) for part in (math.cos(ANGLE), math.sin(ANGLE)))
    return np.tile(np.repeat(np.array([left, right], np.uint8), 4)[None, None, :, None], (count, 8, 1, 1))
