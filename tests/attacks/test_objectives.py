import pytest
import torch

from featurepaths.attacks.losses import cross_entropy, dlr
from featurepaths.attacks.objective import misclassification
from featurepaths.errors import FeaturePathsError


def test_dlr_by_hand_equals_eq_6():
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [3.0, 1.0, 0.0, -1.0], [2.0, 2.0, 0.0, -2.0]])
    labels = torch.tensor([0, 2, 1])
    # -(3-1)/(3-0), -(0-3)/(3-0), -(2-2)/(2-0)
    torch.testing.assert_close(dlr(logits, labels), torch.tensor([-2 / 3, 1.0, 0.0]))


def test_dlr_of_scaled_and_shifted_logits_is_unchanged():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 10, generator=generator), torch.randint(0, 10, (20,), generator=generator)
    torch.testing.assert_close(dlr(100 * logits - 7, labels), dlr(logits, labels), rtol=1e-4, atol=1e-5)


def test_dlr_of_two_classes_is_refused():
    with pytest.raises(FeaturePathsError, match="loss: ce"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))


def test_cross_entropy_by_hand_equals_definition():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    expected = torch.logsumexp(logits, dim=1) - 1.0
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([1])), expected)


def test_misclassification_objective_fools_by_greatest_logit():
    network = torch.nn.Identity()
    images = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    loss, fooled = misclassification(network, "ce")(images, torch.tensor([0, 0]))
    assert fooled.tolist() == [False, True]
    assert loss[1] > loss[0]
