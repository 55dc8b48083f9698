"""Detection.

Needs the feature paths of clean and attacked images, and the collapse metrics where they choose the layers.
Makes the thresholds, a file of their own for every calibration, and the metrics and scores of every attack and stopping rule.
"""


rule threshold:
    input:
        clean=calibration_paths(0),
        adversarial=calibration_paths(1),
        collapse=collapse_if_needed,
    output:
        threshold="<run>/thresholds/{pooling}/feature-paths.{calibration}.json",
    log:
        "<run>/logs/threshold.{pooling}.{calibration}.log",
    benchmark:
        "<run>/benchmarks/threshold.{pooling}.{calibration}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.threshold(w.run, w.pooling, w.calibration).params["settings"],
        digest=lambda w: PLAN.threshold(w.run, w.pooling, w.calibration).params["digest"],
    shell:
        "python -m featurepaths.stages.threshold --settings {params.settings:q} --digest {params.digest}"
        " --clean {input.clean} --adversarial {input.adversarial} --collapse {input.collapse}"
        " --threshold {output.threshold} > {log} 2>&1"


rule detection:
    input:
        thresholds=calibrated("thresholds", "feature-paths."),
        clean="<run>/paths/{pooling}/test.h5",
        adversarial="<run>/paths/{pooling}/test.{attack}.{keep}.h5",
    output:
        metrics="<run>/detection/{pooling}/feature-paths.{attack}.{keep}.json",
        records="<run>/detection/{pooling}/feature-paths.{attack}.{keep}.h5",
    log:
        "<run>/logs/detection.{pooling}.{attack}.{keep}.log",
    benchmark:
        "<run>/benchmarks/detection.{pooling}.{attack}.{keep}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.detection(w.run, w.pooling, f"{w.attack}.{w.keep}").params["settings"],
        digest=lambda w: PLAN.detection(w.run, w.pooling, f"{w.attack}.{w.keep}").params["digest"],
    shell:
        "python -m featurepaths.stages.detection --settings {params.settings:q} --digest {params.digest}"
        " --thresholds {input.thresholds} --clean {input.clean} --adversarial {input.adversarial}"
        " --metrics {output.metrics} --records {output.records} > {log} 2>&1"
