rule train:
    input:
        code="results/{recipe}/train_gpt.py",
        train=data_part("train"),
    output:
        checkpoint="results/{recipe}/seed{seed}/model.safetensors",
        events="results/{recipe}/seed{seed}/train.events.jsonl",
        outside="results/{recipe}/seed{seed}/train.outside.json",
    log:
        "logs/{recipe}/train.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/train.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=config["gpus"],
    params:
        processes=PROCESSES,
    shell:
        "fairway watch -o {output.outside} --stage train -- "
        "{params.processes} {input.code} --stage train --data {input.train} --seed {wildcards.seed}"
        " -o {output.checkpoint} --events {output.events} > {log} 2>&1"


rule calibrate:
    input:
        # Training shards alone: no statistic of the text that is scored later can come into the weights.
        code="results/{recipe}/train_gpt.py",
        train=data_part("train"),
        checkpoint="results/{recipe}/seed{seed}/model.safetensors",
    output:
        hessians="results/{recipe}/seed{seed}/hessians.safetensors",
        events="results/{recipe}/seed{seed}/calibrate.events.jsonl",
        outside="results/{recipe}/seed{seed}/calibrate.outside.json",
    log:
        "logs/{recipe}/calibrate.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/calibrate.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=config["gpus"],
    params:
        processes=PROCESSES,
        walls=walls,
    shell:
        "fairway watch -o {output.outside} --stage calibrate {params.walls} -- "
        "{params.processes} {input.code} --stage calibrate --data {input.train} --seed {wildcards.seed}"
        " --checkpoint {input.checkpoint} -o {output.hessians} --events {output.events} > {log} 2>&1"
