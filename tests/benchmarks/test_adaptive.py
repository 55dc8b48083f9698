import numpy as np
import pytest
import torch

from benchmarks.adaptive import Attacked, evasion, majority, targeted_search, vote
from featurepaths import FeaturePathDefense
from featurepaths.defense.recognition import Calibration
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.outputs import ModelOutputs


def attacked(eps):
    torch.manual_seed(0)
    network = ResNet("resnet18", 4, 4)
    images, labels = torch.rand(40, 3, 32, 32), torch.arange(40) % 4
    defense = FeaturePathDefense(network, network.layer_names, "mean")
    defense.fit([(images, labels)], detection_layers=[3, 4]).calibrate([(images, labels)], voting_layers=[2, 3, 4])
    predictions = defense.predict(images).label
    return Attacked(defense, images[:8], predictions[:8], eps, torch.ones(8, dtype=torch.bool))


def test_targeted_search_no_radius_wins_nothing_and_the_cube_everything():
    assert not targeted_search(attacked(0.0), 2, 1).any()
    assert targeted_search(attacked(1.0), 10, 1).all()


def test_losses_by_hand():
    # standard deviations: of the logits 1, of layers 0.1, 0.4 and 0.1; the score passes the threshold by half of one
    similarity = torch.tensor([[[0.1, 0.2, 0.3], [0.9, 0.1, 0.5], [0.3, 0.2, 0.1]]])
    outputs = ModelOutputs(torch.tensor([[3.0, 1.0, 2.0]]), [], similarity)
    calibration = Calibration([1], np.ones(1), 0.25, [1, 2, 3], np.full(3, 1 / 3), "last-layer")

    def of(loss, target):
        return pytest.approx(loss(outputs, calibration, torch.tensor([target])).item(), abs=1e-5)

    assert of(evasion, 0) == 0.5 + 0.1  # margin 1, score 0.5, and neither needs more
    assert of(evasion, 1) == -2 + 0.1
    assert of(vote, 0) == -2 + 0.02 + 0.02 - 0.5  # margins -2, 1 and 1
    assert of(vote, 2) == 0.02 - 1 - 2 - 0.5  # margins 1, -1 and -2
    assert of(majority, 0) == 0.1 + 0.1 - 0.5
    assert of(majority, 2) == 0.1 - 1 - 0.5
