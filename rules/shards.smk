"""Gathering: where attacks and extractions are split over several jobs.

Needs the shards of adversarial images, of feature dumps, or of feature paths where no dump is made.
Makes the same files, to the byte, as one job does that is not split.
"""


rule gather:
    # What all of them have in common.
    log:
        "<results>/logs/gather.log",
    conda:
        "../envs/featurepaths.yaml"
    resources:
        **resources_of("over_paths"),
    shell:
        '"$PYTHON" -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}'
        " > {log} 2>&1"


if ATTACK_SHARDS:

    localrules:
        gather_attack,
        gather_adaptive,

    use rule gather as gather_attack with:
        input:
            unpack(all_shards("attack", ATTACK_SHARDS)),
        output:
            "<run>/attacks/{split}.{attack}.h5",
        log:
            "<run>/logs/gather.{split}.{attack}.log",
        params:
            digest=gather_digest("attack"),

    use rule gather as gather_adaptive with:
        input:
            unpack(all_shards("adaptive", ATTACK_SHARDS)),
        output:
            "<run>/adaptive/{pooling}.h5",
        log:
            "<run>/logs/gather.adaptive.{pooling}.log",
        params:
            digest=gather_digest("adaptive"),


if FEATURE_SHARDS:

    use rule gather as gather_features with:
        input:
            unpack(all_shards("clean_features", FEATURE_SHARDS)),
        output:
            CLEAN_DUMPS,
        log:
            "<run>/logs/gather.features.log",
        group:
            cluster_group("evaluation")
        resources:
            **resources_of("over_features"),
        params:
            digest=gather_digest("clean_features"),

    use rule gather as gather_attacked_features with:
        input:
            unpack(all_shards("attacked_features", FEATURE_SHARDS)),
        output:
            ATTACKED_DUMPS,
        log:
            "<run>/logs/gather.features.{split}.{attacked}.log",
        group:
            cluster_group("evaluation")
        resources:
            **resources_of("over_features"),
        params:
            digest=gather_digest("attacked_features"),


if FEATURE_SHARDS and PLAN.streams:

    use rule gather as gather_paths with:
        input:
            unpack(all_shards("paths", FEATURE_SHARDS)),
        output:
            "<run>/paths/{pooling}/{images}.h5",
        log:
            "<run>/logs/gather.paths.{pooling}.{images}.log",
        group:
            cluster_group("evaluation")
        params:
            digest=gather_digest("paths"),
