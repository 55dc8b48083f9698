"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""

TABLES = ["architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "summary", "collapse"]
RUN_FIGURES = {
    "paths": "Figure 1: mean feature paths",
    "histogram": "Figures 2 and 4: detection scores",
    "layers": "Figures 3 and 5: accuracy by layer",
    "roc": "ROC curves",
}
# Tables and figures of the detectors, and of adaptive attacks where there are any.
COMPARED = ["detectors", "calibration_matrix"]
COMPARISON_FIGURES = {
    kind: [f"{kind}.{run}.{pooling}" for run, pooling in product(PLAN.runs, PLAN.poolings)]
    for kind in ("detectors", "matrix")
} | {"verdict": [], "curves": []}
if EXPERIMENT.adaptive:
    COMPARED += ["comparison", "adaptive", "evasion", "adaptive_summary"]
    COMPARISON_FIGURES["verdict"] = [f"verdict.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]
    if EXPERIMENT.adaptive.controls:
        COMPARED += ["controls", "checks"]
        COMPARISON_FIGURES["curves"] = [f"curves.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]
CATEGORIES = {"detectors": "Detectors", "matrix": "Detectors", "verdict": "The verdict", "curves": "Adaptive attacks"}


localrules:
    tables,
    summary_figures,
    configuration,


use rule small_job as tables with:
    input:
        files("tables"),
    output:
        [shown_table(table, "Tables") for table in TABLES],
        expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["csv", "md"]),
        "<results>/tables/tables.json",
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    params:
        job=job("tables", keys=["attacks", "data"]),
        stage="tables",


use rule small_job as run_figures with:
    input:
        files("run_figures"),
    output:
        [
            shown(
                f"<results>/figures/{figure}.{{run}}.{{pooling}}.{{attack}}.png",
                figure,
                category,
                run="{run}",
                pooling="{pooling}",
                attack="{attack}",
            )
            for figure, category in RUN_FIGURES.items()
        ],
        [f"<results>/figures/{figure}.{{run}}.{{pooling}}.{{attack}}.svg" for figure in RUN_FIGURES],
        "<results>/figures/{run}.{pooling}.{attack}.json",
    log:
        "<run>/logs/figures.{pooling}.{attack}.log",
    benchmark:
        "<run>/benchmarks/figures.{pooling}.{attack}.tsv"
    params:
        job=job("run_figures"),
        stage="run_figures",


SUMMARY_FIGURES = {f"collapse.{pooling}": f"Collapse by layer, {pooling} features" for pooling in PLAN.poolings}
if PLAN.trained:
    SUMMARY_FIGURES["training"] = "Training curves"
TRAINING = [f"{RESULTS}/{run}/training.csv" for run in PLAN.trained]
SUMMARY_CAPTIONS = {"training": "training", "collapse": "collapse_figure"}


use rule small_job as summary_figures with:
    input:
        files("summary_figures"),
        training=ancient(TRAINING),
    output:
        [
            shown(
                f"<results>/figures/{figure}.png",
                SUMMARY_CAPTIONS[figure.split(".")[0]],
                "Training and collapse",
                figure=title,
            )
            for figure, title in SUMMARY_FIGURES.items()
        ],
        expand("<results>/figures/{figure}.svg", figure=SUMMARY_FIGURES),
        "<results>/figures/summary.json",
    log:
        "<results>/logs/summary_figures.log",
    benchmark:
        "<results>/benchmarks/summary_figures.tsv"
    params:
        job=job("summary_figures", keys=["collapse"], options=["--training", *TRAINING]),
        stage="summary_figures",


if EXPERIMENT.detectors_are_tested:

    localrules:
        comparison,
        comparison_figures,

    use rule small_job as comparison with:
        input:
            files("comparison"),
        output:
            [
                shown("<results>/tables/verdict.html", "verdict", "The verdict", verdict="In words"),
                "<results>/tables/verdict.md",
            ][: 2 * bool(EXPERIMENT.adaptive)],
            [shown_table(table, "Adaptive attacks" if table != "detectors" else "Detectors") for table in COMPARED],
            expand("<results>/tables/{table}.{kind}", table=COMPARED, kind=["csv", "md"]),
            "<results>/tables/comparison.json",
        log:
            "<results>/logs/comparison.log",
        benchmark:
            "<results>/benchmarks/comparison.tsv"
        params:
            job=job("comparison", keys=["attacks"]),
            stage="comparison",

    use rule small_job as comparison_figures with:
        input:
            files("comparison_figures"),
        output:
            [
                shown(f"<results>/figures/{figure}.png", f"{kind}_figure", CATEGORIES[kind], figure=figure)
                for kind, figures in COMPARISON_FIGURES.items()
                for figure in figures
            ],
            [f"<results>/figures/{figure}.svg" for figures in COMPARISON_FIGURES.values() for figure in figures],
            "<results>/figures/comparison.json",
        log:
            "<results>/logs/comparison_figures.log",
        benchmark:
            "<results>/benchmarks/comparison_figures.tsv"
        params:
            job=job("comparison_figures", keys=["calibration"]),
            stage="comparison_figures",


use rule small_job as configuration with:
    input:
        files("configuration"),
    output:
        config="<results>/config.json",
        page=shown(
            "<results>/tables/configuration.html", "configuration", "Configuration", table="Configuration and versions"
        ),
    log:
        "<results>/logs/configuration.log",
    benchmark:
        "<results>/benchmarks/configuration.tsv"
    params:
        job=job("configuration", keys=["all"]),
        stage="configuration",
