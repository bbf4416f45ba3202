import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest

DIGESTED = ("model.safetensors", "hessians.safetensors", "quantized.safetensors", "artifact.bin", "ledger.jsonl")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_stage_run_again_writes_the_same_bytes_and_the_same_score(world, fairway, stages, tmp_path):
    for name in stages:
        assert fairway(*world.stage(name, tmp_path)).status == 0
    assert {name: digest(tmp_path / name) for name in DIGESTED} == {
        name: digest(world.seed / name) for name in DIGESTED
    }
    scores = [json.loads((folder / "score.json").read_text())["scores"] for folder in (tmp_path, world.seed)]
    assert [[(s["name"], s["bpb"], s["loss_nats"]) for s in each] for each in scores][0] == [
        (s["name"], s["bpb"], s["loss_nats"]) for s in scores[1]
    ]


def test_a_seed_that_the_bundle_ran_passes_and_its_record_too(world, fairway, stages, tmp_path):
    code = tmp_path / "results" / "train_gpt.py"
    assert fairway("bundle", world.recipe, "-o", code.parent).status == 0
    run = replace(world, folder=tmp_path / "results" / world.seed.name)
    for name in stages:
        # The stages' own options are those of the verbs, without the verb and the recipe.
        arguments = map(str, run.stage(name)[2:])
        call = [sys.executable, code, "--stage", name.replace("-", "_"), *arguments]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    verdict = tmp_path / "verdict.json"
    judged = ("--recipe", world.recipe, "--data", world.data, "--code", code, "-o", verdict)
    assert fairway("verify", run.seed, *judged).status == 0
    assert json.loads(verdict.read_text())["verdict"] == {"strict": "PASS", "precedent": "PASS"}
    # Package and bundle end in the same bytes.
    assert [digest(run.seed / name) for name in DIGESTED] == [digest(world.seed / name) for name in DIGESTED]
    made = fairway(
        *("record", world.recipe, "--results", code.parent, "--data", world.data),
        *("-o", tmp_path / "records" / "track_tiny", "--author", "A. Tester", "--github-id", "tester"),
    )
    assert made.status == 0, made.err
    # One seed where the track asks for three: the judge says so, and says nothing else.
    judged = fairway("check", made.out.splitlines()[-1], "--format", "json")
    failed = {f["rule"] for f in json.loads(judged.out)[0]["findings"] if f["verdict"] == "FAIL"}
    assert judged.status == 1 and failed == {"seeds-distinct"}


def test_inspect_tells_every_byte_of_the_artifact(world, fairway):
    said = fairway("inspect", world.seed / "artifact.bin")
    size = (world.seed / "artifact.bin").stat().st_size
    assert said.status == 0 and f"{size:,} bytes" in said.out
    assert all(name in said.out for name in ("embedding", "blocks.0.q", "blocks.3.down", "steps", "container"))


def test_evaluation_is_told_of_no_training_shard(world):
    opened = [str(argument) for argument in world.stage("evaluate")]
    assert not any("train" in argument.replace(str(world.root), "") for argument in opened)


@pytest.mark.parametrize("verb", ["--help", "recipe --help", "check --help"])
def test_help_is_printed(fairway, verb):
    said = fairway(*verb.split())
    assert said.status == 0 and "Usage" in said.out


def test_the_seed_stands_in_every_log(world, stages):
    for name in stages:
        first = json.loads((world.seed / f"{name.replace('-', '_')}.events.jsonl").read_text().splitlines()[0])
        assert (first["event"], first["seed"]) == ("code", world.number)
