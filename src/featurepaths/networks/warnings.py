"""Warnings about networks whose results are valid but doubtful; without torch, so that the verdict can read them."""

DOUBTS = {
    "probabilities": "The network's outputs look like probabilities, not logits: they lie in [0, 1] and sum to 1. "
    "Attacks on the cross-entropy are weak on such a network, and the scores energy and confidence change. Remove the "
    "softmax at its end.",
    "gradient": "The gradient of the network's logits was zero, or not finite, in every pixel of all test images: "
    "the network rounds, quantises or clips values, or its last layer's weights are zero. Gradient attacks then fail, "
    "which is no evidence of robustness.",
}
"""Messages by the names that checkpoints hold."""
