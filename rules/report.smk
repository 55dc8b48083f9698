"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""


rule tables:
    input:
        checkpoints=of_runs("checkpoint.safetensors"),
        attacks=expand("<results>/{run}/attacks/test.{attack}.h5", run=PLAN.runs, attack=EXPERIMENT.attacks),
        detection=of_attacks("detection"),
        recognition=of_attacks("recognition"),
        collapse=of_poolings("collapse"),
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
        collapse=report(
            "<results>/tables/collapse.html",
            caption="../captions/collapse.rst",
            category="Tables",
            labels={"table": "Collapse by layer"},
        ),
        files=expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["csv", "md"]),
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=PLAN.tables().params["settings"],
        digest=PLAN.tables().params["digest"],
    shell:
        "python -m featurepaths.stages.tables --settings {params.settings:q} --digest {params.digest}"
        " --checkpoints {input.checkpoints} --attacks {input.attacks} --detection {input.detection}"
        " --recognition {input.recognition} --collapse {input.collapse} --tables $(dirname {output.architecture}) > {log} 2>&1"


rule run_figures:
    input:
        data="<results>/data.h5",
        clean="<run>/paths/{pooling}/test.h5",
        adversarial=of_keeps("paths/{pooling}/test.{attacked}.h5"),
        detection=of_keeps("detection/{pooling}/feature-paths.{attacked}.json"),
        records=of_keeps("detection/{pooling}/feature-paths.{attacked}.h5"),
        recognition=of_keeps("recognition/{pooling}/feature-paths.{attacked}.json"),
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
    log:
        "<run>/logs/figures.{pooling}.{attack}.log",
    benchmark:
        "<run>/benchmarks/figures.{pooling}.{attack}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.run_figures(w.run, w.pooling, w.attack).params["settings"],
        digest=lambda w: PLAN.run_figures(w.run, w.pooling, w.attack).params["digest"],
    shell:
        "python -m featurepaths.stages.run_figures --settings {params.settings:q} --digest {params.digest}"
        " --data {input.data} --clean {input.clean} --adversarial {input.adversarial}"
        " --detection {input.detection} --records {input.records} --recognition {input.recognition}"
        " --name {wildcards.run}.{wildcards.pooling}.{wildcards.attack} --figures $(dirname {output.paths}) > {log} 2>&1"


rule summary_figures:
    input:
        checkpoints=of_runs("checkpoint.safetensors"),
        training=of_runs("training.csv"),
        collapse=of_poolings("collapse"),
    output:
        training=report(
            "<results>/figures/training.png",
            caption="../captions/training.rst",
            category="Training and collapse",
            labels={"figure": "Training curves"},
        ),
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
    log:
        "<results>/logs/summary_figures.log",
    benchmark:
        "<results>/benchmarks/summary_figures.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=PLAN.summary_figures().params["settings"],
        digest=PLAN.summary_figures().params["digest"],
    shell:
        "python -m featurepaths.stages.summary_figures --settings {params.settings:q} --digest {params.digest}"
        " --checkpoints {input.checkpoints} --training {input.training} --collapse {input.collapse}"
        " --figures $(dirname {output.training}) > {log} 2>&1"


rule configuration:
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
        mem_mb=1000,
        runtime=10,
    params:
        settings=PLAN.configuration().params["settings"],
        digest=PLAN.configuration().params["digest"],
    shell:
        "python -m featurepaths.stages.configuration --settings {params.settings:q} --digest {params.digest}"
        " --config {output.config} --page {output.page} > {log} 2>&1"
