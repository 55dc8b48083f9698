import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featurepaths.paths.equations import centroids, similarities
from featurepaths.paths.outputs import ModelOutputs, model_outputs


def features_and_centroids(seed, count=30, widths=(5, 12), classes=3):
    generator = np.random.default_rng(seed)
    features = [generator.normal(size=(count, width)).astype(np.float32) for width in widths]
    features[0][4] = 0
    return features, [centroids(feature, np.arange(count) % classes, classes) for feature in features]


def whole(features, found):
    """Similarities as the workflow stores them."""
    return np.stack(
        [np.concatenate([part for _, part in similarities(*pair)]) for pair in zip(features, found, strict=True)],
        axis=1,
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([1e-4, 1.0, 1e4]))
def test_similarities_are_those_of_the_workflow(seed, scale):
    features, centroids = features_and_centroids(seed)
    features = [feature * np.float32(scale) for feature in features]
    outputs = model_outputs(
        torch.zeros(30, 3), [torch.from_numpy(f) for f in features], [torch.from_numpy(c) for c in centroids]
    )
    np.testing.assert_allclose(outputs.similarity.numpy(), whole(features, centroids), atol=1e-6)
    assert (outputs.similarity[4, 0] == 0).all()


def test_a_feature_on_its_centroid_is_as_similar_as_can_be():
    centroid = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    outputs = model_outputs(torch.zeros(1, 2), [7 * centroid[:1]], [centroid])
    torch.testing.assert_close(outputs.similarity[0, 0], torch.tensor([1.0, 0.6]))
    assert outputs.similarity.max() <= 1


def test_gradients_are_those_of_finite_differences():
    features, centroids = features_and_centroids(0)
    features = [torch.from_numpy(feature[[0, 7, 9]]).double().requires_grad_() for feature in features]
    tensors = [torch.from_numpy(centroid).double() for centroid in centroids]
    assert torch.autograd.gradcheck(lambda *given: model_outputs(given[0], list(given), tensors).similarity, features)


def test_a_zero_feature_has_a_finite_gradient_towards_the_centroid():
    feature = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    model_outputs(torch.zeros(2, 1), [feature], [torch.tensor([[1.0, 0.0]])]).similarity.sum().backward()
    torch.testing.assert_close(feature.grad, torch.tensor([[1.0, 0.0], [16 / 125, -12 / 125]]))


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_some_images_are_taken_from_everything(rows):
    features = [torch.arange(6.0).view(3, 2), torch.arange(3.0).view(3, 1)]
    outputs = ModelOutputs(torch.arange(9.0).view(3, 3), features, torch.arange(18.0).view(3, 2, 3))
    subset = outputs.take(rows)
    positions = torch.arange(3)[rows].tolist()
    for given_rows, all_rows in zip(
        [subset.logits, *subset.features, subset.similarity],
        [outputs.logits, *features, outputs.similarity],
        strict=True,
    ):
        assert given_rows.tolist() == [all_rows.tolist()[row] for row in positions]


def test_every_layer_needs_its_centroids():
    with pytest.raises(ValueError, match="shorter"):
        model_outputs(torch.zeros(2, 1), [torch.ones(2, 2)] * 2, [torch.ones(1, 2)])
