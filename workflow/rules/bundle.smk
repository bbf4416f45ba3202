rule bundle:
    input:
        PACKAGE,
        recipe="results/{recipe}/recipe.json",
    output:
        # The file that all stages of all seeds run and the record ships, and the same program for people.
        code="results/{recipe}/train_gpt.py",
        source="results/{recipe}/train_gpt_source.py",
    log:
        "logs/{recipe}/bundle.log",
    benchmark:
        "results/{recipe}/benchmarks/bundle.tsv"
    threads: 1
    params:
        folder=subpath(output.code, parent=True),
    shell:
        "fairway bundle {input.recipe} -o {params.folder} > {log} 2>&1"
