"""Recognition.

Needs the thresholds and the feature paths of clean and attacked images.
Makes the selection of voting layers of every calibration, and the metrics and labels of every attack and stopping rule.
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
        thresholds=calibrated("thresholds", "feature-paths."),
        selections=calibrated("selection", ""),
        clean=ancient(RUN + "/paths/{pooling}/test.h5"),
        adversarial=ancient(RUN + "/paths/{pooling}/test.{attack}.{keep}.h5"),
    output:
        metrics=RUN + "/recognition/{pooling}/feature-paths.{attack}.{keep}.json",
        records=RUN + "/recognition/{pooling}/feature-paths.{attack}.{keep}.h5",
    log:
        RUN + "/logs/recognition.{pooling}.{attack}.{keep}.log",
    benchmark:
        RUN + "/benchmarks/recognition.{pooling}.{attack}.{keep}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: PLAN.recognition(w.run, f"{w.attack}.{w.keep}").params["settings"],
        digest=lambda w: PLAN.recognition(w.run, f"{w.attack}.{w.keep}").params["digest"],
    shell:
        "python -m featurepaths.stages.recognition --settings {params.settings:q} --digest {params.digest}"
        " --thresholds {input.thresholds} --selections {input.selections} --clean {input.clean}"
        " --adversarial {input.adversarial} --metrics {output.metrics} --records {output.records} > {log} 2>&1"
