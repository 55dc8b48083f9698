"""Data.

Needs nothing, or the files of a data set that the configuration names.
Makes `data.h5`: images, labels and splits.
"""


rule data:
    output:
        data=RESULTS + "/data.h5",
    log:
        RESULTS + "/logs/data.log",
    benchmark:
        RESULTS + "/benchmarks/data.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=PLAN.data().params["settings"],
        digest=PLAN.data().params["digest"],
    shell:
        "python -m featurepaths.stages.data --settings {params.settings:q} --digest {params.digest}"
        " {DATA_FROM} --data {output.data} > {log} 2>&1"
