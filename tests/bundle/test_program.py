"""The file that ships, run as the challenge runs it."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from fairway.bundle.compare import outcome, run_alone, run_package
from fairway.errors import FairwayError

SCORE = re.compile(
    r"^(final|quantized|legal_ttt)(_\w+)?( sliding)?( stride:\d+)? val_loss:([\d.]+)( sliding)? val_bpb:([\d.]+)(.*)$",
    re.M,
)
EVAL = re.compile(r"(?:eval_)?time:(\d+)ms")
TOTAL = re.compile(r"^Total submission(?: size)?(?: \S+)?: (\d+)(?: bytes)?$", re.M)
MODEL = re.compile(r"^Serialized model \S+: (\d+) bytes", re.M)
CODE = re.compile(r"^Code size(?: \(compressed\))?: (\d+) bytes", re.M)
SEED = re.compile(r"^\s*seed: ?(\d+)$", re.M)
STEP = re.compile(r"^step:(\d+)/(\d+) .*?train_time:(\d+)ms step_avg:([\d.]+)ms$", re.M)
STOP = re.compile(r"^stopping_early: wallclock_cap train_time: ?(\d+)ms(?: step: (\d+))?", re.M)


def test_a_whole_run_leaves_the_files_of_a_seed_and_its_log(whole_run):
    folder, output = whole_run
    run = folder / "logs" / "tiny_seed7"
    stages = ("train", "calibrate", "rotate_gptq", "compress", "float", "evaluate")
    tensors = ("model.safetensors", "hessians.safetensors", "quantized.safetensors")
    results = ("artifact.bin", "float.json", "score.json", "ledger.jsonl")
    assert {path.name for path in run.iterdir()} == {*tensors, *results, *(f"{stage}.events.jsonl" for stage in stages)}
    assert sorted(path.name for path in folder.iterdir()) == ["logs", "train_gpt.py"]
    assert (folder / "logs" / "tiny_seed7.txt").read_text(encoding="utf-8") == output


def test_the_log_begins_with_the_hash_and_size_of_the_file_that_runs_and_events_say_the_same(whole_run):
    folder, output = whole_run
    code = (folder / "train_gpt.py").read_bytes()
    digest = hashlib.sha256(code).hexdigest()
    assert output.splitlines()[0] == f"code sha256:{digest} size_bytes:{len(code)}"
    for events in (folder / "logs" / "tiny_seed7").glob("*.events.jsonl"):
        first = json.loads(events.read_text(encoding="utf-8").splitlines()[0])
        assert (first["event"], first["sha256"], first["size_bytes"]) == ("code", digest, len(code))


def test_the_usual_scrapers_find_seed_steps_sizes_score_and_times(whole_run):
    folder, output = whole_run
    run = folder / "logs" / "tiny_seed7"
    artifact_bytes, code_bytes = (run / "artifact.bin").stat().st_size, (folder / "train_gpt.py").stat().st_size
    quantized, final = json.loads((run / "score.json").read_text(encoding="utf-8"))["scores"]
    assert SEED.findall(output) == ["7"]
    assert [step[:2] for step in STEP.findall(output)] == [(str(i), "8") for i in range(1, 9)]
    assert not STOP.search(output)
    assert CODE.findall(output) == [str(code_bytes)]
    assert MODEL.findall(output) == [str(artifact_bytes)]
    assert TOTAL.findall(output) == [str(artifact_bytes + code_bytes)]
    *_, before, last = SCORE.finditer(output)
    assert before[1] == "quantized" and last[0].startswith("final_phased_exact ")
    assert (last[5], last[7]) == (f"{final['loss_nats']:.8f}", f"{final['bpb']:.8f}")
    assert before[7] == f"{quantized['bpb']:.8f}"
    assert EVAL.search(last[8])[1] == str(round(1000 * final["seconds"]))


def test_variables_of_the_environment_that_are_set_are_logged(whole_run, tiny_data):
    _, output = whole_run
    assert set(re.findall(r"^environment (\S+)$", output, re.M)) == {f"DATA_PATH:{tiny_data}", "SEED:7"}


def test_package_and_bundle_give_the_same_artifact_ledger_and_score(whole_run, tiny, tiny_data, tmp_path):
    folder, _ = whole_run
    inside = run_package(tiny, tiny_data, tmp_path, 7)
    assert outcome(folder / "logs" / "tiny_seed7") == inside


def test_stages_of_the_readable_form_give_the_bytes_that_the_packed_form_gave(bundled, whole_run, tmp_path):
    run = whole_run[0] / "logs" / "tiny_seed7"
    file = tmp_path / "train_gpt_source.py"
    file.write_bytes((bundled("tiny") / "train_gpt_source.py").read_bytes())
    rotate = ["--checkpoint", str(run / "model.safetensors"), "--hessians", str(run / "hessians.safetensors")]
    for stage, options, output in (
        ("rotate_gptq", rotate, "quantized"),
        ("compress", ["--quantized", "quantized"], "artifact.bin"),
    ):
        common = ["--stage", stage, "--seed", "7", "-o", output, "--events", f"{stage}.events.jsonl"]
        run_alone(file, {}, *common, *options)
    assert (tmp_path / "artifact.bin").read_bytes() == (run / "artifact.bin").read_bytes()
    assert not (tmp_path / "logs").exists()


def test_two_processes_train_together_until_the_clock_of_the_environment_says_stop(bundled, tiny_data, tmp_path):
    file = tmp_path / "train_gpt.py"
    file.write_bytes((bundled("tiny") / "train_gpt.py").read_bytes())
    given = {"DATA_PATH": str(tiny_data), "OMP_NUM_THREADS": "1", "RUN_ID": "both", "MAX_WALLCLOCK_SECONDS": "5.001"}
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train_gpt.py"],
        cwd=tmp_path,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert [step[:2] for step in STEP.findall(result.stdout)] == [("1", "8")]
    assert STOP.search(result.stdout)[2] == "1"
    assert "environment MAX_WALLCLOCK_SECONDS:5.001\n" in result.stdout
    alone = dict.fromkeys(["rotate_gptq", "compress", "float", "evaluate"], "1")
    worlds = dict(re.findall(r"^(\w+): environment .* world:(\d)", result.stdout, re.M))
    assert worlds == {"train": "2", "calibrate": "2", **alone}
    assert outcome(tmp_path / "logs" / "both").val_bpb > 0


def test_two_processes_share_rounding_and_evaluation_where_the_recipe_says_so(bundled, tiny_data, tmp_path):
    recipe = tmp_path / "shared.toml"
    recipe.write_text(
        'extends = "tiny"\nbecause = "evaluation by two"\n[train]\nsteps = 2\n[score]\nranks = "all"\n'
        '[quant]\nmlp = { kind = "trellis", bits = 6, clip_sigmas = 12.0, states = 8 }\n'
        'rates = { kind = "lagrangian", cap_bytes = 51_000, code_bytes = 31_000 }\n',
        encoding="utf-8",
    )
    file = tmp_path / "train_gpt.py"
    file.write_bytes((bundled(str(recipe)) / "train_gpt.py").read_bytes())
    given = {"DATA_PATH": str(tiny_data), "OMP_NUM_THREADS": "1", "RUN_ID": "both"}
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train_gpt.py"],
        cwd=tmp_path,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    worlds = dict(re.findall(r"^(\w+): environment .* world:(\d)", result.stdout, re.M))
    together = dict.fromkeys(["train", "calibrate", "rotate_gptq", "float", "evaluate"], "2")
    assert worlds == {**together, "compress": "1"}
    *_, last = SCORE.finditer(result.stdout)
    assert last[0].startswith("final_phased_exact ") and outcome(tmp_path / "logs" / "both").val_bpb > 0
    assert 18_000 <= (tmp_path / "logs" / "both" / "artifact.bin").stat().st_size <= 20_000


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({"FAIRWAY_SEED": "1"}, [], "environment variable FAIRWAY_SEED is not known"),
        ({"SEED": "first"}, [], "SEED must be a whole number"),
        ({"SEED": "-1"}, [], "seed must be 0 or more"),
        ({"MAX_WALLCLOCK_SECONDS": "5"}, [], "MAX_WALLCLOCK_SECONDS must be a number of seconds above 5.0"),
        ({"MAX_WALLCLOCK_SECONDS": "nan"}, [], "MAX_WALLCLOCK_SECONDS must be a number of seconds above 5.0"),
        ({"RUN_ID": "../up"}, [], "RUN_ID must be a plain name"),
        ({}, [], "data/embedded_v384-"),
        ({}, ["--seed", "1"], "the whole run takes no options"),
        (
            {},
            ["--stage", "compress", "--seed", "1"],
            "stage compress takes --events --output --quantized --seed --stage",
        ),
        ({}, ["--stage", "train", "--steps", "9"], "stage train takes --data --events --output --seed --stage"),
        ({}, ["--stage", "fly"], "the whole run takes no options"),
    ],
    ids=str,
)
def test_mistakes_of_the_caller_are_one_line_and_exit_status_2(bundled, tmp_path, environment, arguments, message):
    file = tmp_path / "train_gpt.py"
    file.write_bytes((bundled("tiny") / "train_gpt.py").read_bytes())
    result = subprocess.run(
        [sys.executable, "-I", "train_gpt.py", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr[-2000:]
    assert result.stderr.startswith("train_gpt.py: ") and message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_needs_the_package_is_told_from_one_that_does_not(tmp_path):
    file = tmp_path / "needs.py"
    file.write_text("import fairway.errors\n", encoding="utf-8")
    with pytest.raises(FairwayError, match="the bundle must not need the package"):
        run_alone(file, {})
