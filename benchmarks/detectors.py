"""Time that each detector adds to a prediction: network, feature paths and score, against the network alone."""

import torch
from torch import Tensor

from benchmarks.measure import Result, speed_ratio
from featurepaths.detectors.averaged import REFERENCES
from featurepaths.detectors.registry import DETECTORS
from featurepaths.networks.forward import POOLINGS, forward_intermediates
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.equations import unit
from featurepaths.paths.outputs import ModelOutputs, model_outputs

CLASSES = 10
BATCHES = {1: 16, 64: 1}
"""Images of a prediction, and how many predictions are timed together."""
FITTED = 500
"""Images that detectors are fitted to, over and over until there are as many as a detector keeps."""
ROUNDS = 3


def measure(device: torch.device) -> list[Result]:
    """Return ratios of seconds: 1.1 is a prediction that takes a tenth more, with flattened features."""
    network = ResNet("resnet18", CLASSES).to(device).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(FITTED, 3, 32, 32, generator=generator).to(device)
    labels = (torch.arange(FITTED) % CLASSES).to(device)

    def tapped(batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, outputs = forward_intermediates(network, batch, network.layer_names)
        return logits, [POOLINGS["flatten"](output) for output in outputs]

    with torch.inference_mode():
        logits, features = tapped(images)
        centroids = [unit(torch.stack([f[labels == c].mean(dim=0) for c in range(CLASSES)])) for f in features]
        outputs = model_outputs(logits, features, centroids)
    channels = [network.get_submodule(name).conv2.out_channels for name in network.layer_names]
    train = [(outputs, labels)] * (REFERENCES // FITTED)
    scores = {"feature-paths": lambda observed: observed.similarity.mean(dim=1).amax(dim=1)}
    for name, make in DETECTORS.items():
        detector = make()
        detector.fit(train, outputs, channels)
        scores[name] = detector.score

    results = []
    for name, score in scores.items():
        for batch, repeats in BATCHES.items():

            def alone(batch=batch, repeats=repeats) -> None:
                for _ in range(repeats):
                    network(images[:batch]).argmax(dim=1).cpu()

            def detected(batch=batch, repeats=repeats, score=score) -> None:
                for _ in range(repeats):
                    observed: ModelOutputs = model_outputs(*tapped(images[:batch]), centroids)
                    observed.logits.argmax(dim=1).cpu(), score(observed).cpu()

            with torch.inference_mode():
                what = f"seconds with {name} / network alone, batch of {batch}"
                results.append(speed_ratio(what, alone, detected, None, ROUNDS))
    return results
