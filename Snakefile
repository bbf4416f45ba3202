from snakemake.utils import min_version, validate

min_version("9.0")


configfile: "workflow/config.yaml"


validate(config, "schemas/workflow.schema.json")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


container: IMAGE


include: "workflow/rules/data.smk"
include: "workflow/rules/bundle.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/quantize.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/record.smk"
include: "workflow/rules/studies.smk"


rule all:
    default_target: True
    input:
        expand("results/{recipe}/record.txt", recipe=config["recipes"]),
        expand("results/{recipe}/figures/loss_curves.png", recipe=config["recipes"]),
