"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""

TABLES = ["architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "summary", "collapse"]
COMPARED, VERDICT, CONTROLLED = ["calibration_matrix"], [], []
if EXPERIMENT.adaptive:
    COMPARED += ["comparison", "adaptive", "evasion", "adaptive_summary"]
    VERDICT = [shown_page("verdict", "The verdict", verdict="In words"), "<results>/tables/verdict.md"]
    if EXPERIMENT.adaptive.controls:
        COMPARED += ["controls", "checks"]
        CONTROLLED = EXPERIMENT.adaptive_poolings
RUN_FIGURES = {
    "paths": "Figure 1: mean feature paths",
    "histogram": "Figures 2 and 4: detection scores",
    "layers": "Figures 3 and 5: accuracy by layer",
    "roc": "ROC curves",
}
LABELS = {wildcard: f"{{{wildcard}}}" for wildcard in ("run", "pooling", "attack")}
RUNS = [f"{run}.{pooling}" for run, pooling in product(PLAN.runs, PLAN.poolings)]
TRAINING = [f"{RESULTS}/{run}/training.csv" for run in PLAN.trained]


localrules:
    tables,
    summary_figures,
    configuration,


use rule small_job as tables with:
    input:
        files("tables"),
    output:
        table_files(TABLES, "Tables"),
        "<results>/tables/tables.json",
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    params:
        job=job("tables", keys=["attacks", "data"]),


use rule small_job as run_figures with:
    input:
        files("run_figures"),
    output:
        [figure_files(f"{kind}.{{run}}.{{pooling}}.{{attack}}", name, **LABELS) for kind, name in RUN_FIGURES.items()],
        "<results>/figures/{run}.{pooling}.{attack}.json",
    log:
        "<run>/logs/figures.{pooling}.{attack}.log",
    benchmark:
        "<run>/benchmarks/figures.{pooling}.{attack}.tsv"
    group:
        cluster_group("evaluation")
    params:
        job=job("run_figures"),


use rule small_job as summary_figures with:
    input:
        files("summary_figures"),
        training=ancient(TRAINING),
    output:
        [
            figure_files(
                f"collapse.{pooling}", "Training and collapse", figure=f"Collapse by layer, {pooling} features"
            )
            for pooling in PLAN.poolings
        ],
        figure_files("training", "Training and collapse", figure="Training curves") if TRAINING else [],
        "<results>/figures/summary.json",
    log:
        "<results>/logs/summary_figures.log",
    benchmark:
        "<results>/benchmarks/summary_figures.tsv"
    params:
        job=job("summary_figures", keys=["collapse"], options=["--training", *TRAINING]),


if EXPERIMENT.detectors_are_tested:

    localrules:
        comparison,
        comparison_figures,

    use rule small_job as comparison with:
        input:
            files("comparison"),
        output:
            VERDICT,
            table_files(["detectors"], "Detectors"),
            table_files(COMPARED, "Adaptive attacks"),
            "<results>/tables/comparison.json",
        log:
            "<results>/logs/comparison.log",
        benchmark:
            "<results>/benchmarks/comparison.tsv"
        params:
            job=job("comparison", keys=["attacks"]),

    use rule small_job as comparison_figures with:
        input:
            files("comparison_figures"),
        output:
            [figure_files(f"detectors.{run}", "Detectors") for run in RUNS],
            [figure_files(f"matrix.{run}", "Detectors") for run in RUNS],
            [figure_files(f"verdict.{pooling}", "The verdict") for pooling in EXPERIMENT.adaptive_poolings],
            [figure_files(f"curves.{pooling}", "Adaptive attacks") for pooling in CONTROLLED],
            "<results>/figures/comparison.json",
        log:
            "<results>/logs/comparison_figures.log",
        benchmark:
            "<results>/benchmarks/comparison_figures.tsv"
        params:
            job=job("comparison_figures", keys=["calibration"]),


use rule small_job as configuration with:
    input:
        files("configuration"),
    output:
        config="<results>/config.json",
        page=shown_page("configuration", "Configuration", table="Configuration and versions"),
    log:
        "<results>/logs/configuration.log",
    benchmark:
        "<results>/benchmarks/configuration.tsv"
    params:
        job=job("configuration", keys=["all"]),
