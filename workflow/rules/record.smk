rule record:
    input:
        recipe="results/{recipe}/recipe.json",
        code="results/{recipe}/train_gpt.py",
        source="results/{recipe}/train_gpt_source.py",
        manifest=data_part("manifest.json"),
        verdicts=of_each_seed("verdict.json"),
        probes=probes_of,
    output:
        # One line: where the record lies. Its folder is named after the day, which no rule can know beforehand.
        place="results/{recipe}/record.txt",
    log:
        "logs/{recipe}/record.log",
    benchmark:
        "results/{recipe}/benchmarks/record.tsv"
    threads: 1
    params:
        results=subpath(output.place, parent=True),
        data=subpath(input.manifest, parent=True),
        track=lambda wildcards: recipe_named(wildcards.recipe).track,
        author=config["author"],
        github_id=config["github_id"],
    shell:
        "fairway record {input.recipe} --results {params.results} --data {params.data}"
        " -o records/track_{params.track} --author {params.author:q} --github-id {params.github_id:q}"
        " > {output.place} 2> {log}"


rule figures:
    input:
        recipe="results/{recipe}/recipe.json",
        code="results/{recipe}/train_gpt.py",
        source="results/{recipe}/train_gpt_source.py",
        manifest=data_part("manifest.json"),
        verdicts=of_each_seed("verdict.json"),
    output:
        loss_curves=report(
            "results/{recipe}/figures/loss_curves.png",
            caption="../report/loss_curves.rst",
            category="training",
            labels={"recipe": "{recipe}", "figure": "loss curves"},
        ),
        bytes_by_role=report(
            "results/{recipe}/figures/bytes_by_role.png",
            caption="../report/bytes_by_role.rst",
            category="artifact",
            labels={"recipe": "{recipe}", "figure": "bytes by role"},
        ),
        error_by_tensor=report(
            "results/{recipe}/figures/error_by_tensor.png",
            caption="../report/error_by_tensor.rst",
            category="artifact",
            labels={"recipe": "{recipe}", "figure": "error by tensor"},
        ),
        bpb_along_evaluation=report(
            "results/{recipe}/figures/bpb_along_evaluation.png",
            caption="../report/bpb_along_evaluation.rst",
            category="evaluation",
            labels={"recipe": "{recipe}", "figure": "bpb along evaluation"},
        ),
        score_by_length=report(
            "results/{recipe}/figures/score_by_length.png",
            caption="../report/score_by_length.rst",
            category="evaluation",
            labels={"recipe": "{recipe}", "figure": "score by length"},
        ),
    log:
        "logs/{recipe}/figures.log",
    benchmark:
        "results/{recipe}/benchmarks/figures.tsv"
    threads: 1
    params:
        results=subpath(input.recipe, parent=True),
        data=subpath(input.manifest, parent=True),
        folder=subpath(output.loss_curves, parent=True),
    shell:
        "fairway figures {input.recipe} --results {params.results} --data {params.data}"
        " -o {params.folder} > {log} 2>&1"
