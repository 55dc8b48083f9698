"""What is out of date.

Needs the mark that is set when an artefact on the disk is not the one that this experiment asks for (see `inputs`).
Makes the mark that starts every job whose artefacts are out of date.
"""


localrules:
    check,


rule check:
    input:
        OUT_OF_DATE,
    output:
        CHECKED,
    log:
        "<results>/logs/check.log",
    conda:
        "../envs/featurepaths.yaml"
    shell:
        "touch {output} > {log} 2>&1"


onsuccess:
    refuse_leftovers()
