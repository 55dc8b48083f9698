"""Detection and recognition.

Needs the feature paths of clean and attacked images, the collapse metrics where they choose the layers, and, where
further detectors are asked for, the feature dumps, or networks and images where features are streamed.
Makes the thresholds and voting layers of the held-out calibration and of the paper's, which has one for every attack and
stopping rule, the metrics and records of detection and recognition, and the calibrated detectors with their evaluation.
"""

# No resource, as for other rules: on a cluster all jobs of a group would have to ask for the same one.
ON_DEVICE = f" --device {EXPERIMENT.device}"


rule calibration:
    input:
        unpack(lambda w: inputs(*PLAN.held_out(w.run))),
    output:
        thresholds=[f"<run>/thresholds/{pooling}/feature-paths.held-out.json" for pooling in PLAN.poolings],
        selections=[f"<run>/selection/{pooling}/held-out.json" for pooling in PLAN.poolings],
    log:
        "<run>/logs/calibration.log",
    benchmark:
        "<run>/benchmarks/calibration.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        steps=lambda w: steps(PLAN.held_out(w.run)),
    shell:
        "python -m featurepaths.stages.batch --steps {params.steps:q} > {log} 2>&1"


rule evaluation:
    input:
        unpack(lambda w: inputs(*PLAN.evaluation(w.run, f"{w.attack}.{w.stopping_rule}"))),
    output:
        [
            f"<run>/{file}"
            for pooling in PLAN.poolings
            for file in (
                f"thresholds/{pooling}/feature-paths.paper.{{attack}}.{{stopping_rule}}.json",
                f"selection/{pooling}/paper.{{attack}}.{{stopping_rule}}.json",
                *(f"{kind}/{pooling}/feature-paths.{{attack}}.{{stopping_rule}}.{end}"
                  for kind in ("detection", "recognition") for end in ("json", "h5")),
            )
        ],
    log:
        "<run>/logs/evaluation.{attack}.{stopping_rule}.log",
    benchmark:
        "<run>/benchmarks/evaluation.{attack}.{stopping_rule}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        steps=lambda w: steps(PLAN.evaluation(w.run, f"{w.attack}.{w.stopping_rule}")),
    shell:
        "python -m featurepaths.stages.batch --steps {params.steps:q} > {log} 2>&1"


rule detectors:
    input:
        unpack(lambda w: inputs(*PLAN.all_detectors(w.run))),
    output:
        [f"<run>/detectors/{pooling}.h5" for pooling in PLAN.poolings],
    log:
        "<run>/logs/detectors.log",
    benchmark:
        "<run>/benchmarks/detectors.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory(detectors_needs),
        runtime=minutes(all_poolings(detectors_needs)),
    params:
        steps=lambda w: steps(PLAN.all_detectors(w.run)),
    shell:
        f"python -m featurepaths.stages.batch{ON_DEVICE} --steps {{params.steps:q}} > {{log}} 2>&1"


rule detector_evaluation:
    input:
        unpack(lambda w: inputs(*PLAN.detector_evaluations(w.run))),
    output:
        [f"<run>/detection/{pooling}/detector_evaluation.{end}" for pooling in PLAN.poolings for end in ("json", "h5")],
    log:
        "<run>/logs/detector_evaluation.log",
    benchmark:
        "<run>/benchmarks/detector_evaluation.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory(detectors_needs),
        runtime=minutes(all_poolings(detectors_needs)),
    params:
        steps=lambda w: steps(PLAN.detector_evaluations(w.run)),
    shell:
        f"python -m featurepaths.stages.batch{ON_DEVICE} --steps {{params.steps:q}} > {{log}} 2>&1"
