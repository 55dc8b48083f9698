"""Files of a defence: saved by the library, or written by a run of the workflow."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.defense.calibration import Calibration, read_calibration
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import layer_names, load_checkpoint
from featurepaths.paths.outputs import Encoder, read_centroids
from featurepaths.store.jsonfile import read_json
from featurepaths.store.provenance import descend
from featurepaths.store.tensors import read_tensors, write_tensors

KIND = "featurepaths-defense"


def save_defense(path: Path, encoder: Encoder, centroids: Sequence[Tensor], calibration: Calibration) -> None:
    """Write a safetensors file: centroids as tensors; layers, calibration and a digest of the model as metadata."""
    description = {
        "kind": KIND,
        "layers": encoder.layers,
        "pooling": encoder.pooling,
        "calibration": {name: np.asarray(value).tolist() for name, value in asdict(calibration).items()},
        "model": _digest(encoder),
    }
    write_tensors(path, {f"layer{number}": each for number, each in enumerate(centroids, start=1)}, description)


def read_defense(path: Path, model: nn.Module) -> tuple[list[str], str, list[Tensor], Calibration]:
    """Return layers, pooling, centroids and calibration of a file that `save_defense` wrote, for the same model.

    Raises
    ------
    FeaturePathsError
        If the file cannot be read, or the model has other layers or weights than the saved one.
    """
    tensors, description = read_tensors(path)
    if description.get("kind") != KIND:
        raise FeaturePathsError(f"{path} was not written by FeaturePathDefense.save.")
    layers, pooling, calibration = (description[key] for key in ("layers", "pooling", "calibration"))
    if _digest(Encoder(model, layers, pooling)) != description["model"]:
        raise FeaturePathsError(f"{path} belongs to a model of other weights: load that model, or fit again.")
    calibration |= {name: np.array(calibration[name]) for name in ("weights", "voting_weights")}
    device = next(model.parameters()).device
    centroids = [tensors[f"layer{number}"].to(device) for number in range(1, len(layers) + 1)]
    return layers, pooling, centroids, Calibration(**calibration)


def read_run(
    run: Path, pooling: str, threshold_method: str, device: torch.device | str
) -> tuple[nn.Module, list[str], list[Tensor], Calibration]:
    """Return network, layers, centroids and held-out calibration of a run's folder.

    Raises
    ------
    FeaturePathsError
        If a file is missing, the files do not belong together, or there is no such threshold.
    """
    checkpoint, centroids = run / "checkpoint.safetensors", run / f"centroids/{pooling}.h5"
    threshold = run / f"thresholds/{pooling}/feature-paths.held-out.json"
    selection = run / f"selection/{pooling}/held-out.json"
    descend("defense", "", [checkpoint, centroids, threshold, selection])  # refuses files of different runs
    network, description = load_checkpoint(checkpoint, device)
    configuration = run.parent / "config.json"
    try:
        tie_break = read_json(configuration)["configuration"]["recognition"]["tie_break"]
    except KeyError as error:
        raise FeaturePathsError(f"{configuration} has no recognition.tie_break ({error!r}). Finish the run.") from error
    layers = layer_names(description)
    calibration = read_calibration(threshold, selection, tie_break, threshold_method)
    return network, layers, read_centroids(centroids, device), calibration


def _digest(encoder: Encoder) -> str:
    """Return a digest of the network's weights and statistics."""
    digest = hashlib.sha256()
    for values in encoder.state_dict().values():
        digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
