"""Everything that runs a network: training, attacks, layer features.

Needs `data.h5`, and the code and weights of networks that are given.
Makes `checkpoint.safetensors` of every run and `training.csv` of those that are trained here, the adversarial images of
every attack, and the feature dumps of clean and attacked images. Without a GPU the same jobs run on the CPU.
"""


rule train:
    input:
        unpack(lambda w: inputs(PLAN.checkpoint(w.run))),
    output:
        checkpoint="<results>/{run}/checkpoint.safetensors",  # where constraints of the rule reach the wildcard
        training="<results>/{run}/training.csv",
    log:
        "<run>/logs/train.log",
    benchmark:
        "<run>/benchmarks/train.tsv"
    wildcard_constraints:
        run="|".join(PLAN.trained) or "none",
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        in_memory_mb=EXPERIMENT.in_memory_mb,
        mem_mb=memory(training_needs),
        runtime=minutes(training_needs),
    params:
        job=lambda w: PLAN.checkpoint(w.run).params,
    shell:
        "python -m featurepaths.stages.train --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --device {resources.device} --in-memory-mb {resources.in_memory_mb} --data {input.data}"
        " --checkpoint {output.checkpoint} --training {output.training} > {log} 2>&1"


rule network:
    input:
        unpack(lambda w: inputs(PLAN.checkpoint(w.run))),
    output:
        checkpoint="<results>/{run}/checkpoint.safetensors",
    log:
        "<run>/logs/network.log",
    benchmark:
        "<run>/benchmarks/network.tsv"
    wildcard_constraints:
        run="|".join(run for run in PLAN.runs if run not in PLAN.trained) or "none",
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        weights=weights_from,
        needs=layers_needed,
        mem_mb=memory(network_needs),
        runtime=minutes(network_needs),
    params:
        job=lambda w: PLAN.checkpoint(w.run).params,
    shell:
        "python -m featurepaths.stages.network --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " {resources.weights} {resources.needs} --data {input.data} --checkpoint {output.checkpoint} > {log} 2>&1"


rule attack:
    input:
        unpack(lambda w: inputs(*part(w, ATTACK_SHARDS, PLAN.attack(w.run, w.split, w.attack)))),
    output:
        adversarial=shard_of("<run>/attacks/{split}.{attack}.h5", ATTACK_SHARDS),
    log:
        f"<run>/logs/attack.{{split}}.{{attack}}{dot_shard(ATTACK_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/attack.{{split}}.{{attack}}{dot_shard(ATTACK_SHARDS)}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        source=adversarial_from,
        mem_mb=memory(attack_needs),
        runtime=minutes(attack_needs),
    params:
        job=lambda w: PLAN.attack(w.run, w.split, w.attack).params,
        shard=shard_option(ATTACK_SHARDS),
    shell:
        "python -m featurepaths.stages.attack --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --device {resources.device} --data {input.data} --split {wildcards.split} --checkpoint {input.checkpoint}"
        " {resources.source} {params.shard} --adversarial {output.adversarial} > {log} 2>&1"


rule features:
    input:
        unpack(lambda w: inputs(*part(w, FEATURE_SHARDS, *PLAN.dumps(w.run, *PLAN.splits)))),
    output:
        features=[shard_of(file, FEATURE_SHARDS) for file in CLEAN_DUMPS],
    log:
        f"<run>/logs/features{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/features{dot_shard(FEATURE_SHARDS)}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(features_needs),
        runtime=minutes(features_needs),
    params:
        job=lambda w: PLAN.dumps(w.run, *PLAN.splits)[0].params,
        shard=shard_option(FEATURE_SHARDS),
    shell:
        "python -m featurepaths.stages.features --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --device {resources.device} --checkpoint {input.checkpoint} --data {input.data}"
        " {params.shard} --features {output.features} > {log} 2>&1"


rule attacked_features:
    input:
        unpack(lambda w: inputs(*part(w, FEATURE_SHARDS, *PLAN.dumps(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}")))),
    output:
        features=[shard_of(file, FEATURE_SHARDS) for file in ATTACKED_DUMPS],
    log:
        f"<run>/logs/features.{{split}}.{{attack}}.{{stopping_rule}}{dot_shard(FEATURE_SHARDS)}.log",
    benchmark:
        f"<run>/benchmarks/features.{{split}}.{{attack}}.{{stopping_rule}}{dot_shard(FEATURE_SHARDS)}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    resources:
        gpu=gpu,
        device=EXPERIMENT.device,
        mem_mb=memory(features_needs),
        runtime=minutes(features_needs),
    params:
        job=lambda w: PLAN.dumps(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}")[0].params,
        shard=shard_option(FEATURE_SHARDS),
    shell:
        "python -m featurepaths.stages.features --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --device {resources.device} --checkpoint {input.checkpoint} --attack {input.adversarial}"
        " {params.shard} --features {output.features} > {log} 2>&1"
