"""Data.

Needs nothing, or the files of a data set that the configuration names.
Makes `data.h5`: images, labels and splits.
"""


rule data:
    input:
        unpack(lambda w: inputs(PLAN.data())),
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
        mem_mb=memory(reading_needs),
        source=DATA_FROM,
        runtime=minutes(reading_needs),
    params:
        job=lambda w: PLAN.data().params,
    shell:
        "python -m featurepaths.stages.data --settings {params.job[settings]:q} --digest {params.job[digest]}"
        " {resources.source} --threads {threads} --data {output.data} > {log} 2>&1"
