"""Gathering: where attacks and extractions are split over several jobs.

Needs the shards of the adversarial images, of the feature dumps, or of the feature paths where no dump is made.
Makes the same files, to the byte, as one job does that is not split.
"""

if ATTACK_SHARDS:

    localrules:
        gather_attack,

    rule gather_attack:
        input:
            unpack(lambda w: inputs(PLAN.attack(w.run, w.split, w.attack), shards=ATTACK_SHARDS)),
        output:
            "<run>/attacks/{split}.{attack}.h5",
        log:
            "<run>/logs/gather.{split}.{attack}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory(over_paths_needs),
            runtime=minutes(over_paths_needs),
        params:
            digest=lambda w: PLAN.attack(w.run, w.split, w.attack).job_digest,
        shell:
            "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}"
            " > {log} 2>&1"

    localrules:
        gather_adaptive,

    rule gather_adaptive:
        input:
            unpack(lambda w: inputs(PLAN.adaptive(w.run, w.pooling), shards=ATTACK_SHARDS)),
        output:
            "<run>/adaptive/{pooling}.h5",
        log:
            "<run>/logs/gather.adaptive.{pooling}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory(over_paths_needs),
            runtime=minutes(over_paths_needs),
        params:
            digest=lambda w: PLAN.adaptive(w.run, w.pooling).job_digest,
        shell:
            "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}"
            " > {log} 2>&1"


if FEATURE_SHARDS:

    rule gather_features:
        input:
            unpack(lambda w: inputs(*PLAN.dumps(w.run, *PLAN.splits), shards=FEATURE_SHARDS)),
        output:
            CLEAN_DUMPS,
        log:
            "<run>/logs/gather.features.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory(over_features_needs),
            runtime=minutes(over_features_needs),
        params:
            digest=lambda w: PLAN.dumps(w.run, *PLAN.splits)[0].job_digest,
        shell:
            "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}"
            " > {log} 2>&1"

    rule gather_attacked_features:
        input:
            unpack(lambda w: inputs(*PLAN.dumps(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}"), shards=FEATURE_SHARDS)),
        output:
            ATTACKED_DUMPS,
        log:
            "<run>/logs/gather.features.{split}.{attack}.{stopping_rule}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory(over_features_needs),
            runtime=minutes(over_features_needs),
        params:
            digest=lambda w: PLAN.dumps(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}")[0].job_digest,
        shell:
            "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}"
            " > {log} 2>&1"


if FEATURE_SHARDS and PLAN.streams:

    rule gather_paths:
        input:
            unpack(lambda w: inputs(PLAN.paths(w.run, w.pooling, w.images), shards=FEATURE_SHARDS)),
        output:
            "<run>/paths/{pooling}/{images}.h5",
        log:
            "<run>/logs/gather.paths.{pooling}.{images}.log",
        conda:
            "../envs/featurepaths.yaml"
        resources:
            mem_mb=memory(over_paths_needs),
            runtime=minutes(over_paths_needs),
        params:
            digest=lambda w: PLAN.paths(w.run, w.pooling, w.images).job_digest,
        shell:
            "python -m featurepaths.stages.gather --digest {params.digest} --shards {input.shards} --artefacts {output}"
            " > {log} 2>&1"
