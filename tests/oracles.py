"""Slow implementations of the paper's equations, independent of the package's, for tests to compare with."""

import numpy as np


def plain_vote(similarity, layers, weights, tie_break):
    """Eqs. (6) and (7) for one image, similarity [L, C], written out."""
    votes = [int(np.argmax(similarity[layer - 1])) for layer in layers]
    score = {}
    for choice, weight in zip(votes, weights, strict=True):
        score[choice] = score.get(choice, 0) + weight
    greatest = max(score.values())
    tied = [choice for choice in score if abs(score[choice] - greatest) < 1e-9]
    if tie_break == "last-layer":
        return next(choice for choice in reversed(votes) if choice in tied)
    sums = {c: sum(w * similarity[layer - 1][c] for layer, w in zip(layers, weights, strict=True)) for c in tied}
    return max(sums, key=sums.get)
