"""Class centroids, collapse metrics and feature paths.

Needs the feature dumps.
Makes, for every run, the centroids and collapse metrics of the training images, and the cosine similarity of all other
images to the centroids, of all poolings. The paths are made in jobs of their own and not by the evaluation, so that a
temporary dump is not needed again when only a setting of the evaluation changes.
"""


rule clean_paths:
    input:
        unpack(lambda w: inputs(*PLAN.clean_paths(w.run))),
    output:
        centroids=[f"<run>/centroids/{pooling}.h5" for pooling in PLAN.poolings],
        collapse=[f"<run>/collapse/{pooling}.json" for pooling in PLAN.poolings],
        paths=[f"<run>/paths/{pooling}/{split}.h5" for pooling in PLAN.poolings for split in PLAN.evaluated_splits],
    log:
        "<run>/logs/clean_paths.log",
    benchmark:
        "<run>/benchmarks/clean_paths.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_features_needs),
        runtime=minutes(over_features_needs),
    params:
        steps=lambda w: steps(PLAN.clean_paths(w.run)),
    shell:
        "python -m featurepaths.stages.batch --steps {params.steps:q} > {log} 2>&1"


rule attacked_paths:
    input:
        unpack(lambda w: inputs(*PLAN.attacked_paths(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}"))),
    output:
        [f"<run>/paths/{pooling}/{{split}}.{{attack}}.{{stopping_rule}}.h5" for pooling in PLAN.poolings],
    log:
        "<run>/logs/attacked_paths.{split}.{attack}.{stopping_rule}.log",
    benchmark:
        "<run>/benchmarks/attacked_paths.{split}.{attack}.{stopping_rule}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_features_needs),
        runtime=minutes(over_features_needs),
    params:
        steps=lambda w: steps(PLAN.attacked_paths(w.run, f"{w.split}.{w.attack}.{w.stopping_rule}")),
    shell:
        "python -m featurepaths.stages.batch --steps {params.steps:q} > {log} 2>&1"
