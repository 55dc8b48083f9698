"""Detection.

Needs the feature paths of clean and attacked images, the collapse metrics where they choose the layers, and, where rival
detectors are asked for, the feature dumps, or networks and images where features are streamed.
Makes the thresholds, a file of their own for every calibration, the metrics and scores of every attack and stopping rule,
and the rival detectors, calibrated, with how all of them fare side by side.
"""

# No resource, as for other rules: on a cluster all jobs of a group would have to ask for the same one.
ON_DEVICE = f" --device {EXPERIMENT.device}"


rule threshold:
    input:
        unpack(lambda w: inputs(PLAN.threshold(w.run, w.pooling, w.calibration))),
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
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.threshold(w.run, w.pooling, w.calibration).params,
    shell:
        "python -m featurepaths.stages.threshold --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --clean {input.clean} --adversarial {input.adversarial} --collapse {input.collapse}"
        " --threshold {output.threshold} > {log} 2>&1"


rule detection:
    input:
        unpack(lambda w: inputs(*PLAN.detection(w.run, w.pooling, f"{w.attack}.{w.stopping_rule}"))),
    output:
        metrics="<run>/detection/{pooling}/feature-paths.{attack}.{stopping_rule}.json",
        records="<run>/detection/{pooling}/feature-paths.{attack}.{stopping_rule}.h5",
    log:
        "<run>/logs/detection.{pooling}.{attack}.{stopping_rule}.log",
    benchmark:
        "<run>/benchmarks/detection.{pooling}.{attack}.{stopping_rule}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.detection(w.run, w.pooling, f"{w.attack}.{w.stopping_rule}")[0].params,
    shell:
        "python -m featurepaths.stages.detection --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --thresholds {input.thresholds} --clean {input.clean} --adversarial {input.adversarial}"
        " --metrics {output.metrics} --records {output.records} > {log} 2>&1"


rule detectors:
    input:
        unpack(lambda w: inputs(PLAN.detectors(w.run, w.pooling))),
    output:
        detectors="<run>/detectors/{pooling}.h5",
    log:
        "<run>/logs/detectors.{pooling}.log",
    benchmark:
        "<run>/benchmarks/detectors.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory(detectors_needs),
        runtime=minutes(detectors_needs),
    params:
        job=lambda w: PLAN.detectors(w.run, w.pooling).params,
    shell:
        "python -m featurepaths.stages.detectors --settings {params.job[settings]:q} --digest {params.job[digest]}"
        f"{ON_DEVICE} --checkpoint {{input.checkpoint}} --centroids {{input.centroids}}"
        " --threshold {input.threshold} --train {input.train} --calibration {input.calibration}"
        " --adversarial {input.adversarial} --detectors {output.detectors} > {log} 2>&1"


rule rivals:
    input:
        unpack(lambda w: inputs(*PLAN.rivals(w.run, w.pooling))),
    output:
        metrics="<run>/detection/{pooling}/rivals.json",
        records="<run>/detection/{pooling}/rivals.h5",
    log:
        "<run>/logs/rivals.{pooling}.log",
    benchmark:
        "<run>/benchmarks/rivals.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory(detectors_needs),
        runtime=minutes(detectors_needs),
    params:
        job=lambda w: PLAN.rivals(w.run, w.pooling)[0].params,
    shell:
        "python -m featurepaths.stages.rivals --settings {params.job[settings]:q} --digest {params.job[digest]}"
        f"{ON_DEVICE} --checkpoint {{input.checkpoint}} --detectors {{input.detectors}}"
        " --centroids {input.centroids} --calibration {input.calibration} --test {input.test}"
        " --adversarial {input.adversarial} --metrics {output.metrics} --records {output.records} > {log} 2>&1"
