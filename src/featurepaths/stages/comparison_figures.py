"""Figures of what attackers who know the defence left: the verdict, accuracy by eps and budget, ROC curves."""

from pathlib import Path

from featurepaths.detection.metrics import ranking_metrics, roc_curve
from featurepaths.stages import command
from featurepaths.storage import open_hdf5, read_json


def main(arguments):
    from featurepaths.report import comparison_figures as make
    from featurepaths.report.figures import KINDS, save

    inputs = [*arguments.detectors, *arguments.scores, *arguments.adaptive, *arguments.records, *arguments.controls]
    digest = command.check_inputs("comparison_figures", arguments, inputs)
    figures = {}
    for path in arguments.detectors:
        matrices = {each["detector"]: each["matrix"] for each in read_json(path)["detectors"]}
        title = f"Calibrated on one attack, tested on another: {label_of(path)}"
        figures[f"matrix.{run_of(path)}.{path.stem}"] = title, make.matrix_figure(matrices)
    records = {(run_of(path), path.stem): path for path in arguments.records}
    for path in arguments.scores:
        where = run_of(path), path.stem
        oblivious, name = oblivious_curves(path, arguments.settings["calibrated_on"])
        adaptive = adaptive_curves(records[where]) if where in records else {}
        title = f"Detectors, under {name} and each under attack itself: {label_of(path)}"
        figures[f"detectors.{where[0]}.{where[1]}"] = title, make.detector_rocs(oblivious, adaptive)
    for pooling in sorted({path.stem for path in arguments.adaptive}):
        found = {run_of(path): read_json(path) for path in arguments.adaptive if path.stem == pooling}
        title = f"What is left when the attacker knows the defence ({pooling} features)"
        figures[f"verdict.{pooling}"] = title, make.verdict_figure(found)
    for pooling in sorted({path.stem for path in arguments.controls}):
        found = {run_of(path): read_json(path) for path in arguments.controls if path.stem == pooling}
        title = f"Accuracy as the attacker may do more ({pooling} features)"
        figures[f"curves.{pooling}"] = title, make.accuracy_curves(found)
    for name, (title, figure) in figures.items():
        save(figure, title, arguments.record.with_name(name))
    command.write_record(arguments.record, digest, (f"{name}.{kind}" for name in figures for kind in KINDS))


def run_of(path):
    """Return the run that an artefact, ``<run>/<kind>/<pooling>``, belongs to."""
    return path.parts[-3]


def label_of(path):
    """Return run and pooling of an artefact as a figure's title names them."""
    return f"{run_of(path)}, {path.stem} features"


def oblivious_curves(path, attack):
    """Return each detector's ROC curve and AUROC under an attack that knows none of them, and the attack."""
    with open_hdf5(path) as file:
        return {
            name: curve(group["scores/clean"][:], group[f"scores/{attack}"][:]) for name, group in file.items()
        }, attack


def adaptive_curves(path):
    """Return each detector's ROC curve and AUROC under the attack on itself."""
    with open_hdf5(path) as file:
        return {name: curve(group["clean_score"][:], group["score"][:]) for name, group in file["detectors"].items()}


def curve(clean, adversarial):
    """Return false and true positive rates, and the area under them."""
    return *roc_curve(clean, adversarial), ranking_metrics(clean, adversarial)["auroc"]


def parser():
    made = command.parser(__doc__, "calibrated_on: the oblivious attack to show, <attack>.<keep>")
    some, any_number = {"type": Path, "nargs": "+", "required": True}, {"type": Path, "nargs": "*", "default": []}
    made.add_argument("--detectors", **some, help="the detectors' metrics of every run and pooling")
    made.add_argument("--scores", **some, help="the detectors and their scores, in the same order")
    made.add_argument("--adaptive", **any_number, help="the worst case of every run and pooling that was attacked")
    made.add_argument("--records", **any_number, help="all attacks on them, in the same order")
    made.add_argument("--controls", **any_number, help="the controls of those attacks")
    made.add_argument(
        "--record", type=Path, required=True, help="the record to write; the figures are written beside it"
    )
    return made


if __name__ == "__main__":
    command.run(main, parser())
