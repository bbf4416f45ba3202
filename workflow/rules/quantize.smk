rule rotate_gptq:
    input:
        code="results/{recipe}/train_gpt.py",
        checkpoint="results/{recipe}/seed{seed}/model.safetensors",
        hessians="results/{recipe}/seed{seed}/hessians.safetensors",
    output:
        quantized="results/{recipe}/seed{seed}/quantized.safetensors",
        events="results/{recipe}/seed{seed}/rotate_gptq.events.jsonl",
        outside="results/{recipe}/seed{seed}/rotate_gptq.outside.json",
    log:
        "logs/{recipe}/rotate_gptq.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/rotate_gptq.seed{seed}.tsv"
    threads: threads_of
    resources:
        gpus=config["gpus"],
    params:
        processes=PROCESSES,
    shell:
        "fairway watch -o {output.outside} --stage rotate_gptq -- "
        "{params.processes} {input.code} --stage rotate_gptq --seed {wildcards.seed} --checkpoint {input.checkpoint}"
        " --hessians {input.hessians} -o {output.quantized} --events {output.events} > {log} 2>&1"


rule compress:
    input:
        code="results/{recipe}/train_gpt.py",
        quantized="results/{recipe}/seed{seed}/quantized.safetensors",
    output:
        artifact="results/{recipe}/seed{seed}/artifact.bin",
        events="results/{recipe}/seed{seed}/compress.events.jsonl",
        outside="results/{recipe}/seed{seed}/compress.outside.json",
    log:
        "logs/{recipe}/compress.seed{seed}.log",
    benchmark:
        "results/{recipe}/benchmarks/compress.seed{seed}.tsv"
    threads: 1
    resources:
        gpus=0,
    shell:
        "fairway watch -o {output.outside} --stage compress -- "
        "python {input.code} --stage compress --seed {wildcards.seed} --quantized {input.quantized}"
        " -o {output.artifact} --events {output.events} > {log} 2>&1"
