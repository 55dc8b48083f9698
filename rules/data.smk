"""Data.

Needs nothing, or the files of a data set that the configuration names.
Makes `data.h5`: images, labels and splits.
"""


use rule small_job as data with:
    input:
        files("data"),
    output:
        "<results>/data.h5",
    log:
        "<results>/logs/data.log",
    benchmark:
        "<results>/benchmarks/data.tsv"
    threads: 4
    resources:
        **resources_of("reading"),
    params:
        job=job("data", keys=["data"], options=["--threads", "4"]),
