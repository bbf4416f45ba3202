"""A record of three seeds by the file that ships, and the pull request that offers it."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairway.bundle.compare import run_alone
from fairway.cli.__main__ import main
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import dataset_name

SEEDS = (7, 8, 9)
BYLINE = ("--author", "A. Tester", "--github-id", "tester", "--date", "2026-01-02")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Results of three seeds, each a whole run of the file, and the data that they ran on."""
    root = tmp_path_factory.mktemp("ran")
    toml, results, data = root / "mite.toml", root / "results", root / "data"
    toml.write_text(
        'extends = "tiny"\nbecause = "four steps: what is offered is tested, not what is learned"\n'
        f"seeds = {list(SEEDS)}\n[train]\nsteps = 4\nlog_every = 2\n",
        encoding="utf-8",
    )
    recipe = results / "recipe.json"
    for call in (
        ["recipe", "resolve", toml, "-o", recipe],
        ["fetch", recipe, "-o", data],
        ["bundle", recipe, "-o", results],
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in call])
        assert stop.value.code == 0, call
    for seed in SEEDS:
        given = {"SEED": str(seed), "RUN_ID": f"seed{seed}", "DATA_PATH": str(data)}
        run_alone(results / "train_gpt.py", given)
        (results / "logs" / f"seed{seed}").rename(results / f"seed{seed}")
    return SimpleNamespace(recipe=recipe, results=results, data=data)


@pytest.fixture
def clone(tmp_path):
    """A clone of a challenge repository with one record in it."""
    folder = tmp_path / "challenge"
    older = folder / "records" / "track_tiny" / "2026-01-01_older"
    older.mkdir(parents=True)
    (older / "README.md").write_text("older\n", encoding="utf-8")
    git(folder.parent, "init", "-q", folder.name)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one record")
    return folder


def record(fairway, ran, place, *more):
    return fairway("record", ran.recipe, "--results", ran.results, "--data", ran.data, "-o", place, *BYLINE, *more)


def test_a_record_goes_into_a_clone_as_one_folder_with_the_text_of_its_pull_request(fairway, ran, clone, tmp_path):
    body = tmp_path / "pull_request.md"
    made = record(fairway, ran, tmp_path / "records" / "track_tiny", "--into", clone, "--pr-body", body)
    assert made.status == 0, made.err
    place = Path(made.out.splitlines()[-1])
    folder = "records/track_tiny/2026-01-02_mite"
    staged = git(clone, "diff", "--cached", "--name-status", "HEAD").splitlines()
    due = {f"A\t{folder}/{path.relative_to(place)}" for path in place.rglob("*") if path.is_file()}
    assert set(staged) == due and git(clone, "status", "--porcelain").count("\n") == len(due)
    assert f"{len(due)} new files in {folder}, and no other change" in made.err
    judged = fairway("check", clone / folder, "--format", "json")
    # The clone holds no leaderboard of ours, so there is nothing that the record could be compared with.
    assert judged.status == 0 and json.loads(judged.out)[0]["verdict"]["strict"] == "UNVERIFIABLE"

    text = body.read_text(encoding="utf-8")
    claim = json.loads((place / "submission.json").read_text(encoding="utf-8"))
    assert text.startswith(f"# 2026-01-02_mite: {claim['val_bpb']:.5f} bits per byte\n")
    for seed in SEEDS:
        artifact = (place / f"seed{seed}" / "artifact.bin").stat().st_size
        literal = artifact + (place / "train_gpt.py").stat().st_size
        score = claim["seed_results"][str(seed)]["val_bpb"]
        row = next(line for line in text.splitlines() if re.match(rf"\| *{seed} \|", line))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == f"{score:.8f}" and cells[3:5] == [f"{artifact:,}", f"{literal:,}"]
    for condition in ("C1", "C2", "C3", "C4"):
        assert f"**{condition}, " in text


def test_a_record_that_fails_stays_out_of_the_clone(fairway, ran, clone, tmp_path):
    place = tmp_path / "records" / "track_tiny"
    place.parent.mkdir()
    (place.parent / "leaderboard.jsonl").touch()
    made = record(fairway, ran, place, "--predecessor", "2025-01-01_nobody", "--into", clone)
    assert made.status == 2 and str(clone) in made.complaint and "does not pass" in made.complaint
    assert git(clone, "status", "--porcelain") == ""


def test_a_clone_with_changes_of_its_own_takes_nothing(fairway, ran, clone, tmp_path):
    (clone / "notes.txt").write_text("mine\n", encoding="utf-8")
    made = record(fairway, ran, tmp_path / "records" / "track_tiny", "--into", clone)
    assert made.status == 2 and "notes.txt" in made.complaint
    assert git(clone, "status", "--porcelain") == "?? notes.txt\n"


def test_a_record_is_named_by_its_recipe_alone_where_the_workflow_keeps_things(fairway, ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "results" / "mite").symlink_to(ran.results)
    (tmp_path / "data" / dataset_name(load_recipe("tiny").recipe.data)).symlink_to(ran.data)
    place = Path("records", "track_tiny", "2026-03-04_by_name")
    byline = ("--author", "A. Tester", "--github-id", "tester")
    made = fairway("record", "mite", "--seeds", "9,7,8", "-o", place, *byline)
    assert made.status == 0 and made.out == f"{place}\n", made.err
    assert json.loads((place / "submission.json").read_text(encoding="utf-8"))["date"] == "2026-03-04"

    fewer = fairway("record", "mite", "--seeds", "7,8", "-o", place, *byline)
    assert fewer.status == 2 and "the recipe names 7,8,9, and a record holds all of them" in fewer.complaint
    words = fairway("record", "mite", "--seeds", "all", "-o", place, *byline)
    assert words.status == 2 and "got 'all'" in words.complaint
    twice = fairway("record", "mite", "--date", "2026-03-05", "-o", place, *byline)
    assert twice.status == 2 and "leave --date and --slug out" in twice.complaint
