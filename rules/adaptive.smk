"""Attackers who know the defence, and controls of what they fail at.

Needs checkpoints, centroids, the held-out threshold and voting layers, the calibrated detectors and the oblivious attack.
Makes, for every run and pooling that is attacked, the records of all attacks and the worst case for each image, what they
amount to, and the controls for masked gradients.
"""

FROZEN = (
    " --device {resources.device} --checkpoint {input.checkpoint} --data {input.data} --centroids {input.centroids}"
    " --threshold {input.threshold} --selection {input.selection} --detectors {input.detectors} --attack {input.attack}"
)


rule adaptive:
    input:
        unpack(lambda w: inputs(*part(w, ATTACK_SHARDS, PLAN.adaptive(w.run, w.pooling)))),
    output:
        adaptive=shard_of("<run>/adaptive/{pooling}.h5", ATTACK_SHARDS),
    log:
        f"<run>/logs/adaptive.{{pooling}}{dot_shard(ATTACK_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/adaptive.{{pooling}}{dot_shard(ATTACK_SHARDS)}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(adaptive_needs),
        runtime=minutes(adaptive_needs),
    params:
        job=lambda w: PLAN.adaptive(w.run, w.pooling).params,
        shard=shard_option(ATTACK_SHARDS),
    shell:
        "python -m featurepaths.stages.adaptive --settings {params.job[settings]:q} --digest {params.job[digest]}"
        f"{FROZEN} {{params.shard}} --adaptive {{output.adaptive}} > {{log}} 2>&1"


localrules:
    worst_case,


rule worst_case:
    input:
        unpack(lambda w: inputs(PLAN.worst_case(w.run, w.pooling))),
    output:
        metrics="<run>/adaptive/{pooling}.json",
    log:
        "<run>/logs/worst_case.{pooling}.log",
    benchmark:
        "<run>/benchmarks/worst_case.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_paths_needs),
        runtime=minutes(over_paths_needs),
    params:
        job=lambda w: PLAN.worst_case(w.run, w.pooling).params,
    shell:
        "python -m featurepaths.stages.worst_case --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --adaptive {input.adaptive} --threshold {input.threshold} --detectors {input.detectors}"
        " --metrics {output.metrics} > {log} 2>&1"


rule controls:
    input:
        unpack(lambda w: inputs(PLAN.controls(w.run, w.pooling))),
    output:
        controls="<run>/controls/{pooling}.json",
    log:
        "<run>/logs/controls.{pooling}.log",
    benchmark:
        "<run>/benchmarks/controls.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(controls_needs),
        runtime=minutes(controls_needs),
    params:
        job=lambda w: PLAN.controls(w.run, w.pooling).params,
    shell:
        "python -m featurepaths.stages.controls --settings {params.job[settings]:q} --digest {params.job[digest]}"
        f"{FROZEN} --adaptive {{input.adaptive}} --transfer {{input.transfer}} --controls {{output.controls}}"
        " > {log} 2>&1"
