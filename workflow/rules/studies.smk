rule studies:
    # One rule for all studies: they share what is loaded, the index tells of all of them, and a study that lacks what
    # a recipe has not is left out there, where a target of its own would fail. Nothing asks for it but its name.
    input:
        recipe="results/{recipe}/recipe.json",
        checkpoints=of_each_seed("model.safetensors"),
        hessians=of_each_seed("hessians.safetensors"),
        quantized=of_each_seed("quantized.safetensors"),
        artifacts=of_each_seed("artifact.bin"),
        floats=of_each_seed("float.json"),
        scores=of_each_seed("score.json"),
        ledgers=of_each_seed("ledger.jsonl"),
        train=data_part("train"),
        val=data_part("val"),
        tokenizer=data_part("tokenizer.model"),
        manifest=data_part("manifest.json"),
    output:
        folder=directory("results/{recipe}/studies"),
    log:
        "logs/{recipe}/studies.log",
    benchmark:
        "results/{recipe}/benchmarks/studies.tsv"
    threads: threads_of
    params:
        data=subpath(input.manifest, parent=True),
    shell:
        "fairway study all {input.checkpoints} --recipe {input.recipe} --data {params.data}"
        " -o {output.folder} > {log} 2>&1"
