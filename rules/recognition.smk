"""Recognition.

Needs the thresholds and the feature paths of clean and attacked images.
Makes the selection of voting layers of every calibration, and the metrics and labels of every attack and stopping rule.
"""


rule selection:
    input:
        unpack(lambda w: inputs(PLAN.selection(w.run, w.pooling, w.calibration))),
    output:
        selection="<run>/selection/{pooling}/{calibration}.json",
    log:
        "<run>/logs/selection.{pooling}.{calibration}.log",
    benchmark:
        "<run>/benchmarks/selection.{pooling}.{calibration}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.selection(w.run, w.pooling, w.calibration).params,
    shell:
        "python -m featurepaths.stages.selection --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --adversarial {input.adversarial} --selection {output.selection} > {log} 2>&1"


rule recognition:
    input:
        unpack(lambda w: inputs(*PLAN.recognition(w.run, w.pooling, f"{w.attack}.{w.stopping_rule}"))),
    output:
        metrics="<run>/recognition/{pooling}/feature-paths.{attack}.{stopping_rule}.json",
        records="<run>/recognition/{pooling}/feature-paths.{attack}.{stopping_rule}.h5",
    log:
        "<run>/logs/recognition.{pooling}.{attack}.{stopping_rule}.log",
    benchmark:
        "<run>/benchmarks/recognition.{pooling}.{attack}.{stopping_rule}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.recognition(w.run, w.pooling, f"{w.attack}.{w.stopping_rule}")[0].params,
    shell:
        "python -m featurepaths.stages.recognition --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --thresholds {input.thresholds} --selections {input.selections} --clean {input.clean}"
        " --adversarial {input.adversarial} --metrics {output.metrics} --records {output.records} > {log} 2>&1"
