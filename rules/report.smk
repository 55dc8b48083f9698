"""Tables, figures, and the record of the configuration: what Snakemake's report shows.

Needs the metrics and records of all attacks.
Makes `tables/`, `figures/` and `config.json`.
"""


rule tables:
    input:
        checkpoints=of_runs("checkpoint.safetensors"),
        detection=of_attacks("detection"),
        recognition=of_attacks("recognition"),
        collapse=of_poolings("collapse/{pooling}.json"),
    output:
        architecture=report(
            RESULTS + "/tables/architecture.html",
            caption="../captions/architecture.rst",
            category="Tables",
            labels={"table": "Table 1: networks"},
        ),
        accuracy=report(
            RESULTS + "/tables/accuracy.html",
            caption="../captions/accuracy.rst",
            category="Tables",
            labels={"table": "Tables 2 and 4: accuracy"},
        ),
        combinations=report(
            RESULTS + "/tables/combinations.html",
            caption="../captions/combinations.rst",
            category="Tables",
            labels={"table": "Table 3: votes of middle layers"},
        ),
        detection=report(
            RESULTS + "/tables/detection.html",
            caption="../captions/detection.rst",
            category="Tables",
            labels={"table": "Detection, all metrics"},
        ),
        recognition=report(
            RESULTS + "/tables/recognition.html",
            caption="../captions/recognition.rst",
            category="Tables",
            labels={"table": "Recognition, all thresholds"},
        ),
        collapse=report(
            RESULTS + "/tables/collapse.html",
            caption="../captions/collapse.rst",
            category="Tables",
            labels={"table": "Collapse by layer"},
        ),
        files=expand("{results}/tables/{table}.{kind}", results=RESULTS, table=TABLES, kind=["csv", "md"]),
    log:
        RESULTS + "/logs/tables.log",
    benchmark:
        RESULTS + "/benchmarks/tables.tsv"
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
        " --checkpoints {input.checkpoints} --detection {input.detection} --recognition {input.recognition}"
        " --collapse {input.collapse} --tables {RESULTS}/tables > {log} 2>&1"


rule run_figures:
    input:
        data=ancient(RESULTS + "/data.h5"),
        clean=ancient(RUN + "/paths/{pooling}/test.h5"),
        adversarial=[ancient(RUN + f"/paths/{{pooling}}/test.{attacked}.h5") for attacked in PLAN.attacked],
        detection=[ancient(RUN + f"/detection/{{pooling}}/feature-paths.{attacked}.json") for attacked in PLAN.attacked],
        records=[ancient(RUN + f"/detection/{{pooling}}/feature-paths.{attacked}.h5") for attacked in PLAN.attacked],
        recognition=[
            ancient(RUN + f"/recognition/{{pooling}}/feature-paths.{attacked}.json") for attacked in PLAN.attacked
        ],
    output:
        paths=report(
            RESULTS + "/figures/paths.{run}.{pooling}.png",
            caption="../captions/paths.rst",
            category="Figure 1: mean feature paths",
            labels={"run": "{run}", "pooling": "{pooling}"},
        ),
        histogram=report(
            RESULTS + "/figures/histogram.{run}.{pooling}.png",
            caption="../captions/histogram.rst",
            category="Figures 2 and 4: detection scores",
            labels={"run": "{run}", "pooling": "{pooling}"},
        ),
        layers=report(
            RESULTS + "/figures/layers.{run}.{pooling}.png",
            caption="../captions/layers.rst",
            category="Figures 3 and 5: accuracy by layer",
            labels={"run": "{run}", "pooling": "{pooling}"},
        ),
        roc=report(
            RESULTS + "/figures/roc.{run}.{pooling}.png",
            caption="../captions/roc.rst",
            category="ROC curves",
            labels={"run": "{run}", "pooling": "{pooling}"},
        ),
        vector=[RESULTS + f"/figures/{figure}.{{run}}.{{pooling}}.svg" for figure in RUN_FIGURES],
    log:
        RUN + "/logs/figures.{pooling}.log",
    benchmark:
        RUN + "/benchmarks/figures.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.run_figures(w.run, w.pooling).params["settings"],
        digest=lambda w: PLAN.run_figures(w.run, w.pooling).params["digest"],
    shell:
        "python -m featurepaths.stages.run_figures --settings {params.settings:q} --digest {params.digest}"
        " --data {input.data} --clean {input.clean} --adversarial {input.adversarial}"
        " --detection {input.detection} --records {input.records} --recognition {input.recognition}"
        " --run {wildcards.run} --pooling {wildcards.pooling} --figures {RESULTS}/figures > {log} 2>&1"


rule summary_figures:
    input:
        checkpoints=of_runs("checkpoint.safetensors"),
        training=of_runs("training.csv"),
        collapse=of_poolings("collapse/{pooling}.json"),
    output:
        training=report(
            RESULTS + "/figures/training.png",
            caption="../captions/training.rst",
            category="Training and collapse",
            labels={"figure": "Training curves"},
        ),
        collapse=[
            report(
                RESULTS + f"/figures/collapse.{pooling}.png",
                caption="../captions/collapse_figure.rst",
                category="Training and collapse",
                labels={"figure": f"Collapse by layer, {pooling} features"},
            )
            for pooling in PLAN.poolings
        ],
        vector=expand("{results}/figures/{figure}.svg", results=RESULTS, figure=SUMMARY_FIGURES),
    log:
        RESULTS + "/logs/summary_figures.log",
    benchmark:
        RESULTS + "/benchmarks/summary_figures.tsv"
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
        " --figures {RESULTS}/figures > {log} 2>&1"


rule configuration:
    output:
        config=RESULTS + "/config.json",
        page=report(
            RESULTS + "/tables/configuration.html",
            caption="../captions/configuration.rst",
            category="Configuration",
            labels={"table": "Configuration and versions"},
        ),
    log:
        RESULTS + "/logs/configuration.log",
    benchmark:
        RESULTS + "/benchmarks/configuration.tsv"
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
