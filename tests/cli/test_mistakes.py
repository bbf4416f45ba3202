"""A user's mistake or a damaged file: one line that names it, exit status 2, and nothing written."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from fairway.cli.__main__ import main


def copied(world, tmp_path, name):
    """A copy of one of the world's files, to be damaged."""
    path = tmp_path / name
    shutil.copyfile(world.seed / name, path)
    return path


def replaced(call, old, new):
    return [new if argument == old else argument for argument in call]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nstep = 4\n", ["train.step", "train.steps"]),
        ('[quant.mlp]\nbits = "six"\n', ["quant.mlp.bits", "six", "wrong"]),
        ("[quant.mlp]\nbits = 9\n", ["quant.mlp", "2..8", "9"]),
        ("[model]\nheads = 3\n", ["heads", "3"]),
        ('[score.method]\nkind = "oracle"\n', ["score.method", "oracle"]),
        ("seeds = [1, 1]\n", ["seeds", "distinct"]),
        ("[train\n", ["TOML"]),
    ],
)
def test_a_recipe_that_is_none_is_one_line(fairway, tmp_path, text, words):
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(f'extends = "tiny"\nbecause = "it is wrong"\n{text}', encoding="utf-8")
    said = fairway("recipe", "resolve", recipe, "-o", tmp_path / "recipe.json")
    assert said.status == 2 and all(word in said.complaint for word in words), said.complaint
    assert not (tmp_path / "recipe.json").exists()


def test_a_recipe_nobody_knows_is_answered_with_the_nearest_name(fairway, tmp_path):
    said = fairway("recipe", "resolve", "pockt", "-o", tmp_path / "recipe.json")
    assert said.status == 2 and "did you mean pocket?" in said.complaint


def test_an_edited_recipe_json_is_refused(world, fairway, tmp_path):
    edited = tmp_path / "recipe.json"
    edited.write_text(world.recipe.read_text().replace('"steps": 4', '"steps": 5'))
    said = fairway(*replaced(world.stage("train", tmp_path), world.recipe, edited))
    assert said.status == 2 and "edited by hand" in said.complaint


def test_a_truncated_shard_is_named(world, fairway, tmp_path):
    train = tmp_path / "train"
    shutil.copytree(world.data / "train", train)
    shard = sorted(train.glob("*.bin"))[0]
    shard.write_bytes(shard.read_bytes()[:-2])
    said = fairway(*replaced(world.stage("train", tmp_path), world.data / "train", train))
    assert said.status == 2 and str(shard) in said.complaint and "bytes" in said.complaint
    assert not (tmp_path / "model.safetensors").exists()


def test_missing_shards_are_named_with_their_folder(world, fairway, tmp_path):
    (tmp_path / "empty").mkdir()
    said = fairway(*replaced(world.stage("train", tmp_path), world.data / "train", tmp_path / "empty"))
    assert said.status == 2 and str(tmp_path / "empty") in said.complaint


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:]]
)
def test_a_corrupted_artifact_is_refused(world, fairway, tmp_path, damage):
    artifact = copied(world, tmp_path, "artifact.bin")
    artifact.write_bytes(damage(artifact.read_bytes()))
    said = fairway(*replaced(world.stage("evaluate", tmp_path), world.seed / "artifact.bin", artifact))
    assert said.status == 2 and "artifact" in said.complaint
    assert not (tmp_path / "ledger.jsonl").exists() and not (tmp_path / "score.json").exists()


def test_a_corrupted_checkpoint_is_named(world, fairway, tmp_path):
    checkpoint = copied(world, tmp_path, "model.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    call = replaced(world.stage("calibrate", tmp_path), world.seed / "model.safetensors", checkpoint)
    assert str(checkpoint) in fairway(*call).complaint


def test_a_seed_that_never_ran_is_named(world, fairway, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(world.recipe.parent, results)
    shutil.rmtree(results / f"seed{world.number}")
    said = fairway(
        *("record", world.recipe, "--results", results, "--data", world.data, "-o", tmp_path / "track_tiny"),
        *("--author", "A. Tester", "--github-id", "tester"),
    )
    assert said.status == 2 and f"seed{world.number}" in said.complaint
    assert not (tmp_path / "track_tiny").exists() or not any((tmp_path / "track_tiny").iterdir())


@pytest.mark.parametrize("name", ["train", "calibrate", "compress", "evaluate"])
def test_a_full_disk_is_one_line_and_leaves_nothing_taken_for_done(world, tmp_path, name):
    def full() -> None:
        # What the kernel says of a file that may not grow is handled as ENOSPC is: both are an OSError on write.
        resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))

    call = [sys.executable, "-m", "fairway.cli", *map(str, world.stage(name, tmp_path))]
    # A tree that nobody has imported from yet would be left with the first bytes of compiled modules.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(call, preexec_fn=full, capture_output=True, text=True, check=False, env=environment)
    complaint = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and complaint.startswith("fairway: ") and "cannot be written" in complaint, done.stderr
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    "call",
    [["nonsense"], ["train"], ["check"], ["check", "--format", "xml", "."], ["evaluate", "r", "--seed", "x"]],
)
def test_a_wrong_call_exits_with_two(fairway, call):
    assert fairway(*call).status == 2


def test_a_bug_is_told_as_ours_and_exits_with_three(fairway, monkeypatch):
    monkeypatch.setattr("fairway.cli.__main__.build_app", lambda verb: 1 / 0)
    said = fairway("check", ".")
    assert said.status == 3 and "internal error: ZeroDivisionError" in said.err


def test_main_without_arguments_shows_the_verbs(capfd):
    with pytest.raises(SystemExit):
        main([])
    assert "rotate-gptq" in capfd.readouterr().out
