"""Figures of the adaptive evaluation: the verdict, accuracy by eps and search budget, ROC curves."""

from featurepaths.attacks.budget import budget
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
    attack, calibrated = arguments.settings.calibrated_on, arguments.settings.budget
    adaptive, controls = read_results(arguments.adaptive), read_results(arguments.controls)
    # all adaptive attacks search in one ball
    (ball,) = {tuple(result.content[key] for key in ("norm", "eps", "eps_space")) for result in adaptive} or {None}
    on_itself = {}
    for result, records in zip(adaptive, arguments.records, strict=True):
        with open_hdf5(records) as file:
            on_itself[result.run, result.pooling] = curves(file["detectors"], "score")
    for result, scores in zip(read_results(arguments.evaluations), arguments.scores, strict=True):
        with open_hdf5(scores) as file:
            oblivious = curves({name: group[attack] for name, group in file.items()}, "adversarial_score")
        name, source = f"{result.run}.{result.pooling}", f"{result.run}, {result.pooling} features"
        matrices = {detector["detector"]: detector["matrix"] for detector in result.content["detectors"]}
        yield f"matrix.{name}", f"Calibrated on one attack, tested on another: {source}", plots.matrix_figure(matrices)
        itself = on_itself.get((result.run, result.pooling), {})
        under = f"{attack} ({calibrated})"
        under += f" and under attacks on themselves ({budget(*ball)})" if itself else ""
        yield f"detectors.{name}", f"Detectors under {under}: {source}", plots.detector_rocs(oblivious, itself)
    for kind, title, results, draw in (
        ("verdict", "Accuracy without an attack and under attack", adaptive, plots.verdict_figure),
        ("curves", "Accuracy under stronger attacks", controls, plots.accuracy_curves),
    ):
        for pooling in sorted({result.pooling for result in results}):
            runs = {str(result.run): result.content for result in results if result.pooling == pooling}
            yield f"{kind}.{pooling}", f"{title}: {pooling} features, {budget(*ball)}", draw(runs)


def curves(detectors, adversarial):
    """Return each detector's false and true positive rates, and the area under them."""
    pairs = {name: (scores["clean_score"][:], scores[adversarial][:]) for name, scores in detectors.items()}
    return {name: (*roc_curve(*pair), ranking_metrics(*pair)["auroc"]) for name, pair in pairs.items()}


if __name__ == "__main__":
    cli.run("comparison_figures", main)
