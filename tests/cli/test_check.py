"""`fairway check` as people, bots and hooks call it, over made-up folders, archives and pull requests."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from submissions import NAME, claim, log, whole, write

from fairway.cli.__main__ import main
from fairway.verify import schemas, targets
from fairway.verify.finding import CATEGORIES
from fairway.verify.rules import ledger_absent
from fairway.verify.run import known_rules

ROOT = Path(__file__).resolve().parents[2]
FOLDER = f"records/track_10min_16mb/{NAME}"
BROKEN = {"submission.json": json.dumps(claim(bytes_total=17_000_000)) + "\n", "train_seed7.log": None}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / FOLDER)


def objects(said):
    found = json.loads(said.out)
    assert schemas.violations("check", found) == []
    return found


def test_a_folder_that_holds_exits_with_0_and_one_that_fails_with_1(fairway, folder, tmp_path):
    said = fairway("check", folder, "--format", "json")
    (held,) = objects(said)
    assert said.status == 0 and [f for f in held["findings"] if f["verdict"] == "FAIL"] == []
    (folder / "README.md").unlink()
    said = fairway("check", folder, "--format", "json")
    (failing,) = objects(said)
    assert said.status == 1 and failing["verdict"] == {"strict": "FAIL", "precedent": "FAIL"}
    assert [f["category"] for f in failing["findings"] if f["verdict"] == "FAIL"][0] == "evidence_packaging"


def test_the_table_tells_each_finding_and_what_holds(fairway, folder):
    (folder / "README.md").unlink()
    said = fairway("check", folder)
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{NAME}: strict FAIL, precedent FAIL (track 10min_16mb, rules version ")
    assert any("FAIL" in line and "required-files" in line and "README.md is missing" in line for line in lines)
    assert any(line.strip().startswith("PASS") and "one-new-folder" in line for line in lines)
    assert "\x1b" not in said.out


def test_text_is_one_line_a_finding(fairway, folder):
    said = fairway("check", folder, "--format", "text", "--all")
    assert said.out.splitlines()[0].startswith(NAME) and "  PASS         folder-name: named" in said.out


def test_one_profile_alone_can_be_asked(fairway, tmp_path):
    folder = write(tmp_path / "records/track_10min_16mb/no day in its name")
    strict = fairway("check", folder, "--profile", "strict", "--format", "json")
    precedent = fairway("check", folder, "--profile", "precedent", "--format", "json")
    assert (strict.status, list(objects(strict)[0]["verdict"])) == (1, ["strict"])
    assert (precedent.status, list(objects(precedent)[0]["verdict"])) == (0, ["precedent"])


def test_facts_stand_in_the_json(fairway, folder):
    (held,) = objects(fairway("check", folder, "--format", "json"))
    facts = held["facts"]
    assert facts["main_script"] == "train_gpt.py" and facts["claim"]["val_bpb"] == claim()["val_bpb"]
    assert [row["log"] for row in facts["logs"]] == sorted(name for name in whole() if name.endswith(".log"))
    assert facts["verdict"]["claimed_bpb_match_logs"] is True and facts["verdict"]["pr_adds_only_folder"] is None


def test_the_track_is_named_by_the_place_or_by_the_caller_never_by_the_folder(fairway, tmp_path):
    folder = write(tmp_path / "anywhere" / NAME)
    said = fairway("check", folder)
    assert said.status == 2 and "--track" in said.complaint
    assert objects(fairway("check", folder, "--track", "non_record_16mb", "--format", "json"))[0]["track"] == (
        "non_record_16mb"
    )


def test_rules_beside_or_inside_the_folder_loosen_nothing(fairway, folder, tmp_path):
    own = (ROOT / "workflow/tracks/10min_16mb.toml").read_text().replace("16_000_000", "99_000_000")
    for place in (tmp_path, folder):
        (place / "workflow/tracks").mkdir(parents=True)
        (place / "workflow/tracks/10min_16mb.toml").write_text(own)
    heavy = {**whole(), "submission.json": json.dumps(claim(bytes_total=17_000_000))}
    for seed in (7, 42, 1337):
        heavy[f"train_seed{seed}.log"] = log(seed, model_bytes=17_000_000)
    write(folder, heavy)
    (judged,) = objects(fairway("check", folder, "--format", "json"))
    assert "FAIL" in {f["verdict"] for f in judged["findings"] if f["category"] == "size"}


def test_a_zip_is_judged_as_its_folder_is(fairway, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "entry.zip", "w") as packed:
        for name, data in whole().items():
            packed.writestr(f"{FOLDER}/{name}", data)
    (one,) = objects(fairway("check", folder, "--format", "json"))
    (other,) = objects(fairway("check", tmp_path / "entry.zip", "--format", "json"))
    assert other["path"] == f"{tmp_path / 'entry.zip'}:{FOLDER}/" and other["facts"] == one["facts"]
    assert other["findings"] == one["findings"]


def test_a_file_stands_for_its_folder_and_each_folder_is_judged_once(fairway, folder):
    said = fairway("check", folder / "README.md", folder / "train_gpt.py", "--format", "json")
    assert [one["folder"] for one in objects(said)] == [NAME]


def test_many_folders_are_judged_in_processes_in_the_order_of_the_call(fairway, tmp_path):
    names = [f"2026-04-0{day}_X" for day in (3, 1, 2)]
    folders = [write(tmp_path / "records/track_10min_16mb" / name) for name in names]
    said = fairway("check", *folders, "--jobs", "2", "--format", "json")
    assert [one["folder"] for one in objects(said)] == names


def test_a_process_that_dies_is_a_crash_of_its_folder_alone(fairway, tmp_path, monkeypatch):
    folders = [write(tmp_path / "records/track_10min_16mb" / f"2026-04-0{day}_X") for day in (1, 2, 3)]
    check = targets.check

    def dying(tree, track, **options):
        if tree.name == "2026-04-02_X":
            os._exit(9)
        return check(tree, track, **options)

    monkeypatch.setattr(targets, "check", dying)
    said = fairway("check", *folders, "--jobs", "2", "--format", "json")
    assert said.status == 3 and [one["crashes"] for one in objects(said)] == [[], ["reading"], []]


def test_a_waiver_is_counted_out_and_shown(fairway, folder):
    (folder / "README.md").unlink()
    said = fairway("check", folder, "--format", "json", "--waive", "required-files=told to come later")
    (judged,) = objects(said)
    waived = [f for f in judged["findings"] if f["waived"]]
    assert said.status == 0 and {f["rule"] for f in waived} == {"required-files"}
    assert {f["waived"] for f in waived} == {"told to come later"} and "FAIL" in {f["verdict"] for f in waived}
    assert "waived: told to come later" in fairway("check", folder, "--waive", "required-files=told to come later").out


@pytest.mark.parametrize("waiver", ["no-such-rule=x", "required-files", "required-files=", "=x"])
def test_a_waiver_names_a_rule_and_a_reason(fairway, folder, waiver):
    said = fairway("check", folder, "--waive", waiver)
    assert said.status == 2 and "--waive" in said.complaint


@pytest.mark.parametrize("rule", list(known_rules()))
def test_every_rule_explains_itself(fairway, rule):
    said = fairway("check", "--explain", rule)
    known = known_rules()[rule]
    assert said.status == 0 and known.why in said.out and known.source in said.out
    assert known.category in CATEGORIES


def test_every_rule_of_a_strangers_folder_says_what_to_do():
    for rule in known_rules().values():
        assert rule.scope != "submission" or rule.fix, rule.id


def test_an_unknown_rule_is_answered_with_the_nearest(fairway):
    said = fairway("check", "--explain", "folder-nam")
    assert said.status == 2 and "did you mean folder-name?" in said.complaint


@pytest.mark.parametrize(
    "call",
    [
        [],
        ["--repo", "."],
        ["--ref", "HEAD", "."],
        [".", "--repo", ".", "--ref", "HEAD"],
        [".", "--profile", "lenient"],
        ["nowhere"],
        [".", "--jobs", "0"],
        ["--repo", "nowhere", "--ref", "HEAD"],
    ],
)
def test_a_wrong_call_is_one_line_and_exits_with_2(fairway, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = fairway("check", *call)
    assert said.status == 2 and said.complaint


def test_sarif_points_into_the_folder_and_suppresses_what_is_waived(fairway, folder):
    write(folder, {"kernel.so": b"\x7fELF"})
    (folder / "README.md").unlink()
    document = json.loads(fairway("check", folder, "--format", "sarif", "--waive", "required-files=later").out)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert document["version"] == "2.1.0" and run["invocations"][0]["executionSuccessful"] is True
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    stray = next(result for result in run["results"] if result["ruleId"] == "stray-files")
    assert stray["level"] == "warning"
    assert stray["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith(f"{NAME}/kernel.so")
    missing = next(result for result in run["results"] if result["ruleId"] == "required-files")
    assert missing["level"] == "error" and missing["suppressions"][0]["justification"] == "later"


def test_markdown_shows_names_of_strangers_as_text(fairway, folder):
    write(folder, {"a|b<img src=x>@somebody #1.so": "x"})
    text = fairway("check", folder, "--format", "markdown").out
    assert text.startswith("### `fairway check`: ") and "<img" not in text
    assert "@somebody" not in text and "#1" not in text and "a\\|b&lt;img" in text


def test_escapes_in_names_do_not_reach_the_terminal(fairway, folder):
    write(folder, {"red\x1b[31m.so": "x"})
    for form in ("table", "text", "markdown", "json", "sarif"):
        assert "\x1b" not in fairway("check", folder, "--format", form).out


def test_torch_and_the_rest_of_the_workshop_are_never_loaded(folder):
    words = "import sys; from fairway.cli.__main__ import main\ntry:\n main(sys.argv[1:])\nexcept SystemExit: pass\n"
    program = f"{words}print(sorted({{'torch', 'scipy.stats', 'matplotlib', 'snakemake'}} & sys.modules.keys()))"
    call = [sys.executable, "-c", program, "check", str(folder), "--format", "text"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# A pull request in a repository, and the action over it.

IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.invalid",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(root, *arguments):
    subprocess.run(["git", *arguments], cwd=root, env={**os.environ, **IDENTITY}, capture_output=True, check=True)


@pytest.fixture
def clone(tmp_path):
    """A made-up repository with a branch that adds a record."""
    root = tmp_path / "clone"
    write(root / "records/track_10min_16mb/2026-03-01_Before")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "main")
    git(root, "switch", "-qc", "entry")
    write(root / FOLDER)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "entry")
    return root


def amend(clone, files):
    write(clone, files, defaults=False)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "--amend", "--no-edit")


def test_a_pull_request_is_judged_from_the_clone_as_its_folder_is(fairway, clone):
    (judged,) = objects(fairway("check", "--repo", clone, "--ref", "entry", "--format", "json"))
    (plain,) = objects(fairway("check", clone / FOLDER, "--format", "json"))
    assert judged["path"] == FOLDER and judged["facts"]["verdict"].pop("pr_adds_only_folder") is True
    assert plain["facts"]["verdict"].pop("pr_adds_only_folder") is None and judged["facts"] == plain["facts"]


def test_a_pull_request_that_changes_more_fails(fairway, clone):
    amend(clone, {"train_gpt.py": "changed = 1\n"})
    said = fairway("check", "--repo", clone, "--ref", "HEAD", "--base", "main", "--format", "json")
    (judged,) = objects(said)
    assert said.status == 1 and "FAIL" in {f["verdict"] for f in judged["findings"] if f["rule"] == "one-new-folder"}


def test_a_pull_request_without_a_record_is_judged_by_what_it_changes(fairway, clone):
    git(clone, "switch", "-q", "main")
    write(clone, {"train_gpt.py": "import socket\n", "notes/x.txt": "y"}, defaults=False)
    git(clone, "switch", "-qc", "other")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "other")
    said = fairway("check", "--repo", clone, "--ref", "other", "--format", "json")
    (judged,) = objects(said)
    assert said.status == 1 and judged["facts"]["main_script"] == "train_gpt.py"


@pytest.fixture
def action(tmp_path, clone):
    """Runs the judging step of ``action.yml`` as a runner does, in a shell of its own."""
    definition = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    (step,) = [step for step in definition["runs"]["steps"] if step["id"] == "judge"]
    temp, tools = tmp_path / "runner", tmp_path / "tools"
    temp.mkdir()
    tools.mkdir()
    (tools / "fairway").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fairway.cli "$@"\n')
    (tools / "fairway").chmod(0o755)

    def run(**inputs):
        given = {name: str(entry["default"]) for name, entry in definition["inputs"].items()}
        given |= {"repository": str(clone), "base": "main", **{k.replace("_", "-"): v for k, v in inputs.items()}}
        environment = {
            key: given[value.removeprefix("${{ inputs.").removesuffix(" }}")] for key, value in step["env"].items()
        }
        files = {name: str(temp / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            Path(path).write_text("")
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env={**os.environ, **files, "PATH": path, "RUNNER_TEMP": str(temp), **environment},
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = dict(line.split("=", 1) for line in Path(files["GITHUB_OUTPUT"]).read_text().splitlines())
        return done, outputs, Path(files["GITHUB_STEP_SUMMARY"]).read_text()

    return run


def test_the_action_passes_a_pull_request_that_holds(action):
    done, outputs, summary = action()
    assert done.returncode == 0 and outputs["status"] == "0", done.stderr
    assert NAME in summary.replace("\\_", "_") and summary == Path(outputs["comment"]).read_text()
    assert json.loads(Path(outputs["sarif"]).read_text())["version"] == "2.1.0"


def test_the_action_fails_a_pull_request_that_fails_unless_told_not_to(action, clone):
    amend(clone, {"notes.md": "x", f"{FOLDER}/kernel.so": "y"})
    done, outputs, summary = action()
    assert done.returncode == 1 and outputs["status"] == "1" and "one-new-folder" in summary
    assert action(fail_on="never")[0].returncode == 0
    waived, _, told = action(waive="one-new-folder=asked for\nstray-files=known, too\n", profile="strict")
    assert waived.returncode == 0 and "asked for" in told and "known, too" in told


def test_the_action_takes_no_code_from_its_inputs(action, tmp_path):
    witness = tmp_path / "ran"
    done, outputs, _ = action(ref=f"$(touch {witness})", waive=f"`touch {witness}`=x")
    assert done.returncode == 2 and outputs["status"] == "2" and not witness.exists()


def test_the_hook_names_the_command_and_the_files_of_records():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"].split()[:2] == ["fairway", "check"]
    assert re.search(hook["files"], f"{FOLDER}/train_gpt.py") and not re.search(hook["files"], "src/train_gpt.py")


def test_main_is_the_same_call(folder, capfd):
    with pytest.raises(SystemExit) as stop:
        main(["check", str(folder), "--format", "json"])
    assert stop.value.code == 0 and json.loads(capfd.readouterr().out)[0]["folder"] == NAME


def test_the_evidence_of_own_records_is_asked_for_by_one_rule_alone(fairway, folder):
    (held,) = objects(fairway("check", folder, "--format", "json"))
    lacking = [f for f in held["findings"] if "ledger" in f["message"]]
    assert [f["rule"] for f in lacking] == [ledger_absent.RULE.id]
