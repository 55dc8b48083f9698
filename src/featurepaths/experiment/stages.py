"""Declarations of all stages: settings, inputs and outputs. Their commands are in `featurepaths.stages`.

The plan, the paths in the rules and the stages' command lines follow from `STAGES`. In a path, ``{images}`` is a split
or ``<split>.<attack>.<stopping_rule>``, ``{attacked}`` is ``<attack>.<stopping_rule>``, and ``{calibration}`` is
``held-out`` or ``paper.<attack>.<stopping_rule>``.
"""

from pathlib import Path

from featurepaths.experiment.config import settings
from featurepaths.experiment.stage import ANY_NUMBER, ONE_OR_MORE, OPTIONAL, Input, Stage

CHECKPOINT = {"checkpoint": Input("the network's checkpoint")}
DATA = {"data": Input("data.h5")}
CENTROIDS = {"centroids": Input("class centroids of the same network and pooling")}
TRAIN_FEATURES = {"features": Input("features of the training images")}
PAIR = {
    "clean": Input("feature paths of clean images"),
    "adversarial": Input("feature paths of adversarial examples of the same images"),
}
THRESHOLDS = {"thresholds": Input("layers, weights and thresholds of the detector, one file per protocol", ONE_OR_MORE)}
FROZEN = {
    **CHECKPOINT,
    **DATA,
    **CENTROIDS,
    "threshold": Input("layers, weights and thresholds of the held-out protocol"),
    "selection": Input("voting layers of the held-out protocol"),
    "detectors": Input("calibrated detectors"),
    "attack": Input("the oblivious attack on the test images"),
}
CHECKPOINTS = {"checkpoints": Input("the checkpoint of every run", ONE_OR_MORE)}
COLLAPSE = {"collapse": Input("the collapse metrics of every run and pooling", ONE_OR_MORE)}
EVALUATIONS = {"evaluations": Input("the metrics of all detectors, of every run and pooling", ONE_OR_MORE)}
WORST_CASES = {"adaptive": Input("the worst case of every run and pooling under attack", ANY_NUMBER)}
CONTROLS = {"controls": Input("the controls of those attacks", ANY_NUMBER)}

STAGES = {
    "data": Stage(
        outputs={"data": "data.h5"},
        settings=settings.Data,
        keys=("data",),
        options={"threads": {"type": int, "default": 1, "help": "processes that read the images of a folder"}},
    ),
    "train": Stage(
        outputs={"checkpoint": "checkpoint.safetensors", "training": "training.csv"},
        inputs=DATA,
        settings=settings.Train,
        keys=("models", "training", "seeds", "torch_threads"),
        network=True,
    ),
    "pretrained": Stage(
        outputs={"checkpoint": "checkpoint.safetensors"},
        inputs=DATA,
        settings=settings.Pretrained,
        keys=("models", "seeds", "torch_threads"),
    ),
    "attack": Stage(
        outputs={"adversarial": "attacks/{split}.{attack}.h5"},
        inputs={**CHECKPOINT, **DATA},
        settings=settings.Attack,
        keys=("attacks", "seeds", "torch_threads"),
        network=True,
        sharded=True,
    ),
    "features": Stage(
        outputs={"features": "features/{pooling}/{images}.h5"},
        inputs={**CHECKPOINT, "images": Input("data.h5, or an attack's artefact")},
        settings=settings.Images,
        keys=("torch_threads",),
        network=True,
        sharded=True,
        several=True,
    ),
    "centroids": Stage(outputs={"centroids": "centroids/{pooling}.h5"}, inputs=TRAIN_FEATURES),
    "collapse": Stage(outputs={"collapse": "collapse/{pooling}.json"}, inputs=TRAIN_FEATURES),
    "paths": Stage(
        outputs={"paths": "paths/{pooling}/{images}.h5"},
        inputs={"features": Input("features of some images"), **CENTROIDS},
    ),
    "streamed_classes": Stage(
        outputs={"centroids": "centroids/{pooling}.h5", "collapse": "collapse/{pooling}.json"},
        inputs={**CHECKPOINT, **DATA},
        settings=settings.OnNetwork,
        keys=("torch_threads",),
        network=True,
        several=True,
    ),
    "streamed_paths": Stage(
        outputs={"paths": "paths/{pooling}/{images}.h5"},
        inputs={**CHECKPOINT, "images": Input("data.h5, or an attack's artefact"), **CENTROIDS},
        settings=settings.Images,
        keys=("torch_threads",),
        network=True,
        sharded=True,
    ),
    "threshold": Stage(
        outputs={"threshold": "thresholds/{pooling}/feature-paths.{calibration}.json"},
        inputs={**PAIR, "collapse": Input("the collapse metrics, for layers: auto", OPTIONAL)},
        settings=settings.Threshold,
        keys=("collapse", "detection"),
    ),
    "selection": Stage(
        outputs={"selection": "selection/{pooling}/{calibration}.json"},
        inputs={"adversarial": Input("feature paths of adversarial images")},
        settings=settings.Selection,
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
            "selections": Input(
                "voting layers and their weights, one file per protocol in the same order", ONE_OR_MORE
            ),
            **PAIR,
        },
        settings=settings.Recognition,
        keys=("recognition",),
    ),
    "detectors": Stage(
        outputs={"detectors": "detectors/{pooling}.h5"},
        inputs={
            **CHECKPOINT,
            **CENTROIDS,
            "threshold": Input("the feature-path detector of the held-out protocol"),
            "train": Input("features of the training images, or data.h5"),
            "calibration": Input("features of the clean calibration images, or data.h5"),
            "adversarial": Input("features of adversarial examples of them, or the attack, for Otsu's threshold"),
        },
        settings=settings.Detectors,
        keys=("calibration", "detection", "detectors", "torch_threads"),
        network=True,
    ),
    "detector_evaluation": Stage(
        outputs={
            "metrics": "detection/{pooling}/detector_evaluation.json",
            "records": "detection/{pooling}/detector_evaluation.h5",
        },
        inputs={
            "detectors": Input("calibrated detectors"),
            **CENTROIDS,
            "calibration": Input("features of adversarial calibration images, or the attacks", ONE_OR_MORE),
            "test": Input("features of the clean test images, or data.h5"),
            "adversarial": Input("features of adversarial examples of them, or the attacks", ONE_OR_MORE),
            "checkpoint": Input("the network's checkpoint, where it has to run", OPTIONAL),
        },
        settings=settings.DetectorEvaluation,
        keys=("torch_threads",),
        network=True,
    ),
    "adaptive": Stage(
        outputs={"adaptive": "adaptive/{pooling}.h5"},
        inputs=FROZEN,
        settings=settings.Adaptive,
        keys=("adaptive", "attacks", "recognition", "seeds", "torch_threads"),
        network=True,
        sharded=True,
    ),
    "worst_case": Stage(
        outputs={"metrics": "adaptive/{pooling}.json"},
        inputs={
            "adaptive": Input("all attacks on a defence"),
            "threshold": Input("the defence's thresholds"),
            "detectors": Input("the calibrated detectors"),
        },
        settings=settings.WorstCase,
        keys=("adaptive", "attacks"),
    ),
    "controls": Stage(
        outputs={"controls": "controls/{pooling}.json"},
        inputs={
            **FROZEN,
            "adaptive": Input("all attacks on the same defence"),
            "transfer": Input("all attacks on another network's defence", OPTIONAL),
        },
        settings=settings.ControlsOfAdaptive,
        keys=("adaptive", "attacks", "recognition", "seeds", "torch_threads"),
        network=True,
    ),
    "run_figures": Stage(
        outputs={"record": "figures/{run}.{pooling}.{attack}.json"},
        inputs={
            **DATA,
            "clean": Input("feature paths of the clean test images"),
            "adversarial": Input("feature paths of their adversarial examples, by stopping rule", ONE_OR_MORE),
            "detection": Input("detection metrics, by stopping rule", ONE_OR_MORE),
            "records": Input("detection scores, by stopping rule", ONE_OR_MORE),
            "recognition": Input("recognition metrics, by stopping rule", ONE_OR_MORE),
            "answers": Input("recognition records, by stopping rule", ONE_OR_MORE),
            "attack": Input("the attack on the test images"),
            "adaptive": Input("all attacks on the frozen defence, if it starts from this attack", OPTIONAL),
        },
        settings=settings.RunFigures,
        keys=("attacks", "models", "seeds", "training"),
    ),
    "summary_figures": Stage(
        outputs={"record": "figures/summary.json"},
        inputs={**CHECKPOINTS, **COLLAPSE},
        settings=settings.SummaryFigures,
        keys=("collapse",),
        options={
            "training": {"type": Path, "nargs": "*", "default": [], "help": "the table of epochs of every trained run"}
        },
    ),
    "tables": Stage(
        outputs={"record": "tables/tables.json"},
        inputs={
            **CHECKPOINTS,
            "attacks": Input("every attack on the test images of every run", ONE_OR_MORE),
            "detection": Input("the detection metrics of every attack", ONE_OR_MORE),
            "recognition": Input("the recognition metrics of every attack", ONE_OR_MORE),
            **COLLAPSE,
        },
        settings=settings.Tables,
        keys=("attacks", "data"),
    ),
    "comparison": Stage(
        outputs={"record": "tables/comparison.json"},
        inputs={**CHECKPOINTS, **EVALUATIONS, **WORST_CASES, **CONTROLS},
        settings=settings.Comparison,
        keys=("attacks",),
    ),
    "comparison_figures": Stage(
        outputs={"record": "figures/comparison.json"},
        inputs={
            **EVALUATIONS,
            "scores": Input("their scores, in the same order", ONE_OR_MORE),
            **WORST_CASES,
            "records": Input("all attacks, in the same order as their worst cases", ANY_NUMBER),
            **CONTROLS,
        },
        settings=settings.ComparisonFigures,
        keys=("attacks", "calibration"),
    ),
    "explorer": Stage(
        outputs={"record": "explore.json"},
        inputs={
            **DATA,
            "attacks": Input("every attack on the test images of every run", ONE_OR_MORE),
            "clean": Input("feature paths of the clean test images, of every run and pooling", ONE_OR_MORE),
            "adversarial": Input("feature paths of their adversarial examples, by stopping rule", ONE_OR_MORE),
            "detection": Input("their detection metrics, in the same order", ONE_OR_MORE),
            "scores": Input("their scores, in the same order", ONE_OR_MORE),
            "recognition": Input("their recognition metrics, in the same order", ONE_OR_MORE),
            "answers": Input("the predictions of network and defence, in the same order", ONE_OR_MORE),
            "adaptive": Input("all attacks on every defence under adaptive attack", ANY_NUMBER),
        },
        settings=settings.Explorer,
        keys=("adaptive", "attacks"),
    ),
    "gather": Stage(
        outputs={"artefacts": "ARTEFACT.h5"},
        inputs={"shards": Input("ARTEFACT/I-of-N.h5, all shards of all artefacts", ONE_OR_MORE)},
        several=True,
    ),
    "configuration": Stage(
        outputs={"config": "config.json", "page": "tables/configuration.html"},
        settings=settings.Configuration,
        keys=("all",),
    ),
}
"""Every stage by its name, which is that of its module in `featurepaths.stages`."""
