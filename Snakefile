"""featurepaths: do the features inside an image classifier give adversarial examples away?

snakemake --cores all                                          the default experiment, config.yaml
snakemake --cores all --configfile configs/<experiment>.yaml   another one, instead of the default
"""

from snakemake.utils import min_version

min_version("9.0")

# A configuration file given on the command line replaces the default one: merged with it, the experiment would get
# the default's models and attacks as well.
if not workflow.configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/paths.smk"
include: "rules/detection.smk"
include: "rules/recognition.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/config.json",
        expand("{results}/tables/{table}.{kind}", results=RESULTS, table=TABLES, kind=["csv", "md"]),
        expand(
            "{results}/figures/{figure}.{run}.{pooling}.{kind}",
            results=RESULTS,
            figure=RUN_FIGURES,
            run=PLAN.runs,
            pooling=PLAN.poolings,
            kind=["png", "svg"],
        ),
        expand("{results}/figures/{figure}.{kind}", results=RESULTS, figure=SUMMARY_FIGURES, kind=["png", "svg"]),
