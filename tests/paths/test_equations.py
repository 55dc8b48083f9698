"""The paper's equations, in NumPy and in torch, against plain Python; and the memory that they take."""

import math
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featurepaths.paths import equations
from featurepaths.paths.collapse import measure_collapse

LAYERS, WEIGHTS = [1, 3], np.array([0.25, 0.75])


def plain_s_max(features, means):
    """Eqs. (1), (2), (3) and (5), one number at a time: features by layer [N][d], class means by layer [C][d]."""

    def norm(vector):
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length if length else 0.0 for x in vector]

    scores = []
    for image in range(len(features[0])):
        s = [
            sum(
                weight * sum(x * y for x, y in zip(norm(features[n - 1][image]), norm(means[n - 1][c]), strict=True))
                for n, weight in zip(LAYERS, WEIGHTS, strict=True)
            )
            for c in range(len(means[0]))
        ]
        scores.append(max(s))
    return scores


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e3]))
def test_equations_in_numpy_and_torch_equal_plain_python(seed, scale):
    generator = np.random.default_rng(seed)
    labels = np.arange(12) % 3
    features = [(scale * generator.normal(size=(12, width))).astype(np.float32) for width in (4, 2, 7)]
    features[2][5] = 0
    centroids = [equations.centroids(feature, labels, 3) for feature in features]
    arrays = [equations.cosine_similarity(*layer) for layer in zip(features, centroids, strict=True)]
    tensors = [
        equations.cosine_similarity_tensor(*map(torch.from_numpy, layer))
        for layer in zip(features, centroids, strict=True)
    ]
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(tensor, array, atol=1e-6)
    similarity = np.stack(arrays, axis=1)
    scores = equations.s_max(similarity, LAYERS, WEIGHTS)
    of_tensor = equations.s_max_tensor(torch.from_numpy(similarity), LAYERS, torch.from_numpy(WEIGHTS))
    np.testing.assert_allclose(of_tensor, scores, rtol=1e-14)
    np.testing.assert_allclose(
        equations.class_scores_tensor(torch.from_numpy(similarity), LAYERS, torch.from_numpy(WEIGHTS)),
        equations.class_scores(similarity, LAYERS, WEIGHTS),
        rtol=1e-12,
        atol=1e-15,
    )
    means = [[feature[labels == c].astype(float).mean(axis=0).tolist() for c in range(3)] for feature in features]
    np.testing.assert_allclose(scores, plain_s_max([f.tolist() for f in features], means), atol=1e-6)


def test_equations_are_importable_without_torch():
    script = "import sys, featurepaths.paths.equations; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """Averaged features of few and of many images, on disk."""
    with h5py.File(tmp_path_factory.mktemp("dumps") / "features.h5", "w") as file:
        for count in (2_000, 100_000):
            file[str(count)] = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float16)
        yield file


@pytest.mark.parametrize("work", ["centroids", "similarities", "collapse"])
def test_memory_of_averaged_features_is_independent_of_the_number_of_images(dumps, work):
    centroids = equations.centroids(dumps["2000"], np.arange(2_000) % 5, 5)

    def run(features, labels):
        if work == "centroids":
            equations.centroids(features, labels, 5)
        elif work == "collapse":
            measure_collapse(features, labels, 5)
        else:
            for _ in equations.similarities(features, centroids):
                pass

    peaks = []
    for count in (2_000, 100_000):
        labels = np.arange(count) % 5
        run(dumps[str(count)][:600], labels[:600])  # imports and caches
        tracemalloc.start()
        run(dumps[str(count)], labels)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 2**16, "98,000 more images are 3 MB as float16"
