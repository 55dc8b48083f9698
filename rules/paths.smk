"""Class centroids, feature paths and collapse metrics.

Needs the feature dumps.
Makes, for every run and pooling, the centroids and collapse metrics of the training images, and the cosine similarity
of all other images to the centroids.
"""


rule centroids:
    input:
        unpack(lambda w: inputs(PLAN.centroids(w.run, w.pooling))),
    output:
        centroids="<run>/centroids/{pooling}.h5",
    log:
        "<run>/logs/centroids.{pooling}.log",
    benchmark:
        "<run>/benchmarks/centroids.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_features_needs),
        runtime=minutes(over_features_needs),
    params:
        job=lambda w: PLAN.centroids(w.run, w.pooling).params,
    shell:
        "python -m featurepaths.stages.centroids --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --features {input.features} --centroids {output.centroids} > {log} 2>&1"


rule collapse:
    input:
        unpack(lambda w: inputs(PLAN.collapse(w.run, w.pooling))),
    output:
        collapse="<run>/collapse/{pooling}.json",
    log:
        "<run>/logs/collapse.{pooling}.log",
    benchmark:
        "<run>/benchmarks/collapse.{pooling}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_features_needs),
        runtime=minutes(over_features_needs),
    params:
        job=lambda w: PLAN.collapse(w.run, w.pooling).params,
    shell:
        "python -m featurepaths.stages.collapse --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --features {input.features} --collapse {output.collapse} > {log} 2>&1"


rule paths:
    input:
        unpack(lambda w: inputs(PLAN.paths(w.run, w.pooling, w.images))),
    output:
        paths="<run>/paths/{pooling}/{images}.h5",
    log:
        "<run>/logs/paths.{pooling}.{images}.log",
    benchmark:
        "<run>/benchmarks/paths.{pooling}.{images}.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=memory(over_features_needs),
        runtime=minutes(over_features_needs),
    params:
        job=lambda w: PLAN.paths(w.run, w.pooling, w.images).params,
    shell:
        "python -m featurepaths.stages.paths --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " --features {input.features} --centroids {input.centroids} --paths {output.paths}"
        " > {log} 2>&1"
