rule evaluate:
    input:
        # Neither training shards nor the checkpoint: the artifact's bytes are all that is scored.
        code="results/{recipe}/train_gpt.py",
        val=data_part("val"),
        tokenizer=data_part("tokenizer.model"),
        artifact="results/{recipe}/seed{seed}/artifact.bin",
    output:
        score="results/{recipe}/seed{seed}/score.json",
        ledger="results/{recipe}/seed{seed}/ledger.jsonl",
        events="results/{recipe}/seed{seed}/evaluate.events.jsonl",
        outside="results/{recipe}/seed{seed}/evaluate.outside.json",
    log:
        "logs/{recipe}/evaluate.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/evaluate.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=config["gpus"],
    params:
        processes=PROCESSES,
        walls=walls,
    shell:
        "fairway watch -o {output.outside} --stage evaluate {params.walls} -- "
        "{params.processes} {input.code} --stage evaluate --val {input.val} --tokenizer {input.tokenizer} --seed {wildcards.seed}"
        " --artifact {input.artifact} -o {output.score} --ledger {output.ledger} --events {output.events} > {log} 2>&1"


rule evaluate_float:
    input:
        code="results/{recipe}/train_gpt.py",
        val=data_part("val"),
        tokenizer=data_part("tokenizer.model"),
        checkpoint="results/{recipe}/seed{seed}/model.safetensors",
    output:
        score="results/{recipe}/seed{seed}/float.json",
        events="results/{recipe}/seed{seed}/float.events.jsonl",
        outside="results/{recipe}/seed{seed}/float.outside.json",
    log:
        "logs/{recipe}/evaluate_float.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/evaluate_float.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=config["gpus"],
    params:
        processes=PROCESSES,
        walls=walls,
    shell:
        "fairway watch -o {output.outside} --stage float {params.walls} -- "
        "{params.processes} {input.code} --stage float --val {input.val} --tokenizer {input.tokenizer} --seed {wildcards.seed}"
        " --checkpoint {input.checkpoint} -o {output.score} --events {output.events} > {log} 2>&1"
