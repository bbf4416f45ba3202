rule verify:
    input:
        recipe="results/{recipe}/recipe.json",
        code="results/{recipe}/train_gpt.py",
        manifest=data_part("manifest.json"),
        val=data_part("val"),
        artifact="results/{recipe}/seed{seed}/artifact.bin",
        ledger="results/{recipe}/seed{seed}/ledger.jsonl",
        score="results/{recipe}/seed{seed}/score.json",
        events=expand(
            "results/{{recipe}}/seed{{seed}}/{stage}.events.jsonl",
            stage=[
                "train",
                "calibrate",
                "rotate_gptq",
                "compress",
                "float",
                "evaluate",
            ],
        ),
    output:
        verdict="results/{recipe}/seed{seed}/verdict.json",
    log:
        "logs/{recipe}/verify.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/verify.seed{seed}.tsv"
    threads: 1
    params:
        run=subpath(output.verdict, parent=True),
        data=subpath(input.manifest, parent=True),
    shell:
        "fairway verify {params.run} --recipe {input.recipe} --code {input.code} --data {params.data}"
        " -o {output.verdict} > {log} 2>&1"
