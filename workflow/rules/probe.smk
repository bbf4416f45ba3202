rule probe:
    input:
        # As the evaluation: neither training shards nor the checkpoint. The package that probes makes the program anew
        # from the recipe, and holds it against its source. It encloses what decodes, which walls within walls could not.
        recipe="results/{recipe}/recipe.json",
        code="results/{recipe}/train_gpt.py",
        source="results/{recipe}/train_gpt_source.py",
        val=data_part("val"),
        tokenizer=data_part("tokenizer.model"),
        artifact="results/{recipe}/seed{seed}/artifact.bin",
    output:
        probe="results/{recipe}/seed{seed}/probe.json",
        events="results/{recipe}/seed{seed}/probe.events.jsonl",
        outside="results/{recipe}/seed{seed}/probe.outside.json",
    log:
        "logs/{recipe}/probe.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/probe.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=min(1, config["gpus"]),
    params:
        run=subpath(input.recipe, parent=True),
        data=subpath(input.tokenizer, parent=True),
    shell:
        "fairway watch -o {output.outside} --stage probe -- "
        "fairway probe {params.run} --data {params.data} --seed {wildcards.seed} > {log} 2>&1"
