"""Class centroids, feature paths and collapse metrics without feature dumps: instead of rules/paths.smk.

Needs checkpoints, `data.h5` and the adversarial images.
Makes what rules/paths.smk makes, by running the network again. Without a GPU the same jobs run on the CPU.
"""


use rule network_job as streamed_classes with:
    input:
        files("of_classes"),
    output:
        [f"<run>/centroids/{pooling}.h5" for pooling in PLAN.poolings],
        [f"<run>/collapse/{pooling}.json" for pooling in PLAN.poolings],
    log:
        "<run>/logs/streamed_classes.log",
    benchmark:
        "<run>/benchmarks/streamed_classes.tsv"
    group:
        cluster_group("extraction")
    resources:
        **on_device("streamed_classes"),
    params:
        job=job("streamed_classes", of="of_classes", keys=["torch_threads"]),


use rule network_job as streamed_paths with:
    input:
        files("paths"),
    output:
        shard_of("<run>/paths/{pooling}/{images}.h5", FEATURE_SHARDS),
    log:
        f"<run>/logs/streamed_paths.{{pooling}}.{{images}}{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/streamed_paths.{{pooling}}.{{images}}{dot_shard(FEATURE_SHARDS)}.tsv"
    group:
        cluster_group("extraction")
    resources:
        **on_device("streamed_paths"),
    params:
        job=job("streamed_paths", of="paths", keys=["torch_threads"]),
