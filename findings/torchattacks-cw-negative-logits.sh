#!/usr/bin/env bash
# torchattacks 3.5.1: CW returns every image unchanged if all logits are negative, and reports nothing.
#
# Its loss takes the largest wrong logit as max((1 - one_hot) * logits). The product puts 0 in the place of the true
# class, so if all logits are negative that 0 is the maximum, the loss is 0 from the first step, and no example is found.
# A constant added to all logits changes no prediction and no probability, but it decides whether the attack works:
# networks that end in log_softmax always have negative logits.
#
# Seen with Python 3.11 and torch 2.14.1 on 64 random images: of the network's own answers, CW changes 64 of 64 with all
# logits 10 higher, and 0 of 64 with all logits 10 lower.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.14.1 torchvision==0.29.1 numpy==2.3.5 torchattacks==3.5.1
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torchattacks
from torch import nn


class Shifted(nn.Module):
    """A network with a constant added to all logits."""

    def __init__(self, network, constant):
        super().__init__()
        self.network, self.constant = network, constant

    def forward(self, images):
        return self.network(images) + self.constant


torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 32), nn.ReLU(), nn.Linear(32, 5)).eval()
images = torch.rand(64, 3, 8, 8)
answers = network(images).argmax(dim=1)


def changed(constant):
    """Return how many answers CW changes."""
    attack = torchattacks.CW(Shifted(network, constant), c=100, steps=200, lr=0.05)
    return int((network(attack(images, answers)).argmax(dim=1) != answers).sum())


higher, lower = changed(10.0), changed(-10.0)
print("answers changed: logits 10 higher", higher, "- 10 lower", lower)
assert higher == 64 and lower == 0
PYTHON
