"""Class centroids, feature paths and collapse metrics, from feature dumps.

Makes, for every run and all poolings, the centroids and collapse metrics of the training images, and the cosine
similarity of all other images to the centroids. One job makes many small files, because starting it takes longer.
"""


use rule small_job as clean_paths with:
    input:
        files("clean_paths"),
    output:
        [f"<run>/centroids/{pooling}.h5" for pooling in PLAN.poolings],
        [f"<run>/collapse/{pooling}.json" for pooling in PLAN.poolings],
        [f"<run>/paths/{pooling}/{split}.h5" for pooling in PLAN.poolings for split in PLAN.splits[1:]],
    log:
        "<run>/logs/clean_paths.log",
    benchmark:
        "<run>/benchmarks/clean_paths.tsv"
    group:
        cluster_group("evaluation")
    resources:
        **resources_of("over_features", 4 * len(PLAN.poolings)),
    params:
        job=job(["centroids", "collapse", "paths"], of="clean_paths"),


use rule small_job as attacked_paths with:
    input:
        files("attacked_paths"),
    output:
        [f"<run>/paths/{pooling}/{{split}}.{{attacked}}.h5" for pooling in PLAN.poolings],
    log:
        "<run>/logs/paths.{split}.{attacked}.log",
    benchmark:
        "<run>/benchmarks/paths.{split}.{attacked}.tsv"
    group:
        cluster_group("evaluation")
    resources:
        **resources_of("over_features", len(PLAN.poolings)),
    params:
        job=job(["paths"], of="attacked_paths"),
