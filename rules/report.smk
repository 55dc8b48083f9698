"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/`, `explore.html` and `config.json`.
"""

# Snakemake's report sorts its categories by name; these tell a story, from the verdict to the configuration.
VERDICT, IMAGES, ADAPTIVE, PAPER, DETECTORS, NETWORKS, RECORD = (
    f"{number}. {name}"
    for number, name in enumerate(
        [
            "The verdict",
            "Attacked images",
            "Adaptive attacks and controls",
            "Detection and recognition",
            "All detectors",
            "Training and collapse",
            "Configuration",
        ],
        start=1,
    )
)
TABLES = {
    PAPER: ["accuracy", "attacks", "combinations", "detection", "recognition", "summary"],
    NETWORKS: ["architecture", "collapse"],
}
COMPARED = {DETECTORS: ["detectors", "calibration_matrix"]}
CONTROLLED, ANSWER = [], []
if EXPERIMENT.adaptive:
    ANSWER = [shown_page("verdict", VERDICT, result="The verdict, network by network")]
    ANSWER += expand("<results>/tables/{file}", file=["verdict.md", "answer.html"])
    COMPARED |= {VERDICT: ["comparison"], ADAPTIVE: ["adaptive", "evasion", "adaptive_summary"]}
    if EXPERIMENT.adaptive.controls:
        COMPARED[ADAPTIVE] += ["controls", "checks"]
        CONTROLLED = EXPERIMENT.adaptive_poolings
RUN_FIGURES = {
    "examples": (IMAGES, "attacked test images"),
    "confusion": (IMAGES, "confusion under attack"),
    "paths": (IMAGES, "mean feature paths (Figure 1)"),
    "histogram": (PAPER, "detection scores (Figures 2 and 4)"),
    "layers": (PAPER, "accuracy by layer (Figures 3 and 5)"),
    "roc": (PAPER, "ROC curves"),
}
LABELS = {wildcard: f"{{{wildcard}}}" for wildcard in ("run", "pooling", "attack")}
RUNS = [(f"{run}.{pooling}", {"run": run, "pooling": pooling}) for run, pooling in product(PLAN.runs, PLAN.poolings)]
TRAINING = [f"{RESULTS}/{run}/training.csv" for run in PLAN.trained]


localrules:
    tables,
    summary_figures,
    explorer,
    configuration,


use rule small_job as tables with:
    input:
        files("tables"),
    output:
        [table_files(names, category) for category, names in TABLES.items()],
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
        [figure_files(f"{kind}.{{run}}.{{pooling}}.{{attack}}", *of, **LABELS) for kind, of in RUN_FIGURES.items()],
        "<results>/figures/{run}.{pooling}.{attack}.json",
    log:
        "<run>/logs/figures.{pooling}.{attack}.log",
    benchmark:
        "<run>/benchmarks/figures.{pooling}.{attack}.tsv"
    group:
        cluster_group("figures")
    params:
        job=job("run_figures", keys=["attacks", "models", "seeds", "training"]),


use rule small_job as summary_figures with:
    input:
        files("summary_figures"),
        training=ancient(TRAINING),
    output:
        [
            figure_files(f"collapse.{pooling}", NETWORKS, "collapse by layer", pooling=pooling)
            for pooling in PLAN.poolings
        ],
        figure_files("training", NETWORKS, "training curves") if TRAINING else [],
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
            ANSWER,
            [table_files(names, category) for category, names in COMPARED.items()],
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
            [figure_files(f"detectors.{name}", DETECTORS, "ROC curves", **labels) for name, labels in RUNS],
            [figure_files(f"matrix.{name}", DETECTORS, "calibration matrix", **labels) for name, labels in RUNS],
            [
                figure_files(f"verdict.{pooling}", VERDICT, "the accuracy that remains", pooling=pooling)
                for pooling in EXPERIMENT.adaptive_poolings
            ],
            [
                figure_files(f"curves.{pooling}", ADAPTIVE, "accuracy under stronger attacks", pooling=pooling)
                for pooling in CONTROLLED
            ],
            "<results>/figures/comparison.json",
        log:
            "<results>/logs/comparison_figures.log",
        benchmark:
            "<results>/benchmarks/comparison_figures.tsv"
        params:
            job=job("comparison_figures", keys=["attacks", "calibration"]),


use rule small_job as explorer with:
    input:
        files("explorer"),
    output:
        "<results>/explore.html",
        "<results>/explore.json",
    log:
        "<results>/logs/explorer.log",
    benchmark:
        "<results>/benchmarks/explorer.tsv"
    params:
        job=job("explorer", keys=["adaptive", "attacks"]),


use rule small_job as configuration with:
    input:
        files("configuration"),
    output:
        config="<results>/config.json",
        page=shown_page("configuration", RECORD, result="Configuration and versions"),
    log:
        "<results>/logs/configuration.log",
    benchmark:
        "<results>/benchmarks/configuration.tsv"
    params:
        job=job("configuration", keys=["all"]),
