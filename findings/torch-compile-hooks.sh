#!/usr/bin/env bash
# torch 2.14.1: a forward hook registered after a compiled network has run once is never called, without a warning.
#
# Feature extractors register hooks for one forward pass. On a network that torch.compile has already traced in the same
# grad mode (default torch._dynamo.config.skip_nnmodule_hook_guards = True) they receive no features; on a network that
# has not run yet they do. Workarounds: torch._dynamo.reset(), or calling the inner module (`_orig_mod`) with its hooks.
#
# Observed with Python 3.11 and backend "eager", which needs no compiler: 1 call of the hook before the first run, 0 after it,
# 1 after a reset.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.3.5
"$folder/env/bin/python" - <<'PYTHON'
import torch
from torch import nn

network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
images = torch.rand(2, 3, 8, 8)


def calls_of_a_hook(compiled):
    """Return how often a hook is called that is registered for one pass without gradients."""
    outputs = []
    handle = network[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        compiled(images)
    handle.remove()
    return len(outputs)


fresh = calls_of_a_hook(torch.compile(network, backend="eager"))
torch._dynamo.reset()
compiled = torch.compile(network, backend="eager")
with torch.no_grad():
    compiled(images)
used = calls_of_a_hook(compiled)
torch._dynamo.reset()
after_reset = calls_of_a_hook(compiled)
print("calls of the hook: not run before", fresh, "- run before", used, "- after a reset", after_reset)
assert (fresh, used, after_reset) == (1, 0, 1)
PYTHON
