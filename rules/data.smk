"""Data.

Needs nothing, or the files of a data set that the configuration names.
Makes `data.h5`: images, labels and splits.
"""


rule data:
    output:
        data="<results>/data.h5",
    log:
        "<results>/logs/data.log",
    benchmark:
        "<results>/benchmarks/data.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        source=DATA_FROM,
        runtime=60,
    params:
        settings=PLAN.data().params["settings"],
        digest=PLAN.data().params["digest"],
    shell:
        "python -m featurepaths.stages.data --settings {params.settings:q} --digest {params.digest}"
        " {resources.source} --threads {threads} --data {output.data} > {log} 2>&1"
