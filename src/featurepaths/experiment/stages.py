"""The stages: for each one its inputs, the artefacts it makes and how it runs, declared once.

The plan, the paths in the rules and the stages' command lines follow from `STAGES`. In a path, ``{images}`` is a split
or ``<split>.<attack>.<stopping_rule>``, ``{attacked}`` is ``<attack>.<stopping_rule>``, and ``{calibration}`` is
``held-out`` or ``paper.<attack>.<stopping_rule>``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One stage.

    Parameters
    ----------
    outputs
        The path below its run's folder of each output, by option.
    inputs
        The help text of each input by option, in the order in which digests and provenance list them. A text that ends
        with ``(one or more)``, ``(any number)`` or ``(optional)`` takes that many files.
    keys
        The sections and keys of the configuration that its settings are taken from; its rule names the same.
    options
        Further options that change no result, by name, with their arguments of argparse.
    network
        Whether it runs a network, and so has ``--device``.
    sharded
        Whether its work can be split, by ``--shard``.
    several
        Whether one call writes several files per output option.
    """

    outputs: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    network: bool = False
    sharded: bool = False
    several: bool = False


def _key_and_number(text: str) -> tuple[str, int]:
    """Return a text such as ``recognition.top=3`` as its two parts."""
    key, _, number = text.partition("=")
    return key, int(number)


CHECKPOINT = {"checkpoint": "the network's checkpoint"}
DATA = {"data": "data.h5"}
CENTROIDS = {"centroids": "class centroids of the same network and pooling"}
TRAIN_FEATURES = {"features": "features of the training images"}
PAIR = {
    "clean": "feature paths of clean images",
    "adversarial": "feature paths of adversarial examples of the same images",
}
THRESHOLDS = {"thresholds": "layers, weights and thresholds of the detector, one file per protocol (one or more)"}
FROZEN = {
    **CHECKPOINT,
    **DATA,
    **CENTROIDS,
    "threshold": "layers, weights and thresholds of the held-out protocol",
    "selection": "voting layers of the held-out protocol",
    "detectors": "calibrated detectors",
    "attack": "the oblivious attack on the test images",
}
CHECKPOINTS = {"checkpoints": "the checkpoint of every run (one or more)"}
COLLAPSE = {"collapse": "the collapse metrics of every run and pooling (one or more)"}
EVALUATIONS = {"evaluations": "the metrics of all detectors, of every run and pooling (one or more)"}
ATTACKED_DEFENSES = {
    "adaptive": "the worst case of every run and pooling under attack (any number)",
    "controls": "the controls of those attacks (any number)",
}

STAGES = {
    "data": Stage(
        outputs={"data": "data.h5"},
        keys=("data",),
        options={
            "root": {"help": "folder of a data set that is read from files"},
            "download": {"action": "store_true", "help": "let torchvision download it"},
            "train": {"help": "npz or HDF5 file with training images and labels"},
            "test": {"help": "npz or HDF5 file with test images and labels"},
            "title": {"default": "images", "help": "name of images from files"},
            "threads": {"type": int, "default": 1, "help": "processes that read the images of a folder"},
        },
    ),
    "train": Stage(
        outputs={"checkpoint": "checkpoint.safetensors", "training": "training.csv"},
        inputs=DATA,
        keys=("models", "training", "seeds", "torch_threads"),
        options={
            "in-memory-mb": {
                "type": int,
                "default": 1024,
                "help": "hold training images in memory up to this size, in million bytes; changes no number",
            }
        },
        network=True,
    ),
    "pretrained": Stage(
        outputs={"checkpoint": "checkpoint.safetensors"},
        inputs=DATA,
        keys=("models", "seeds", "torch_threads"),
        options={
            "weights": {"type": Path, "help": "the network's weights; its factory's own if left out"},
            "needs": {
                "type": _key_and_number,
                "nargs": "*",
                "default": [],
                "metavar": "KEY=N",
                "help": "the number of layers that each configuration key needs; fewer are refused",
            },
        },
    ),
    "attack": Stage(
        outputs={"adversarial": "attacks/{split}.{attack}.h5"},
        inputs={**CHECKPOINT, **DATA},
        keys=("attacks", "seeds", "torch_threads"),
        options={
            "split": {
                "choices": ["train", "calibration", "test"],
                "required": True,
                "help": "the images to attack",
            },
            "file": {"type": Path, "help": "npz or HDF5 file of adversarial images, for method: precomputed"},
        },
        network=True,
        sharded=True,
    ),
    "features": Stage(
        outputs={"features": "features/{pooling}/{images}.h5"},
        inputs={**CHECKPOINT, "data": "data.h5 (optional)", "adversarial": "an attack's artefact (optional)"},
        keys=("torch_threads",),
        network=True,
        sharded=True,
        several=True,
    ),
    "centroids": Stage(outputs={"centroids": "centroids/{pooling}.h5"}, inputs=TRAIN_FEATURES),
    "collapse": Stage(outputs={"collapse": "collapse/{pooling}.json"}, inputs=TRAIN_FEATURES),
    "paths": Stage(
        outputs={"paths": "paths/{pooling}/{images}.h5"}, inputs={"features": "features of some images", **CENTROIDS}
    ),
    "streamed_classes": Stage(
        outputs={"centroids": "centroids/{pooling}.h5", "collapse": "collapse/{pooling}.json"},
        inputs={**CHECKPOINT, **DATA},
        keys=("torch_threads",),
        network=True,
        several=True,
    ),
    "streamed_paths": Stage(
        outputs={"paths": "paths/{pooling}/{images}.h5"},
        inputs={**CHECKPOINT, "images": "data.h5, or an attack's artefact", **CENTROIDS},
        keys=("torch_threads",),
        network=True,
        sharded=True,
    ),
    "threshold": Stage(
        outputs={"threshold": "thresholds/{pooling}/feature-paths.{calibration}.json"},
        inputs={**PAIR, "collapse": "the collapse metrics, for layers: auto (optional)"},
        keys=("collapse", "detection"),
    ),
    "selection": Stage(
        outputs={"selection": "selection/{pooling}/{calibration}.json"},
        inputs={"adversarial": "feature paths of adversarial images"},
        keys=("recognition",),
    ),
    "detection": Stage(
        outputs={
            "metrics": "detection/{pooling}/feature-paths.{attacked}.json",
            "records": "detection/{pooling}/feature-paths.{attacked}.h5",
        },
        inputs={**THRESHOLDS, **PAIR},
    ),
    "recognition": Stage(
        outputs={
            "metrics": "recognition/{pooling}/feature-paths.{attacked}.json",
            "records": "recognition/{pooling}/feature-paths.{attacked}.h5",
        },
        inputs={
            **THRESHOLDS,
            "selections": "voting layers and their weights, one file per protocol in the same order (one or more)",
            **PAIR,
        },
        keys=("recognition",),
    ),
    "detectors": Stage(
        outputs={"detectors": "detectors/{pooling}.h5"},
        inputs={
            **CHECKPOINT,
            **CENTROIDS,
            "threshold": "the feature-path detector of the held-out protocol",
            "train": "features of the training images, or data.h5",
            "calibration": "features of the clean calibration images, or data.h5",
            "adversarial": "features of adversarial examples of them, or the attack, for Otsu's threshold",
        },
        keys=("calibration", "detection", "detectors", "torch_threads"),
        network=True,
    ),
    "detector_evaluation": Stage(
        outputs={
            "metrics": "detection/{pooling}/detector_evaluation.json",
            "records": "detection/{pooling}/detector_evaluation.h5",
        },
        inputs={
            "detectors": "calibrated detectors",
            **CENTROIDS,
            "calibration": "features of adversarial calibration images, or the attacks (one or more)",
            "test": "features of the clean test images, or data.h5",
            "adversarial": "features of adversarial examples of them, or the attacks (one or more)",
            "checkpoint": "the network's checkpoint, where it has to run (optional)",
        },
        keys=("torch_threads",),
        network=True,
    ),
    "adaptive": Stage(
        outputs={"adaptive": "adaptive/{pooling}.h5"},
        inputs=FROZEN,
        keys=("adaptive", "attacks", "recognition", "seeds", "torch_threads"),
        network=True,
        sharded=True,
    ),
    "worst_case": Stage(
        outputs={"metrics": "adaptive/{pooling}.json"},
        inputs={
            "adaptive": "all attacks on a defence",
            "threshold": "the defence's thresholds",
            "detectors": "the calibrated detectors",
        },
        keys=("adaptive", "attacks"),
    ),
    "controls": Stage(
        outputs={"controls": "controls/{pooling}.json"},
        inputs={
            **FROZEN,
            "adaptive": "all attacks on the same defence",
            "transfer": "all attacks on another network's defence (optional)",
        },
        keys=("adaptive", "attacks", "recognition", "seeds", "torch_threads"),
        network=True,
    ),
    "run_figures": Stage(
        outputs={"record": "figures/{run}.{pooling}.{attack}.json"},
        inputs={
            **DATA,
            "clean": "feature paths of the clean test images",
            "adversarial": "feature paths of their adversarial examples, by stopping rule (one or more)",
            "detection": "detection metrics, by stopping rule (one or more)",
            "records": "detection scores, by stopping rule (one or more)",
            "recognition": "recognition metrics, by stopping rule (one or more)",
        },
    ),
    "summary_figures": Stage(
        outputs={"record": "figures/summary.json"},
        inputs={**CHECKPOINTS, **COLLAPSE},
        keys=("collapse",),
        options={
            "training": {"type": Path, "nargs": "*", "default": [], "help": "the table of epochs of every trained run"}
        },
    ),
    "tables": Stage(
        outputs={"record": "tables/tables.json"},
        inputs={
            **CHECKPOINTS,
            "attacks": "every attack on the test images of every run (one or more)",
            "detection": "the detection metrics of every attack (one or more)",
            "recognition": "the recognition metrics of every attack (one or more)",
            **COLLAPSE,
        },
        keys=("attacks", "data"),
    ),
    "comparison": Stage(
        outputs={"record": "tables/comparison.json"},
        inputs={**CHECKPOINTS, **EVALUATIONS, **ATTACKED_DEFENSES},
        keys=("attacks",),
    ),
    "comparison_figures": Stage(
        outputs={"record": "figures/comparison.json"},
        inputs={
            **EVALUATIONS,
            "scores": "their scores, in the same order (one or more)",
            **ATTACKED_DEFENSES,
            "records": "all attacks on the defences, in the same order (any number)",
        },
        keys=("calibration",),
    ),
    "gather": Stage(
        outputs={"artefacts": "ARTEFACT.h5"},
        inputs={"shards": "ARTEFACT/I-of-N.h5, all shards of all artefacts (one or more)"},
        several=True,
    ),
    "configuration": Stage(
        outputs={"config": "config.json", "page": "tables/configuration.html"},
        keys=("all",),
    ),
}
"""Every stage by its name, which is that of its module in `featurepaths.stages`."""
