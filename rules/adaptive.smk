"""Adaptive attacks, and controls for masked gradients.

Needs checkpoints, centroids, the held-out threshold and voting layers, the calibrated detectors and the oblivious attack.
Makes, for every run and pooling that is attacked, the records of all attacks, the worst case over them for each image,
and the controls.
"""


rule adaptive:
    input:
        files("adaptive"),
    output:
        shard_of("<run>/adaptive/{pooling}.h5", ATTACK_SHARDS),
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
        mem_mb=memory("adaptive"),
        runtime=minutes("adaptive"),
    params:
        job=job("adaptive", keys=["adaptive", "attacks", "recognition", "seeds", "torch_threads"]),
    shell:
        call("adaptive")


localrules:
    worst_case,


rule worst_case:
    input:
        files("worst_case"),
    output:
        "<run>/adaptive/{pooling}.json",
    log:
        "<run>/logs/worst_case.{pooling}.log",
    benchmark:
        "<run>/benchmarks/worst_case.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory("over_paths"),
        runtime=minutes("over_paths"),
    params:
        job=job("worst_case", keys=["adaptive", "attacks"]),
    shell:
        call("worst_case")


rule controls:
    input:
        files("controls"),
    output:
        "<run>/controls/{pooling}.json",
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
        mem_mb=memory("controls"),
        runtime=minutes("controls"),
    params:
        job=job("controls", keys=["adaptive", "attacks", "recognition", "seeds", "torch_threads"]),
    shell:
        call("controls")
