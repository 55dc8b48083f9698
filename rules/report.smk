"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""

TABLES = {
    "architecture": "Table 1: networks",
    "accuracy": "Tables 2 and 4: accuracy",
    "attacks": "Attacks on the undefended networks",
    "combinations": "Table 3: votes of middle layers",
    "detection": "Detection, all metrics",
    "recognition": "Recognition, all thresholds",
    "summary": "Summary over seeds",
    "collapse": "Collapse by layer",
}
RUN_FIGURES = {
    "paths": "Figure 1: mean feature paths",
    "histogram": "Figures 2 and 4: detection scores",
    "layers": "Figures 3 and 5: accuracy by layer",
    "roc": "ROC curves",
}
# Tables and figures of the detectors, and of adaptive attacks where there are any.
COMPARED = {"detectors": "Detectors", "calibration_matrix": "Calibrated on one attack, tested on another"}
COMPARISON_FIGURES = {
    kind: [f"{kind}.{run}.{pooling}" for run, pooling in product(PLAN.runs, PLAN.poolings)]
    for kind in ("detectors", "matrix")
} | {"verdict": [], "curves": []}
if EXPERIMENT.adaptive:
    COMPARED |= {
        "comparison": "The fair comparison",
        "adaptive": "Every attack on the defences",
        "evasion": "Detection alone",
        "adaptive_summary": "Over seeds",
    }
    COMPARISON_FIGURES["verdict"] = [f"verdict.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]
    if EXPERIMENT.adaptive.controls:
        COMPARED |= {"controls": "Controls for masked gradients", "checks": "Results of the controls"}
        COMPARISON_FIGURES["curves"] = [f"curves.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]
CATEGORIES = {"detectors": "Detectors", "matrix": "Detectors", "verdict": "The verdict", "curves": "Adaptive attacks"}


def shown(path, caption, category, **labels):
    """Return an output that Snakemake's report shows."""
    return report(path, caption=f"../captions/{caption}.rst", category=category, labels=labels)


localrules:
    tables,
    summary_figures,
    configuration,


rule tables:
    input:
        files("tables"),
    output:
        [shown(f"<results>/tables/{table}.html", table, "Tables", table=title) for table, title in TABLES.items()],
        expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["csv", "md"]),
        "<results>/tables/tables.json",
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths"),
    params:
        job=job("tables", keys=["attacks", "data"]),
    shell:
        call("tables")


rule run_figures:
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
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths"),
    params:
        job=job("run_figures"),
    shell:
        call("run_figures")


SUMMARY_FIGURES = {f"collapse.{pooling}": f"Collapse by layer, {pooling} features" for pooling in PLAN.poolings}
if PLAN.trained:
    SUMMARY_FIGURES["training"] = "Training curves"
SUMMARY_CAPTIONS = {"training": "training", "collapse": "collapse_figure"}


rule summary_figures:
    input:
        files("summary_figures"),
        training=ancient(expand("<results>/{run}/training.csv", run=PLAN.trained)),
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
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths"),
    params:
        job=job("summary_figures", keys=["collapse"]),
    shell:
        call("summary_figures", " --training {input.training}")


if EXPERIMENT.detectors_are_tested:

    localrules:
        comparison,
        comparison_figures,

    rule comparison:
        input:
            files("comparison"),
        output:
            [
                shown("<results>/tables/verdict.html", "verdict", "The verdict", verdict="In words"),
                "<results>/tables/verdict.md",
            ][: 2 * bool(EXPERIMENT.adaptive)],
            [
                shown(
                    f"<results>/tables/{table}.html",
                    table,
                    "Adaptive attacks" if table != "detectors" else "Detectors",
                    table=title,
                )
                for table, title in COMPARED.items()
            ],
            expand("<results>/tables/{table}.{kind}", table=COMPARED, kind=["csv", "md"]),
            "<results>/tables/comparison.json",
        log:
            "<results>/logs/comparison.log",
        benchmark:
            "<results>/benchmarks/comparison.tsv"
        conda:
            "../envs/featurepaths.yaml"
        threads: 1
        resources:
            mem_mb=memory("over_paths"),
            runtime=minutes("over_paths"),
        params:
            job=job("comparison", keys=["attacks"]),
        shell:
            call("comparison")

    rule comparison_figures:
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
        conda:
            "../envs/featurepaths.yaml"
        threads: 1
        resources:
            mem_mb=memory("over_paths"),
            runtime=minutes("over_paths"),
        params:
            job=job("comparison_figures", keys=["calibration"]),
        shell:
            call("comparison_figures")


rule configuration:
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
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths"),
    params:
        job=job("configuration", keys=["all"]),
    shell:
        call("configuration", " --page {output.page}")
