"""Data.

Needs nothing, or the files of a data set that the configuration names.
Makes `data.h5`: images, labels and splits.
"""


rule data:
    input:
        files("data"),
    output:
        "<results>/data.h5",
    log:
        "<results>/logs/data.log",
    benchmark:
        "<results>/benchmarks/data.tsv"
    conda:
        "../envs/featurepaths.yaml"
    threads: 4
    resources:
        source=DATA_FROM,
        mem_mb=memory("reading"),
        runtime=minutes("reading"),
    params:
        job=job("data", keys=["data"]),
    shell:
        call("data", " {resources.source} --threads {threads}")
