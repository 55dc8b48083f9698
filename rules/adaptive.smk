"""Adaptive attacks, and controls for masked gradients.

Needs checkpoints, centroids, the held-out threshold and voting layers, the calibrated detectors and the oblivious attack.
Makes, for every run and pooling that is attacked, the records of all attacks, the worst case over them for each image,
and the controls.
"""


use rule network_job as adaptive with:
    input:
        files("adaptive"),
    output:
        shard_of("<run>/adaptive/{pooling}.h5", ATTACK_SHARDS),
    log:
        f"<run>/logs/adaptive.{{pooling}}{dot_shard(ATTACK_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/adaptive.{{pooling}}{dot_shard(ATTACK_SHARDS)}.tsv"
    group:
        cluster_group("adaptive")
    resources:
        **on_device("adaptive"),
    params:
        job=job("adaptive", keys=["adaptive", "attacks", "recognition", "seeds", "torch_threads"]),


localrules:
    worst_case,


use rule small_job as worst_case with:
    input:
        files("worst_case"),
    output:
        "<run>/adaptive/{pooling}.json",
    log:
        "<run>/logs/worst_case.{pooling}.log",
    benchmark:
        "<run>/benchmarks/worst_case.{pooling}.tsv"
    params:
        job=job("worst_case", keys=["adaptive", "attacks"]),


use rule network_job as controls with:
    input:
        files("controls"),
    output:
        "<run>/controls/{pooling}.json",
    log:
        "<run>/logs/controls.{pooling}.log",
    benchmark:
        "<run>/benchmarks/controls.{pooling}.tsv"
    resources:
        **on_device("controls"),
    params:
        job=job("controls", keys=["adaptive", "attacks", "recognition", "seeds", "torch_threads"]),
