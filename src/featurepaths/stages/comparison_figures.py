"""Figures of the adaptive evaluation: the verdict, accuracy by eps and search budget, ROC curves."""

from featurepaths.report.figures import adaptive as plots
from featurepaths.report.figures.style import save
from featurepaths.report.results import read_results
from featurepaths.stages import cli
from featurepaths.statistics.metrics import ranking_metrics, roc_curve
from featurepaths.store.hdf5 import open_hdf5


def main(arguments):
    origin = cli.origin_of_record(arguments)
    cli.write_record(arguments.record, origin, save(figures(arguments), arguments.record.parent))


def figures(arguments):
    """Yield the name, the title and the figure of each figure."""
    adaptive, controls = read_results(arguments.adaptive), read_results(arguments.controls)
    records = dict(zip(((result.run, result.pooling) for result in adaptive), arguments.records, strict=True))
    attack = arguments.settings["calibrated_on"]
    for result, scores in zip(read_results(arguments.evaluations), arguments.scores, strict=True):
        of = f"{result.run}, {result.pooling} features"
        name = f"{result.run}.{result.pooling}"
        matrices = {each["detector"]: each["matrix"] for each in result.content["detectors"]}
        yield f"matrix.{name}", f"Calibrated on one attack, tested on another: {of}", plots.matrix_figure(matrices)
        curves = oblivious_curves(scores, attack), adaptive_curves(records.get((result.run, result.pooling)))
        title = f"Detectors under {attack} and under attacks on themselves: {of}"
        yield f"detectors.{name}", title, plots.detector_rocs(*curves)
    for kind, title, results, draw in (
        ("verdict", "Robustness against an attacker who knows the defence", adaptive, plots.verdict_figure),
        ("curves", "Accuracy under stronger attacks", controls, plots.accuracy_curves),
    ):
        for pooling in sorted({result.pooling for result in results}):
            runs = {str(result.run): result.content for result in results if result.pooling == pooling}
            yield f"{kind}.{pooling}", f"{title} ({pooling} features)", draw(runs)


def oblivious_curves(path, attack):
    """Return each detector's ROC curve and AUROC under an attack that knows none of them."""
    with open_hdf5(path) as file:
        return {name: curve(group[attack], "adversarial_score") for name, group in file.items()}


def adaptive_curves(path):
    """Return each detector's ROC curve and AUROC under the attack on itself; none without a file."""
    if path is None:
        return {}
    with open_hdf5(path) as file:
        return {name: curve(group, "score") for name, group in file["detectors"].items()}


def curve(group, adversarial):
    """Return false and true positive rates, and the area under them."""
    scores = group["clean_score"][:], group[adversarial][:]
    return *roc_curve(*scores), ranking_metrics(*scores)["auroc"]


if __name__ == "__main__":
    cli.run("comparison_figures", main)
