"""Class centroids, feature paths and collapse metrics.

Needs the feature dumps.
Makes, for every run and pooling, the centroids and collapse metrics of the training images, and the cosine similarity
of all other images to the centroids.
"""


rule centroids:
    input:
        features="<run>/features/{pooling}/train.h5",
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
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda w: PLAN.centroids(w.run, w.pooling).params["settings"],
        digest=lambda w: PLAN.centroids(w.run, w.pooling).params["digest"],
    shell:
        "python -m featurepaths.stages.centroids --settings {params.settings:q} --digest {params.digest}"
        " --features {input.features} --centroids {output.centroids} > {log} 2>&1"


rule collapse:
    input:
        features="<run>/features/{pooling}/train.h5",
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
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda w: PLAN.collapse(w.run, w.pooling).params["settings"],
        digest=lambda w: PLAN.collapse(w.run, w.pooling).params["digest"],
    shell:
        "python -m featurepaths.stages.collapse --settings {params.settings:q} --digest {params.digest}"
        " --features {input.features} --collapse {output.collapse} > {log} 2>&1"


rule paths:
    input:
        features="<run>/features/{pooling}/{images}.h5",
        centroids="<run>/centroids/{pooling}.h5",
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
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda w: PLAN.paths(w.run, w.pooling, w.images).params["settings"],
        digest=lambda w: PLAN.paths(w.run, w.pooling, w.images).params["digest"],
    shell:
        "python -m featurepaths.stages.paths --settings {params.settings:q} --digest {params.digest}"
        " --features {input.features} --centroids {input.centroids} --paths {output.paths}"
        " > {log} 2>&1"
