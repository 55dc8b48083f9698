"""Detection and recognition.

Needs the feature paths of clean and attacked images, the collapse metrics where they choose the layers, and, where
detectors are compared, the feature dumps, or networks and images where features are streamed.
Makes the thresholds and voting layers of every calibration, the metrics and records of every attack and stopping rule,
and the detectors, calibrated and evaluated side by side. Each job covers all poolings.
"""


use rule small_job as calibration with:
    input:
        files("calibration"),
    output:
        [path.replace("{calibration}", "held-out") for path in of_poolings("threshold", "selection")],
    log:
        "<run>/logs/calibration.log",
    benchmark:
        "<run>/benchmarks/calibration.tsv"
    group:
        cluster_group("evaluation")
    resources:
        **resources_of("over_paths", len(PLAN.poolings)),
    params:
        job=job(["threshold", "selection"], of="calibration", keys=["collapse", "detection", "recognition"]),


use rule small_job as evaluation with:
    input:
        files("evaluation"),
    output:
        [path.replace("{calibration}", "paper.{attacked}") for path in of_poolings("threshold", "selection")],
        of_poolings("detection", "recognition"),
    log:
        "<run>/logs/evaluation.{attacked}.log",
    benchmark:
        "<run>/benchmarks/evaluation.{attacked}.tsv"
    group:
        cluster_group("evaluation")
    resources:
        **resources_of("over_paths", len(PLAN.poolings)),
    params:
        job=job(
            ["threshold", "selection", "detection", "recognition"],
            of="evaluation",
            keys=["collapse", "detection", "recognition"],
        ),


use rule small_job as detectors with:
    input:
        files("all_detectors"),
    output:
        of_poolings("detectors"),
    log:
        "<run>/logs/detectors.log",
    benchmark:
        "<run>/benchmarks/detectors.tsv"
    group:
        cluster_group("detectors" if PLAN.streams else "evaluation")
    threads: THREADS
    resources:
        **resources_of("detectors", len(PLAN.poolings), gpu=PLAN.streams),
    params:
        job=job(["detectors"], of="all_detectors", keys=["calibration", "detection", "detectors", "torch_threads"]),


use rule small_job as detector_evaluation with:
    input:
        files("detector_evaluations"),
    output:
        of_poolings("detector_evaluation"),
    log:
        "<run>/logs/detector_evaluation.log",
    benchmark:
        "<run>/benchmarks/detector_evaluation.tsv"
    group:
        cluster_group("detectors" if PLAN.streams else "evaluation")
    threads: THREADS
    resources:
        **resources_of("detectors", len(PLAN.poolings), gpu=PLAN.streams),
    params:
        job=job(["detector_evaluation"], of="detector_evaluations", keys=["torch_threads"]),
