"""The rules that other rules inherit from, which never run themselves, and `check`.

Makes the mark that starts every job whose artefacts are out of date. It is forced when an artefact on the disk is not the
one that this experiment asks for (see `inputs`).
"""


rule small_job:
    # What jobs that only read feature paths and counts have in common.
    log:
        "<results>/logs/small_job.log",
    conda:
        "../envs/featurepaths.yaml"
    resources:
        **resources_of("over_paths"),
    shell:
        '"$PYTHON" -m featurepaths.stages.{params.job:q} > {log} 2>&1'


rule network_job:
    # What jobs that run a network have in common.
    log:
        "<results>/logs/network_job.log",
    conda:
        "../envs/featurepaths.yaml"
    threads: THREADS
    shell:
        '"$PYTHON" -m featurepaths.stages.{params.job:q} --device {resources.device} > {log} 2>&1'


localrules:
    check,


rule check:
    output:
        CHECKED,
    log:
        "<results>/logs/check.log",
    conda:
        "../envs/featurepaths.yaml"
    shell:
        "touch {output} > {log} 2>&1"


onstart:
    quote_status_command(workflow.executor_settings)


onsuccess:
    refuse_leftovers()
