"""Everything that runs a network: training, attacks, layer features.

Needs `data.h5`, and the code and weights of pretrained networks.
Makes `checkpoint.safetensors` of every run and `training.csv` of those that are trained here, the adversarial images of
every attack, and the feature dumps of clean and attacked images. Without a GPU the same jobs run on the CPU.
"""


use rule network_job as train with:
    input:
        files("checkpoint"),
    output:
        checkpoint="<results>/{run}/checkpoint.safetensors",  # constraints of a rule reach wildcards only here
        training="<results>/{run}/training.csv",
    log:
        "<run>/logs/train.log",
    benchmark:
        "<run>/benchmarks/train.tsv"
    wildcard_constraints:
        run="|".join(PLAN.trained) or "none",
    resources:
        **on_device("training"),
    params:
        job=job("train", of="checkpoint", keys=["models", "training", "seeds", "torch_threads"]),


use rule small_job as pretrained with:
    input:
        files("checkpoint"),
    output:
        "<results>/{run}/checkpoint.safetensors",
    log:
        "<run>/logs/pretrained.log",
    benchmark:
        "<run>/benchmarks/pretrained.tsv"
    wildcard_constraints:
        run="|".join(run for run in PLAN.runs if run not in PLAN.trained) or "none",
    threads: THREADS
    resources:
        **resources_of("network"),
    params:
        job=job("pretrained", of="checkpoint", keys=["models", "seeds", "torch_threads"]),


use rule network_job as attack with:
    input:
        files("attack"),
    output:
        shard_of("<run>/attacks/{split}.{attack}.h5", ATTACK_SHARDS),
    log:
        f"<run>/logs/attack.{{split}}.{{attack}}{dot_shard(ATTACK_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/attack.{{split}}.{{attack}}{dot_shard(ATTACK_SHARDS)}.tsv"
    group:
        cluster_group("shards")
    resources:
        **on_device("attack"),
    params:
        job=job("attack", keys=["attacks", "seeds", "torch_threads"]),


use rule network_job as features with:
    input:
        files("clean_features"),
    output:
        [shard_of(file, FEATURE_SHARDS) for file in CLEAN_DUMPS],
    log:
        f"<run>/logs/features{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/features{dot_shard(FEATURE_SHARDS)}.tsv"
    group:
        cluster_group("extraction")
    resources:
        **on_device("features"),
    params:
        job=job("features", of="clean_features", keys=["torch_threads"]),


use rule network_job as attacked_features with:
    input:
        files("attacked_features"),
    output:
        [shard_of(file, FEATURE_SHARDS) for file in ATTACKED_DUMPS],
    log:
        f"<run>/logs/features.{{split}}.{{attacked}}{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/features.{{split}}.{{attacked}}{dot_shard(FEATURE_SHARDS)}.tsv"
    group:
        cluster_group("extraction")
    resources:
        **on_device("features"),
    params:
        job=job("features", of="attacked_features", keys=["torch_threads"]),
