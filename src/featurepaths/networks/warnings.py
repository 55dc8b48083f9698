"""What makes a network's numbers doubtful without being wrong; without torch, so that the verdict can read it."""

DOUBTS = {
    "probabilities": "The network's outputs look like probabilities, not logits: they lie in [0, 1] and sum to 1. "
    "Attacks on the cross-entropy are weak on such a network, and energy and confidence are other scores. Leave out "
    "the softmax at its end.",
    "gradient": "The gradient of the network's logits was zero, or not finite, in every pixel of all images that were "
    "tried: something rounds, quantises or clips, or the last layer's weights are zero. Attacks by gradients cannot "
    "succeed then, which says nothing about robustness.",
}
"""In words, by the names that checkpoints hold."""
