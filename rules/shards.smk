"""Gathering: where attacks and extractions are split over several jobs.

Needs the shards of adversarial images, of feature dumps, or of feature paths where no dump is made.
Makes the same files, to the byte, as one job does that is not split.
"""

GATHER = "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output} > {log} 2>&1"


if ATTACK_SHARDS:

    localrules:
        gather_attack,

    rule gather_attack:
        input:
            unpack(all_shards("attack", ATTACK_SHARDS)),
        output:
            "<run>/attacks/{split}.{attack}.h5",
        log:
            "<run>/logs/gather.{split}.{attack}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory("over_paths"),
            runtime=minutes("over_paths"),
        params:
            digest=lambda w: artefacts("attack", w)[0].job_digest,
        shell:
            GATHER

    localrules:
        gather_adaptive,

    rule gather_adaptive:
        input:
            unpack(all_shards("adaptive", ATTACK_SHARDS)),
        output:
            "<run>/adaptive/{pooling}.h5",
        log:
            "<run>/logs/gather.adaptive.{pooling}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory("over_paths"),
            runtime=minutes("over_paths"),
        params:
            digest=lambda w: artefacts("adaptive", w)[0].job_digest,
        shell:
            GATHER


if FEATURE_SHARDS:

    rule gather_features:
        input:
            unpack(all_shards("clean_features", FEATURE_SHARDS)),
        output:
            CLEAN_DUMPS,
        log:
            "<run>/logs/gather.features.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory("over_features"),
            runtime=minutes("over_features"),
        params:
            digest=lambda w: artefacts("clean_features", w)[0].job_digest,
        shell:
            GATHER

    rule gather_attacked_features:
        input:
            unpack(all_shards("attacked_features", FEATURE_SHARDS)),
        output:
            ATTACKED_DUMPS,
        log:
            "<run>/logs/gather.features.{split}.{attacked}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory("over_features"),
            runtime=minutes("over_features"),
        params:
            digest=lambda w: artefacts("attacked_features", w)[0].job_digest,
        shell:
            GATHER


if FEATURE_SHARDS and PLAN.streams:

    rule gather_paths:
        input:
            unpack(all_shards("paths", FEATURE_SHARDS)),
        output:
            "<run>/paths/{pooling}/{images}.h5",
        log:
            "<run>/logs/gather.paths.{pooling}.{images}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory("over_paths"),
            runtime=minutes("over_paths"),
        params:
            digest=lambda w: artefacts("paths", w)[0].job_digest,
        shell:
            GATHER
