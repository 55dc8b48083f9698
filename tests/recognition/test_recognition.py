from itertools import product

import numpy as np
import pytest

from featurepaths.paths.records import FeaturePaths
from featurepaths.recognition.outcome import recognise_pair
from featurepaths.recognition.selection import best_layers, layer_accuracy
from featurepaths.recognition.votes import TIES, recognise, vote


def plain_vote(similarity, layers, weights, tie):
    """Eqs. (6) and (7) for one image, similarity [L, C], written out."""
    votes = [int(np.argmax(similarity[layer - 1])) for layer in layers]
    score = {}
    for choice, weight in zip(votes, weights, strict=True):
        score[choice] = score.get(choice, 0) + weight
    greatest = max(score.values())
    tied = [choice for choice in score if abs(score[choice] - greatest) < 1e-9]
    if tie == "last-layer":
        return next(choice for choice in reversed(votes) if choice in tied)
    sums = {c: sum(w * similarity[layer - 1][c] for layer, w in zip(layers, weights, strict=True)) for c in tied}
    return max(sums, key=sums.get)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize(
    ("layers", "weights"),
    [([1, 2], [0.5, 0.5]), ([2, 3, 4], [1 / 3] * 3), ([1, 2, 3, 4], [0.25] * 4), ([1, 2, 4], [0.5, 0.25, 0.25])],
)
def test_every_pattern_of_votes(layers, weights, tie):
    """All ways in which four layers can vote for three classes, with similarities that differ."""
    generator = np.random.default_rng(0)
    patterns = list(product(range(3), repeat=4))
    similarity = generator.uniform(0, 0.5, (len(patterns), 4, 3))
    for image, pattern in enumerate(patterns):
        for layer, choice in enumerate(pattern):
            similarity[image, layer, choice] += 0.5
    expected = [plain_vote(one, layers, weights, tie) for one in similarity]
    assert vote(similarity, layers, np.array(weights), tie).tolist() == expected


def test_the_last_layer_decides_any_vote_of_two():
    similarity = np.random.default_rng(0).uniform(size=(50, 3, 4))
    found = vote(similarity, [1, 3], np.array([0.5, 0.5]), "last-layer")
    assert (found == similarity[:, 2].argmax(axis=1)).all()


def test_the_two_tie_rules_differ():
    similarity = np.array([[[0.9, 0.1], [0.4, 0.5]]])
    weights = np.array([0.5, 0.5])
    assert vote(similarity, [1, 2], weights, "last-layer").tolist() == [1]
    assert vote(similarity, [1, 2], weights, "summed-similarity").tolist() == [0]


def test_a_last_layer_that_lost_does_not_break_a_tie():
    # layers vote 0, 0, 1, 1, 2: the tie is between 0 and 1, and layer 4 is the last that voted for either
    similarity = np.eye(3)[[0, 0, 1, 1, 2]][None]
    assert vote(similarity, [1, 2, 3, 4, 5], np.full(5, 0.2), "last-layer").tolist() == [1]


def test_unflagged_images_keep_the_networks_label():
    assert recognise(np.array([1, 2, 3]), np.array([False, True, False]), np.array([7, 8, 9])).tolist() == [1, 8, 3]


def test_best_layers_are_the_most_accurate_in_ascending_order():
    assert best_layers(np.array([0.1, 0.5, 0.4, 0.45, 0.2]), 3) == [2, 3, 4]
    assert best_layers(np.array([0.1, 0.5, 0.5, 0.5]), 2) == [2, 3], "of equal layers the earlier ones"
    assert best_layers(np.array([0.3, 0.2]), 3) == [1, 2]


def in_memory(similarity, network, labels):
    rows = np.arange(len(labels))
    return FeaturePaths(similarity, rows, np.array(network), np.array(labels), rows)


def test_layer_accuracy_by_hand():
    similarity = np.array([[[0.9, 0.1], [0.2, 0.3]], [[0.1, 0.4], [0.6, 0.5]], [[0.7, 0.3], [0.8, 0.1]]])
    np.testing.assert_allclose(layer_accuracy(in_memory(similarity, [0, 0, 0], [0, 1, 0])), [1, 1 / 3])


def test_outcome_counts_by_hand():
    def paths(network, votes, labels):
        return in_memory(np.eye(3)[votes][:, None], network, labels)

    labels = [0, 1, 2, 0]
    clean = paths([0, 1, 2, 1], [0, 0, 2, 0], labels)
    adversarial = paths([1, 2, 0, 0], [0, 1, 1, 2], labels)
    clean_flagged = np.array([False, True, False, True])
    adversarial_flagged = np.array([True, True, True, False])
    voted = tuple(
        paths.of_each(lambda s: vote(s, [1], np.array([1.0]), "last-layer")) for paths in (clean, adversarial)
    )
    found, attacked, outcome = recognise_pair(clean, adversarial, (clean_flagged, adversarial_flagged), voted)
    assert found.tolist() == [0, 0, 2, 0]
    assert attacked.tolist() == [0, 1, 1, 0]
    assert outcome.clean_correct == 3
    assert outcome.adversarial_correct == 3
    assert outcome.flagged_clean == 2
    assert outcome.flagged_adversarial == 3
    assert outcome.flagged_correct == 2
