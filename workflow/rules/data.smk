rule resolve_recipe:
    input:
        recipe_files,
    output:
        recipe="results/{recipe}/recipe.json",
    log:
        "logs/{recipe}/resolve_recipe.log",
    benchmark:
        "results/{recipe}/benchmarks/resolve_recipe.tsv"
    threads: 1
    shell:
        "fairway recipe resolve {wildcards.recipe} -o {output.recipe} > {log} 2>&1"


rule describe_data:
    # No input: the folder's name changes with the data's part of a recipe, and a change of any other part must not
    # fetch a dataset again.
    output:
        recipe="data/{dataset}.recipe.json",
    log:
        "logs/data/{dataset}.recipe.log",
    benchmark:
        "results/data/benchmarks/{dataset}.recipe.tsv"
    threads: 1
    params:
        recipe=recipe_of_dataset,
    shell:
        "fairway recipe resolve {params.recipe} -o {output.recipe} > {log} 2>&1"


rule fetch_data:
    input:
        recipe="data/{dataset}.recipe.json",
    output:
        # Two folders, so that evaluation can be given the second alone.
        train=directory("data/{dataset}/train"),
        val=directory("data/{dataset}/val"),
        tokenizer="data/{dataset}/tokenizer.model",
        manifest="data/{dataset}/manifest.json",
    log:
        "logs/data/{dataset}.log",
    benchmark:
        "results/data/benchmarks/{dataset}.tsv"
    threads: 1
    params:
        folder=subpath(output.manifest, parent=True),
    shell:
        "fairway fetch {input.recipe} -o {params.folder} > {log} 2>&1"
