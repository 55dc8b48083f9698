"""Detection.

Needs the feature paths of clean and attacked images, and the collapse metrics where they choose the layers.
Makes the thresholds, a file of their own for every calibration, and the metrics and scores of every evaluation.
"""


rule threshold:
    input:
        clean=calibration_paths(0),
        adversarial=calibration_paths(1),
        collapse=collapse_if_needed,
    output:
        threshold=RUN + "/thresholds/{pooling}/feature-paths.{calibration}.json",
    log:
        RUN + "/logs/threshold.{pooling}.{calibration}.log",
    benchmark:
        RUN + "/benchmarks/threshold.{pooling}.{calibration}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.threshold(w.run, w.calibration).params["settings"],
        digest=lambda w: PLAN.threshold(w.run, w.calibration).params["digest"],
    shell:
        "python -m featurepaths.stages.threshold --settings {params.settings:q} --digest {params.digest}"
        " --clean {input.clean} --adversarial {input.adversarial} --collapse {input.collapse}"
        " --threshold {output.threshold} > {log} 2>&1"


rule detection:
    input:
        threshold=calibrated("thresholds", "feature-paths."),
        clean=ancient(RUN + "/paths/{pooling}/test.h5"),
        adversarial=tested_paths,
    output:
        metrics=RUN + "/detection/{pooling}/feature-paths.{evaluation}.json",
        records=RUN + "/detection/{pooling}/feature-paths.{evaluation}.h5",
    log:
        RUN + "/logs/detection.{pooling}.{evaluation}.log",
    benchmark:
        RUN + "/benchmarks/detection.{pooling}.{evaluation}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.detection(w.run, w.evaluation).params["settings"],
        digest=lambda w: PLAN.detection(w.run, w.evaluation).params["digest"],
    shell:
        "python -m featurepaths.stages.detection --settings {params.settings:q} --digest {params.digest}"
        " --threshold {input.threshold} --clean {input.clean} --adversarial {input.adversarial}"
        " --metrics {output.metrics} --records {output.records} > {log} 2>&1"
