import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fairway.recipes.load import load_recipe

ROOT = Path(__file__).resolve().parents[2]

STAGES = ["train", "calibrate", "rotate_gptq", "compress", "evaluate", "evaluate_float", "verify"]
RULES = ["resolve_recipe", "describe_data", "fetch_data", "bundle", *STAGES, "probe", "record", "figures", "studies"]
PROBED = ("pocket",)
"""Recipes that the configuration has probed."""
TOGETHER = ("train", "calibrate", "rotate_gptq", "evaluate", "evaluate_float")
BUNDLED = {name: name for name in STAGES if name != "verify"} | {"evaluate_float": "float"}
"""Rules that run the file that ships, and what it calls them."""


def rule_texts() -> dict[str, str]:
    """Name to text of every rule of the workflow."""
    found = {}
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        heads = list(re.finditer(r"^rule (\w+):\n", text, flags=re.MULTILINE))
        ends = [*(head.start() for head in heads[1:]), len(text)]
        found |= {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=bool(heads))}
    return found


def job_counts(output: str) -> dict[str, int]:
    """The table that a dry run prints."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}


@pytest.mark.parametrize("recipe", ["caseops-top", "pocket", "tiny"])
def test_a_dry_run_of_each_recipe_makes_every_stage_of_every_seed(snakemake, recipe):
    result = snakemake("-n", f"results/{recipe}/record.txt", f"results/{recipe}/figures/loss_curves.png")
    assert result.returncode == 0, result.stdout
    counts = job_counts(result.stdout)
    seeds = len(load_recipe(recipe).recipe.seeds)
    probes = {"probe": seeds} if recipe in PROBED else {}
    once = dict.fromkeys(["resolve_recipe", "describe_data", "fetch_data", "bundle", "record", "figures"], 1)
    of_seeds = {**dict.fromkeys(STAGES, seeds), **probes}
    assert counts == {**once, **of_seeds, "total": len(once) + sum(of_seeds.values())}


@pytest.mark.parametrize("profile", ["local", "ci"])
def test_the_default_target_is_the_record_of_every_configured_recipe(snakemake, profile):
    result = snakemake("-n", profile=profile)
    assert result.returncode == 0, result.stdout
    assert job_counts(result.stdout)["record"] == 1
    assert job_counts(result.stdout)["all"] == 1


def test_every_rule_is_one_command_with_log_benchmark_and_threads():
    texts = rule_texts()
    assert list(sorted(texts)) == sorted(RULES)
    for name, text in texts.items():
        for section in ("output", "log", "benchmark", "threads", "shell"):
            assert len(re.findall(rf"^    {section}:", text, flags=re.MULTILINE)) == 1, f"{name}: {section}"
        assert not re.search(r"^    (run|script|notebook|wrapper):", text, flags=re.MULTILINE), name
        shell = text.split("    shell:")[1]
        assert "> {log}" in shell and not set(";|`") & set(shell) and "&&" not in shell, name
        verb = re.split("_", name)[0]
        verbs = {"resolve": "recipe resolve", "describe": "recipe resolve", "studies": "study all"}
        due = f"fairway {verbs.get(verb, verb)} "
        if name in BUNDLED:
            due = f"{'{params.processes}' if name in TOGETHER else 'python'} {{input.code}} --stage {BUNDLED[name]} "
        watched = "{output.outside}" in shell
        assert f'"{due}' in shell and watched == (name in (*BUNDLED, "probe")), name
        if watched:
            stage = BUNDLED.get(name, name)
            assert shell.lstrip().startswith(f'"fairway watch -o {{output.outside}} --stage {stage} '), name
            assert shell.count(' -- "') == 1, name
        assert len(re.findall(r"\bfairway |\bpython |{params.processes} ", shell)) == 1 + watched, name


def test_every_stage_on_tensors_is_told_where_the_file_that_ran_lies_and_nothing_of_the_recipe():
    for name, text in rule_texts().items():
        assert ('code="results/{recipe}/train_gpt.py"' in text.split("    output:")[0]) == (
            name in BUNDLED or name in ("verify", "probe", "record", "figures")
        ), name
        assert name not in BUNDLED or "recipe.json" not in text, name


def test_stages_on_tensors_take_the_configured_graphics_cards():
    texts = rule_texts()
    for name in ("train", "calibrate", "rotate_gptq", "evaluate", "evaluate_float"):
        assert 'gpus=config["gpus"]' in texts[name], name


@pytest.mark.parametrize(
    ("gpus", "started"), [(0, "python"), (1, "python"), (2, "torchrun --standalone --nproc-per-node=2")]
)
def test_stages_of_all_ranks_get_a_process_a_card_and_the_others_one(snakemake, gpus, started):
    result = snakemake("-n", "--printshellcmds", "results/tiny/seed42/score.json", "--config", f"gpus={gpus}")
    assert result.returncode == 0, result.stdout
    commands = re.findall(r"Shell command: fairway watch .*? -- (.*?) \S*train_gpt.py --stage (\w+)", result.stdout)
    assert {stage: how for how, stage in commands} == {
        "train": started,
        "calibrate": started,
        "rotate_gptq": started,
        "compress": "python",
        "evaluate": started,
    }


def test_evaluation_of_the_artifact_sees_neither_training_shards_nor_the_checkpoint(snakemake):
    result = snakemake("-n", "--printshellcmds", "results/tiny/seed42/score.json")
    assert result.returncode == 0, result.stdout
    job = result.stdout.split("rule evaluate:")[1].split("rule ")[0]
    inputs = re.search(r"input: (.*)", job)[1].split(", ")
    names = sorted(Path(name).name for name in inputs)
    assert names == ["artifact.bin", "tokenizer.model", "train_gpt.py", "val"]
    shell = job.split("Shell command: ")[1]
    assert "/train" not in shell.replace("/train_gpt.py", "") and "model.safetensors" not in shell


def test_calibration_sees_no_validation_shards(snakemake):
    result = snakemake("-n", "--printshellcmds", "results/tiny/seed42/hessians.safetensors")
    assert result.returncode == 0, result.stdout
    shell = result.stdout.split("rule calibrate:")[1].split("Shell command: ")[1].splitlines()[0]
    walled = shell.split(" -- ")[0]
    read = [Path(path).name for path in re.findall(r"--read (\S+)", walled)]
    assert "--isolate" in walled and sorted(read) == ["model.safetensors", "train", "train_gpt.py"]


def test_the_configuration_says_what_is_probed_before_there_is_a_record(snakemake):
    asked = snakemake("-n", "results/tiny/record.txt", "--config", "probes=[tiny]")
    assert asked.returncode == 0, asked.stdout
    assert job_counts(asked.stdout)["probe"] == len(load_recipe("tiny").recipe.seeds)
    none = snakemake("-n", "results/pocket/record.txt", "--config", "probes=[]")
    assert none.returncode == 0 and "probe" not in job_counts(none.stdout)


def test_probes_run_under_the_clock_outside_and_enclose_what_decodes_themselves(snakemake):
    result = snakemake("-n", "--printshellcmds", "results/tiny/seed42/probe.json")
    assert result.returncode == 0, result.stdout
    shell = result.stdout.split("rule probe:")[1].split("Shell command: ")[1].splitlines()[0]
    watched, command = shell.split(" -- ")
    assert watched == "fairway watch -o results/tiny/seed42/probe.outside.json --stage probe"
    assert command.startswith("fairway probe results/tiny --data data/") and "--seed 42 > " in command


def test_an_unknown_key_in_the_configuration_stops_the_run(snakemake):
    result = snakemake("-n", "--config", "recpes=tiny")
    assert result.returncode != 0
    assert "recpes" in result.stdout and "Additional properties are not allowed" in result.stdout


def test_an_unknown_recipe_stops_the_run_with_a_suggestion(snakemake):
    result = snakemake("-n", "results/pokcet/record.txt")
    assert result.returncode != 0
    assert "no recipe is named 'pokcet' in workflow/recipes; did you mean pocket?" in result.stdout


def test_the_workflow_is_formatted_and_passes_snakemakes_linter(workplace, environment):
    tools = {"env": environment(), "cwd": workplace, "capture_output": True, "text": True, "check": False}
    style = subprocess.run([sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"], **tools)
    assert style.returncode == 0, style.stderr
    lint = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], **tools)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_every_figure_of_the_report_has_a_caption_that_says_something():
    text = rule_texts()["figures"]
    figures = re.findall(r'"results/\{recipe\}/figures/(\w+)\.png"', text)
    captions = re.findall(r'caption="\.\./report/(\w+)\.rst"', text)
    assert len(figures) == 5
    assert figures == captions
    assert all(len((ROOT / "workflow" / "report" / f"{name}.rst").read_text().split()) > 5 for name in captions)


def test_studies_read_every_seed_of_a_recipe_and_are_made_only_where_they_are_asked_for(snakemake):
    plain = snakemake("-n")
    assert plain.returncode == 0 and "studies" not in job_counts(plain.stdout)
    result = snakemake("-n", "--printshellcmds", "results/tiny/studies")
    assert result.returncode == 0, result.stdout
    assert job_counts(result.stdout)["studies"] == 1
    job = result.stdout.split("rule studies:")[1]
    seeds = load_recipe("tiny").recipe.seeds
    for name in (
        "model.safetensors",
        "hessians.safetensors",
        "artifact.bin",
        "float.json",
        "score.json",
        "ledger.jsonl",
    ):
        assert all(f"results/tiny/seed{seed}/{name}" in job for seed in seeds), name
    words = re.search(r"Shell command: (fairway study .*)", job)[1].split()
    checkpoints = [f"results/tiny/seed{seed}/model.safetensors" for seed in seeds]
    assert words[1:6] == ["study", "all", *checkpoints]
    assert words[words.index("--recipe") + 1] == "results/tiny/recipe.json"
    assert words[words.index("--data") + 1].startswith("data/embedded_v384-")
    assert words[words.index("-o") + 1] == "results/tiny/studies"


def test_a_second_run_does_nothing_and_says_so(snakemake, stand_in, workplace):
    first = snakemake("results/tiny/record.txt", first=stand_in)
    assert first.returncode == 0, first.stdout
    calls = (workplace / "calls.txt").read_text()
    assert len(calls.splitlines()) == 5 + 3 * len(STAGES)
    second = snakemake("results/tiny/record.txt", first=stand_in)
    assert second.returncode == 0, second.stdout
    assert "Nothing to be done" in second.stdout
    assert (workplace / "calls.txt").read_text() == calls


def test_content_decides_what_runs_again_not_dates(snakemake, stand_in, workplace):
    target = "results/tiny/seed42/verdict.json"
    assert snakemake(target, first=stand_in).returncode == 0
    recipe = workplace / "workflow" / "recipes" / "tiny.toml"

    recipe.write_text(recipe.read_text())
    (workplace / "results" / "tiny" / "seed42" / "model.safetensors").touch()
    assert "Nothing to be done" in snakemake("-n", target, first=stand_in).stdout

    recipe.write_text(recipe.read_text().replace("steps = ", "steps = 1"))
    counts = job_counts(snakemake("-n", target, first=stand_in).stdout)
    assert counts["resolve_recipe"] == counts["bundle"] == counts["train"] == counts["verify"] == 1
    assert "fetch_data" not in counts


def test_another_file_runs_every_stage_again_and_the_same_file_none(snakemake, stand_in, workplace):
    target = "results/tiny/seed42/verdict.json"
    assert snakemake(target, first=stand_in).returncode == 0
    code = workplace / "results" / "tiny" / "train_gpt.py"

    code.write_text(code.read_text())
    assert "Nothing to be done" in snakemake("-n", target, first=stand_in).stdout

    code.write_text(code.read_text() + "# another\n")
    counts = job_counts(snakemake("-n", target, first=stand_in).stdout)
    assert counts == {**dict.fromkeys(STAGES, 1), "total": len(STAGES)}


def test_data_that_is_there_is_not_fetched_again_when_the_results_are_gone(snakemake, stand_in, workplace):
    target = "results/tiny/seed42/model.safetensors"
    assert snakemake(target, first=stand_in).returncode == 0
    shutil.rmtree(workplace / "results")
    counts = job_counts(snakemake("-n", target, first=stand_in).stdout)
    assert counts == {"resolve_recipe": 1, "bundle": 1, "train": 1, "total": 3}


def test_other_data_is_fetched_into_another_folder(snakemake, stand_in, workplace):
    target = "results/tiny/seed42/model.safetensors"
    assert snakemake(target, first=stand_in).returncode == 0
    recipe = workplace / "workflow" / "recipes" / "tiny.toml"
    recipe.write_text(recipe.read_text().replace("val_docs = ", "val_docs = 1"))
    assert snakemake(target, first=stand_in).returncode == 0
    assert len([path for path in (workplace / "data").iterdir() if path.is_dir()]) == 2


def test_a_command_that_fails_leaves_no_output_and_its_log_is_shown(snakemake, stand_in, workplace):
    script = workplace / "stand_in.py"
    script.write_text(script.read_text() + 'if stage == "compress":\n    sys.exit("the disk is full")\n')
    result = snakemake("results/tiny/seed42/score.json", first=stand_in)
    assert result.returncode != 0
    assert "the disk is full" in result.stdout
    seed = workplace / "results" / "tiny" / "seed42"
    assert not (seed / "artifact.bin").exists() and not (seed / "score.json").exists()


def test_the_report_holds_the_figures(snakemake, stand_in, workplace):
    pixel = workplace / "pixel.png"
    Image.new("L", (1, 1)).save(pixel)
    script = stand_in / "fairway"
    script.write_text(script.read_text().replace('echo "$name" > "$out/$name.png"', f'cp "{pixel}" "$out/$name.png"'))
    targets = ("results/tiny/record.txt", "results/tiny/figures/loss_curves.png")
    assert snakemake(*targets, first=stand_in).returncode == 0
    result = snakemake("--report", "report.html", "--", *targets, first=stand_in)
    assert result.returncode == 0, result.stdout
    html = (workplace / "report.html").read_text(encoding="utf-8")
    assert all(name in html for name in ("loss_curves.png", "score_by_length.png", "rotate_gptq"))
