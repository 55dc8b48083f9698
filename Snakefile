"""featurepaths: do the features inside an image classifier give adversarial examples away?

snakemake --cores all                                          the default experiment, config.yaml
snakemake --cores all --configfile configs/<experiment>.yaml   another one, instead of the default
"""

from snakemake.utils import min_version

min_version("9.27")

# A configuration file given on the command line replaces the default one: merged with it, the experiment would get
# the default's models and attacks as well.
if not workflow.configfiles:

    configfile: f"{workflow.current_basedir}/config.yaml"


report: "captions/workflow.rst"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/provenance.smk"
include: "rules/base.smk"
include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/shards.smk"
include: "rules/streamed.smk" if PLAN.streams else "rules/paths.smk"
include: "rules/evaluation.smk"
include: "rules/adaptive.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        CHECKED,
        rules.configuration.output,
        rules.tables.output,
        rules.summary_figures.output,
        rules.explorer.output,
        [rules.comparison.output, rules.comparison_figures.output] if EXPERIMENT.detectors_are_tested else [],
        expand(rules.run_figures.output, run=PLAN.runs, pooling=PLAN.poolings, attack=EXPERIMENT.attacks),
