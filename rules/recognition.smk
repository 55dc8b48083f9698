"""Recognition.

Needs the thresholds and the feature paths of clean and attacked images.
Makes the selection of voting layers of every calibration, and the metrics and labels of every evaluation.
"""


rule selection:
    input:
        adversarial=calibration_paths(1),
    output:
        selection=RUN + "/selection/{pooling}/{calibration}.json",
    log:
        RUN + "/logs/selection.{pooling}.{calibration}.log",
    benchmark:
        RUN + "/benchmarks/selection.{pooling}.{calibration}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.selection(w.run, w.calibration).params["settings"],
        digest=lambda w: PLAN.selection(w.run, w.calibration).params["digest"],
    shell:
        "python -m featurepaths.stages.selection --settings {params.settings:q} --digest {params.digest}"
        " --adversarial {input.adversarial} --selection {output.selection} > {log} 2>&1"


rule recognition:
    input:
        threshold=calibrated("thresholds", "feature-paths."),
        selection=calibrated("selection", ""),
        clean=ancient(RUN + "/paths/{pooling}/test.h5"),
        adversarial=tested_paths,
    output:
        metrics=RUN + "/recognition/{pooling}/feature-paths.{evaluation}.json",
        records=RUN + "/recognition/{pooling}/feature-paths.{evaluation}.h5",
    log:
        RUN + "/logs/recognition.{pooling}.{evaluation}.log",
    benchmark:
        RUN + "/benchmarks/recognition.{pooling}.{evaluation}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.recognition(w.run, w.evaluation).params["settings"],
        digest=lambda w: PLAN.recognition(w.run, w.evaluation).params["digest"],
    shell:
        "python -m featurepaths.stages.recognition --settings {params.settings:q} --digest {params.digest}"
        " --threshold {input.threshold} --selection {input.selection} --clean {input.clean}"
        " --adversarial {input.adversarial} --metrics {output.metrics} --records {output.records} > {log} 2>&1"
