from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from featurepaths.defense.recognition import TIE_BREAKS, best_layers, layer_accuracy, recognise, vote
from featurepaths.paths.records import FeaturePaths
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.outcome import recognise_pair
from featurepaths.statistics.paired import mcnemar
from tests.oracles import plain_vote


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@pytest.mark.parametrize(
    ("layers", "weights"),
    [([1, 2], [0.5, 0.5]), ([2, 3, 4], [1 / 3] * 3), ([1, 2, 3, 4], [0.25] * 4), ([1, 2, 4], [0.5, 0.25, 0.25])],
)
def test_vote_of_every_pattern_equals_plain_loops(layers, weights, tie_break):
    """All ways in which four layers can vote for three classes, with similarities that differ."""
    generator = np.random.default_rng(0)
    patterns = list(product(range(3), repeat=4))
    similarity = generator.uniform(0, 0.5, (len(patterns), 4, 3))
    for image, pattern in enumerate(patterns):
        for layer, choice in enumerate(pattern):
            similarity[image, layer, choice] += 0.5
    expected = [plain_vote(one, layers, weights, tie_break) for one in similarity]
    assert vote(similarity, layers, np.array(weights), tie_break).tolist() == expected


def test_vote_of_two_layers_is_the_last_layers():
    similarity = np.random.default_rng(0).uniform(size=(50, 3, 4))
    prediction = vote(similarity, [1, 3], np.array([0.5, 0.5]), "last-layer")
    assert (prediction == similarity[:, 2].argmax(axis=1)).all()


def test_tie_break_rules_differ():
    similarity = np.array([[[0.9, 0.1], [0.4, 0.5]]])
    weights = np.array([0.5, 0.5])
    assert vote(similarity, [1, 2], weights, "last-layer").tolist() == [1]
    assert vote(similarity, [1, 2], weights, "summed-similarity").tolist() == [0]


def test_last_layer_that_lost_does_not_break_tie():
    # layers vote 0, 0, 1, 1, 2: the tie is between 0 and 1, and layer 4 is the last that voted for either
    similarity = np.eye(3)[[0, 0, 1, 1, 2]][None]
    assert vote(similarity, [1, 2, 3, 4, 5], np.full(5, 0.2), "last-layer").tolist() == [1]


def test_unflagged_image_keeps_network_prediction():
    assert recognise(np.array([1, 2, 3]), np.array([False, True, False]), np.array([7, 8, 9])).tolist() == [1, 8, 3]


def test_best_layers_are_most_accurate_in_ascending_order():
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
        paths.map_rows(lambda s: vote(s, [1], np.array([1.0]), "last-layer")) for paths in (clean, adversarial)
    )
    clean_labels, attacked, outcome = recognise_pair(clean, adversarial, (clean_flagged, adversarial_flagged), voted)
    assert clean_labels.tolist() == [0, 0, 2, 0]
    assert attacked.tolist() == [0, 1, 1, 0]
    assert outcome["clean_correct"] == 3
    assert outcome["adversarial_correct"] == 3
    assert outcome["flagged_clean"] == 2
    assert outcome["flagged_adversarial"] == 3
    assert outcome["flagged_correct"] == 2
    # the network is right on the first three when clean and on none of them now; the last one it never got right
    assert groups_of(clean.network_correct, adversarial.network_correct).counts == {
        "n_successful": 3,
        "n_unsuccessful": 0,
    }
    assert (outcome["successful_correct"], outcome["unsuccessful_correct"]) == (2, 0)


ANSWERS = arrays(np.int64, 30, elements=st.integers(0, 2))
FLAGS = arrays(bool, 30)


@given(ANSWERS, ANSWERS, ANSWERS, ANSWERS, FLAGS)
def test_the_groups_and_the_images_wrong_when_clean_are_all_images(labels, clean, attacked, voted, flagged):
    pair = tuple(in_memory(np.zeros((30, 1, 3)), network, labels) for network in (clean, attacked))
    groups = groups_of(*(paths.network_correct for paths in pair))
    wrong_when_clean = clean != labels
    assert (groups.successful.astype(int) + groups.unsuccessful + wrong_when_clean == 1).all(), "each in one of three"
    _, answers, outcome = recognise_pair(*pair, (flagged, flagged), (voted, voted))
    rest = sum(answers[i] == labels[i] for i in range(30) if clean[i] != labels[i])
    assert outcome["successful_correct"] + outcome["unsuccessful_correct"] + rest == outcome["adversarial_correct"]
    unflagged = recognise_pair(*pair, (flagged, np.zeros(30, bool)), (voted, voted))[2]
    assert unflagged["successful_correct"] == 0, "by definition: these are the undefended network's answers"
    assert unflagged["unsuccessful_correct"] == groups.counts["n_unsuccessful"]


def answers_that_differ(first_only, second_only, both=4, neither=3):
    counts = first_only, second_only, both, neither
    return np.repeat([True, False, True, False], counts), np.repeat([False, True, True, False], counts)


@pytest.mark.parametrize(
    ("first_only", "second_only", "p_value"),
    [
        (0, 0, 1),
        (3, 3, 1),
        (5, 0, 2 / 2**5),  # all five on one side, or all on the other
        (1, 4, 2 * (1 + 5) / 2**5),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
        (1, 0, 1),
    ],
)
def test_mcnemar_by_hand(first_only, second_only, p_value):
    result = mcnemar(*answers_that_differ(first_only, second_only))
    assert result == {"first_only": first_only, "second_only": second_only, "p_value": pytest.approx(p_value)}


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_is_twice_the_smaller_tail_and_minds_no_order_nor_agreement(first_only, second_only, both, neither):
    first, second = answers_that_differ(first_only, second_only, both, neither)
    result = mcnemar(first, second)
    tail = binom.cdf(min(first_only, second_only), first_only + second_only, 0.5)
    assert result["p_value"] == pytest.approx(min(1, 2 * tail))
    assert mcnemar(second, first)["p_value"] == pytest.approx(result["p_value"])


def test_mcnemar_needs_the_same_images():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))
