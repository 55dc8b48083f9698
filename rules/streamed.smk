"""Class centroids, feature paths and collapse metrics without feature dumps: instead of rules/paths.smk.

Needs checkpoints, `data.h5` and the adversarial images.
Makes what rules/paths.smk makes, by running the network again. Without a GPU the same jobs run on the CPU.
"""


rule streamed_classes:
    input:
        unpack(lambda w: inputs(*PLAN.of_classes(w.run))),
    output:
        centroids=[f"<run>/centroids/{pooling}.h5" for pooling in PLAN.poolings],
        collapse=[f"<run>/collapse/{pooling}.json" for pooling in PLAN.poolings],
    log:
        "<run>/logs/streamed_classes.log",
    benchmark:
        "<run>/benchmarks/streamed_classes.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(streamed_classes_needs),
        runtime=minutes(streamed_classes_needs),
    params:
        job=lambda w: PLAN.of_classes(w.run)[0].params,
    shell:
        "python -m featurepaths.stages.streamed_classes --settings {params.job[settings]:q}"
        " --digest {params.job[digest]} --device {resources.device} --checkpoint {input.checkpoint}"
        " --data {input.data} --centroids {output.centroids} --collapse {output.collapse} > {log} 2>&1"


rule streamed_paths:
    input:
        unpack(lambda w: inputs(*part(w, FEATURE_SHARDS, PLAN.paths(w.run, w.pooling, w.images)))),
    output:
        paths=shard_of("<run>/paths/{pooling}/{images}.h5", FEATURE_SHARDS),
    log:
        f"<run>/logs/streamed_paths.{{pooling}}.{{images}}{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/streamed_paths.{{pooling}}.{{images}}{dot_shard(FEATURE_SHARDS)}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(streamed_paths_needs),
        runtime=minutes(streamed_paths_needs),
    params:
        job=lambda w: PLAN.paths(w.run, w.pooling, w.images).params,
        shard=shard_option(FEATURE_SHARDS),
    shell:
        "python -m featurepaths.stages.streamed_paths --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --device {resources.device} --checkpoint {input.checkpoint} --images {input.images}"
        " --centroids {input.centroids} {params.shard} --paths {output.paths} > {log} 2>&1"
