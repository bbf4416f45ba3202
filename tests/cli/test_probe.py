"""``fairway probe`` on one seed of a recipe that takes seconds."""

import hashlib
import json
import shutil

import pytest

from fairway.cli import probe
from fairway.probes.result import PROBES, ProbeResult, StreamFacts, judged


def test_the_evaluation_of_a_seed_is_probed_and_none_of_it_moves(world, fairway, tmp_path):
    said = fairway("probe", world.recipe.parent, "--data", world.data, "-o", tmp_path)
    assert said.status == 0, said.err + said.out
    told = json.loads((tmp_path / world.seed.name / "probe.json").read_text())
    assert [probe["name"] for probe in told["probes"]] == list(PROBES)
    assert {probe["verdict"] for probe in told["probes"]} == {"passed"}
    assert all(f"│ {name} " in said.out for name in PROBES)
    assert told["artifact_sha256"] == hashlib.sha256((world.seed / "artifact.bin").read_bytes()).hexdigest()
    assert told["recipe_sha256"] == json.loads(world.recipe.read_text())["sha256"]
    opening = json.loads((world.seed / "ledger.jsonl").read_text().splitlines()[0])
    assert told["method"] == opening["method"]
    assert (told["noise_floor"], told["device"], told["decode"]) == (0.0, "cpu", None)
    events = (tmp_path / world.seed.name / "probe.events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events].count("probe") == len(PROBES)
    assert not list(world.seed.glob("probe*"))  # -o was named


def found(verdict: str) -> ProbeResult:
    return ProbeResult(
        recipe_sha256="a",
        code_sha256="b",
        artifact_sha256="c",
        seed=7,
        method={"kind": "flat"},
        stream=StreamFacts(source="validation", tokens_sha256="d", documents=1, targets=3),
        device="cpu",
        noise_floor=0.0,
        seconds=1.0,
        probes=[judged("order", float(verdict == "failed"), 0.0, unit="faults", samples=3, because="up to [4, 2]")],
        decode=None,
    )


@pytest.mark.parametrize(("verdict", "status"), [("passed", 0), ("failed", 1)])
def test_a_run_takes_the_result_a_record_does_not_and_a_fault_is_the_exit_status(
    verdict, status, world, fairway, tmp_path, monkeypatch
):
    monkeypatch.setattr(probe, "probe_run", lambda run, **files: found(verdict))
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(world.recipe, folder)
    (folder / "SHA256SUMS").touch()
    said = fairway("probe", folder, "--data", world.data)
    assert said.status == status and verdict in said.out and "up to [4, 2]" in said.out
    assert sorted(path.name for path in folder.rglob("*")) == ["SHA256SUMS", "recipe.json"]
    (folder / "SHA256SUMS").unlink()
    assert fairway("probe", folder, "--data", world.data).status == status
    assert json.loads((folder / "seed7" / "probe.json").read_text())["probes"][0]["verdict"] == verdict


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: None, "--seed 8: "),
        (lambda folder: (folder / "seed7" / "artifact.bin").unlink(), "artifact.bin: cannot be read"),
        (lambda folder: (folder / "recipe.json").unlink(), "recipe.json does not exist"),
    ],
)
def test_what_cannot_be_probed_is_told_in_a_line(change, words, world, fairway, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(world.recipe.parent, folder)
    change(folder)
    seed = ["--seed", 8] if words.startswith("--seed") else []
    said = fairway("probe", folder, "--data", world.data, "-o", tmp_path, *seed)
    assert said.status == 2 and words in said.complaint


def test_an_artifact_of_another_recipe_is_refused(world, fairway, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(world.seed, folder / world.seed.name)
    whole = (world.root / "mite.toml").read_text().replace("steps = 4", "steps = 5")
    (tmp_path / "other.toml").write_text(whole)
    assert fairway("recipe", "resolve", tmp_path / "other.toml", "-o", folder / "recipe.json").status == 0
    said = fairway("probe", folder, "--data", world.data, "-o", tmp_path)
    assert said.status == 2 and "its recipe_sha256 is" in said.complaint
