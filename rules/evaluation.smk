"""Detection and recognition.

Needs the feature paths of clean and attacked images, the collapse metrics where they choose the layers, and, where
detectors are compared, the feature dumps, or networks and images where features are streamed.
Makes the thresholds and voting layers of every calibration, the metrics and records of every attack and stopping rule,
and the detectors, calibrated and evaluated side by side. Each job covers all poolings.
"""


def of_poolings(*stages):
    """Return the paths of these stages' outputs for all poolings; the other names stay wildcards, or are `held-out`."""
    outputs = [path for stage in stages for path in STAGES[stage].outputs.values()]
    return [f"<run>/{path.replace('{pooling}', pooling)}" for pooling in PLAN.poolings for path in outputs]


rule calibration:
    input:
        files("calibration"),
    output:
        [path.replace("{calibration}", "held-out") for path in of_poolings("threshold", "selection")],
    log:
        "<run>/logs/calibration.log",
    benchmark:
        "<run>/benchmarks/calibration.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths", len(PLAN.poolings)),
    params:
        job=job(["threshold", "selection"], of="calibration", keys=["collapse", "detection", "recognition"]),
    shell:
        call("batch")


rule evaluation:
    input:
        files("evaluation"),
    output:
        [path.replace("{calibration}", "paper.{attacked}") for path in of_poolings("threshold", "selection")],
        of_poolings("detection", "recognition"),
    log:
        "<run>/logs/evaluation.{attacked}.log",
    benchmark:
        "<run>/benchmarks/evaluation.{attacked}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths", len(PLAN.poolings)),
    params:
        job=job(
            ["threshold", "selection", "detection", "recognition"],
            of="evaluation",
            keys=["collapse", "detection", "recognition"],
        ),
    shell:
        call("batch")


rule detectors:
    input:
        files("all_detectors"),
    output:
        of_poolings("detectors"),
    log:
        "<run>/logs/detectors.log",
    benchmark:
        "<run>/benchmarks/detectors.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory("detectors"),
        runtime=minutes("detectors", len(PLAN.poolings)),
    params:
        job=job(["detectors"], of="all_detectors", keys=["calibration", "detection", "detectors", "torch_threads"]),
    shell:
        call("batch")


rule detector_evaluation:
    input:
        files("detector_evaluations"),
    output:
        of_poolings("detector_evaluation"),
    log:
        "<run>/logs/detector_evaluation.log",
    benchmark:
        "<run>/benchmarks/detector_evaluation.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu_to_stream,
        mem_mb=memory("detectors"),
        runtime=minutes("detectors", len(PLAN.poolings)),
    params:
        job=job(["detector_evaluation"], of="detector_evaluations", keys=["torch_threads"]),
    shell:
        call("batch")
