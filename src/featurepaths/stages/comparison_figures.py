"""Figures of the adaptive evaluation: the verdict, accuracy by eps and search budget, ROC curves."""

from featurepaths.stages import cli
from featurepaths.statistics.metrics import ranking_metrics, roc_curve
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json


def main(arguments):
    from featurepaths.report.figures import adaptive as plots
    from featurepaths.report.figures.style import KINDS, save

    origin = cli.origin_of_record(arguments)
    figures = {}
    records = {(run_of(path), path.stem): path for path in arguments.records}
    for metrics, scores in zip(arguments.evaluations, arguments.scores, strict=True):
        run, pooling = metrics.parts[-4], metrics.parent.name
        matrices = {each["detector"]: each["matrix"] for each in read_json(metrics)["detectors"]}
        title = f"Calibrated on one attack, tested on another: {run}, {pooling} features"
        figures[f"matrix.{run}.{pooling}"] = title, plots.matrix_figure(matrices)
        attack = arguments.settings.calibrated_on
        adaptive = adaptive_curves(records[run, pooling]) if (run, pooling) in records else {}
        title = f"Detectors under {attack} and under attacks on themselves: {run}, {pooling} features"
        figures[f"detectors.{run}.{pooling}"] = title, plots.detector_rocs(oblivious_curves(scores, attack), adaptive)
    for pooling in sorted({path.stem for path in arguments.adaptive}):
        found = {run_of(path): read_json(path) for path in arguments.adaptive if path.stem == pooling}
        title = f"Robustness against an attacker who knows the defence ({pooling} features)"
        figures[f"verdict.{pooling}"] = title, plots.verdict_figure(found)
    for pooling in sorted({path.stem for path in arguments.controls}):
        found = {run_of(path): read_json(path) for path in arguments.controls if path.stem == pooling}
        title = f"Accuracy under stronger attacks ({pooling} features)"
        figures[f"curves.{pooling}"] = title, plots.accuracy_curves(found)
    for name, (title, figure) in figures.items():
        save(figure, title, arguments.record.with_name(name))
    cli.write_record(arguments.record, origin, (f"{name}.{kind}" for name in figures for kind in KINDS))


def run_of(path):
    """Return the run that an artefact, ``<run>/<kind>/<pooling>``, belongs to."""
    return path.parts[-3]


def oblivious_curves(path, attack):
    """Return each detector's ROC curve and AUROC under an attack that knows none of them."""
    with open_hdf5(path) as file:
        pairs = {name: group[attack] for name, group in file.items()}
        return {name: curve(pair["clean_score"][:], pair["adversarial_score"][:]) for name, pair in pairs.items()}


def adaptive_curves(path):
    """Return each detector's ROC curve and AUROC under the attack on itself."""
    with open_hdf5(path) as file:
        return {name: curve(group["clean_score"][:], group["score"][:]) for name, group in file["detectors"].items()}


def curve(clean, adversarial):
    """Return false and true positive rates, and the area under them."""
    return *roc_curve(clean, adversarial), ranking_metrics(clean, adversarial)["auroc"]


if __name__ == "__main__":
    cli.run("comparison_figures", main)
