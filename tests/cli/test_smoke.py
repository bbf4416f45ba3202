"""Two recipes of the test's own, whole: one comes through, the other's training diverges."""

import json

from fairway.recipes.load import load_recipe


def test_one_recipe_fails_and_the_other_still_runs(fairway, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('extends = "tiny"\nbecause = "a test"\n[train]\nsteps = 6\n', encoding="utf-8")
    bad.write_text('extends = "good"\nbecause = "a test"\n[optim.muon]\nlr = 1e30\n', encoding="utf-8")
    smoked = tmp_path / "smoked.json"
    smoked.write_text('{"bad": {"recipe_sha256": "of before"}, "other": {"recipe_sha256": "kept"}}', encoding="utf-8")
    said = fairway("recipe", "smoke", bad, good, "-o", tmp_path / "runs", "--json", smoked, "--jobs", 1)
    assert said.status == 1
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.split()}
    assert "training diverged" in rows["bad:"]
    assert "training diverged" in said.err and rows["bad"].split() == ["bad", "FAIL"]
    assert rows["good"].split()[-1] == "PASS" and "1 of 2 recipes came through" in said.out
    found = json.loads(smoked.read_text(encoding="utf-8"))
    assert sorted(found) == ["good", "other"]
    assert found["good"]["recipe_sha256"] == load_recipe(good).sha256
    assert found["good"]["steps"] == 6 and found["good"]["loss_last"] < found["good"]["loss_first"]
    assert found["good"]["artifact_bytes"] == (tmp_path / "runs/good/logs/seed1337/artifact.bin").stat().st_size
    assert [line for line in said.err.splitlines() if line.startswith("recipe:2/2 good ")]


def test_a_recipe_that_there_is_not_is_one_line(fairway, tmp_path):
    said = fairway("recipe", "smoke", "pockt", "-o", tmp_path)
    assert said.status == 2 and "did you mean pocket" in said.complaint
