"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""


localrules:
    tables,
    summary_figures,
    configuration,


rule tables:
    input:
        unpack(lambda w: inputs(PLAN.tables())),
    output:
        architecture=report(
            "<results>/tables/architecture.html",
            caption="../captions/architecture.rst",
            category="Tables",
            labels={"table": "Table 1: networks"},
        ),
        accuracy=report(
            "<results>/tables/accuracy.html",
            caption="../captions/accuracy.rst",
            category="Tables",
            labels={"table": "Tables 2 and 4: accuracy"},
        ),
        attacks=report(
            "<results>/tables/attacks.html",
            caption="../captions/attacks.rst",
            category="Tables",
            labels={"table": "Attacks on the undefended networks"},
        ),
        combinations=report(
            "<results>/tables/combinations.html",
            caption="../captions/combinations.rst",
            category="Tables",
            labels={"table": "Table 3: votes of middle layers"},
        ),
        detection=report(
            "<results>/tables/detection.html",
            caption="../captions/detection.rst",
            category="Tables",
            labels={"table": "Detection, all metrics"},
        ),
        recognition=report(
            "<results>/tables/recognition.html",
            caption="../captions/recognition.rst",
            category="Tables",
            labels={"table": "Recognition, all thresholds"},
        ),
        summary=report(
            "<results>/tables/summary.html",
            caption="../captions/summary.rst",
            category="Tables",
            labels={"table": "Summary over seeds"},
        ),
        collapse=report(
            "<results>/tables/collapse.html",
            caption="../captions/collapse.rst",
            category="Tables",
            labels={"table": "Collapse by layer"},
        ),
        files=expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["csv", "md"]),
        record="<results>/tables/tables.json",
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.tables().params,
    shell:
        "python -m featurepaths.stages.tables --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --checkpoints {input.checkpoints} --attacks {input.attacks} --detection {input.detection}"
        " --recognition {input.recognition} --collapse {input.collapse} --record {output.record} > {log} 2>&1"


rule run_figures:
    input:
        unpack(lambda w: inputs(PLAN.run_figures(w.run, w.pooling, w.attack))),
    output:
        paths=report(
            "<results>/figures/paths.{run}.{pooling}.{attack}.png",
            caption="../captions/paths.rst",
            category="Figure 1: mean feature paths",
            labels={"run": "{run}", "pooling": "{pooling}", "attack": "{attack}"},
        ),
        histogram=report(
            "<results>/figures/histogram.{run}.{pooling}.{attack}.png",
            caption="../captions/histogram.rst",
            category="Figures 2 and 4: detection scores",
            labels={"run": "{run}", "pooling": "{pooling}", "attack": "{attack}"},
        ),
        layers=report(
            "<results>/figures/layers.{run}.{pooling}.{attack}.png",
            caption="../captions/layers.rst",
            category="Figures 3 and 5: accuracy by layer",
            labels={"run": "{run}", "pooling": "{pooling}", "attack": "{attack}"},
        ),
        roc=report(
            "<results>/figures/roc.{run}.{pooling}.{attack}.png",
            caption="../captions/roc.rst",
            category="ROC curves",
            labels={"run": "{run}", "pooling": "{pooling}", "attack": "{attack}"},
        ),
        vector=[f"<results>/figures/{figure}.{{run}}.{{pooling}}.{{attack}}.svg" for figure in RUN_FIGURES],
        record="<results>/figures/{run}.{pooling}.{attack}.json",
    log:
        "<run>/logs/figures.{pooling}.{attack}.log",
    benchmark:
        "<run>/benchmarks/figures.{pooling}.{attack}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.run_figures(w.run, w.pooling, w.attack).params,
    shell:
        "python -m featurepaths.stages.run_figures --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --data {input.data} --clean {input.clean} --adversarial {input.adversarial}"
        " --detection {input.detection} --records {input.records} --recognition {input.recognition}"
        " --record {output.record} > {log} 2>&1"


rule summary_figures:
    input:
        unpack(lambda w: inputs(PLAN.summary_figures())),
        training=ancient(expand("<results>/{run}/training.csv", run=PLAN.trained)),
    output:
        training=[
            report(
                f"<results>/figures/{figure}.png",
                caption="../captions/training.rst",
                category="Training and collapse",
                labels={"figure": "Training curves"},
            )
            for figure in SUMMARY_FIGURES
            if figure == "training"
        ],
        collapse=[
            report(
                f"<results>/figures/collapse.{pooling}.png",
                caption="../captions/collapse_figure.rst",
                category="Training and collapse",
                labels={"figure": f"Collapse by layer, {pooling} features"},
            )
            for pooling in PLAN.poolings
        ],
        vector=expand("<results>/figures/{figure}.svg", figure=SUMMARY_FIGURES),
        record="<results>/figures/summary.json",
    log:
        "<results>/logs/summary_figures.log",
    benchmark:
        "<results>/benchmarks/summary_figures.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.summary_figures().params,
    shell:
        "python -m featurepaths.stages.summary_figures --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --checkpoints {input.checkpoints} --collapse {input.collapse} --training {input.training}"
        " --record {output.record} > {log} 2>&1"


if EXPERIMENT.detectors_are_tested:

    localrules:
        comparison,
        comparison_figures,

    rule comparison:
        input:
            unpack(lambda w: inputs(PLAN.comparison())),
        output:
            verdict=[
                report(
                    "<results>/tables/verdict.html",
                    caption="../captions/verdict.rst",
                    category="The verdict",
                    labels={"verdict": "In words"},
                )
            ][: bool(EXPERIMENT.adaptive)],
            tables=[
                report(
                    f"<results>/tables/{table}.html",
                    caption=f"../captions/{table}.rst",
                    category="Attackers who know the defence" if table != "detectors" else "Rival detectors",
                    labels={"table": title},
                )
                for table, title in COMPARED.items()
            ],
            files=expand("<results>/tables/{table}.{kind}", table=COMPARED, kind=["csv", "md"]),
            words=["<results>/tables/verdict.md"][: bool(EXPERIMENT.adaptive)],
            record="<results>/tables/comparison.json",
        log:
            "<results>/logs/comparison.log",
        benchmark:
            "<results>/benchmarks/comparison.tsv"
        conda:
            "../envs/featurepaths.yaml"
        threads: 1
        resources:
            mem_mb=memory(over_paths_needs),
            runtime=minutes(over_paths_needs),
        params:
            job=lambda w: PLAN.comparison().params,
        shell:
            "python -m featurepaths.stages.comparison --settings {params.job[settings]:q} --digest {params.job[digest]}"
            " --checkpoints {input.checkpoints} --detectors {input.detectors} --adaptive {input.adaptive}"
            " --records {input.records} --controls {input.controls} --record {output.record} > {log} 2>&1"

    rule comparison_figures:
        input:
            unpack(lambda w: inputs(PLAN.comparison_figures())),
        output:
            figures=[
                report(
                    f"<results>/figures/{figure}.png",
                    caption=f"../captions/{kind}_figure.rst",
                    category=(
                        "The verdict"
                        if kind == "verdict"
                        else "Rival detectors" if kind in ("detectors", "matrix") else "Attackers who know the defence"
                    ),
                    labels={"figure": figure},
                )
                for kind, figures in COMPARISON_FIGURES.items()
                for figure in figures
            ],
            vector=[f"<results>/figures/{figure}.svg" for figures in COMPARISON_FIGURES.values() for figure in figures],
            record="<results>/figures/comparison.json",
        log:
            "<results>/logs/comparison_figures.log",
        benchmark:
            "<results>/benchmarks/comparison_figures.tsv"
        conda:
            "../envs/featurepaths.yaml"
        threads: 1
        resources:
            mem_mb=memory(over_paths_needs),
            runtime=minutes(over_paths_needs),
        params:
            job=lambda w: PLAN.comparison_figures().params,
        shell:
            "python -m featurepaths.stages.comparison_figures --settings {params.job[settings]:q}"
            " --digest {params.job[digest]} --detectors {input.detectors} --scores {input.scores}"
            " --adaptive {input.adaptive} --records {input.records} --controls {input.controls}"
            " --record {output.record} > {log} 2>&1"


rule configuration:
    input:
        unpack(lambda w: inputs(PLAN.configuration())),
    output:
        config="<results>/config.json",
        page=report(
            "<results>/tables/configuration.html",
            caption="../captions/configuration.rst",
            category="Configuration",
            labels={"table": "Configuration and versions"},
        ),
    log:
        "<results>/logs/configuration.log",
    benchmark:
        "<results>/benchmarks/configuration.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.configuration().params,
    shell:
        "python -m featurepaths.stages.configuration --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --config {output.config} --page {output.page} > {log} 2>&1"
