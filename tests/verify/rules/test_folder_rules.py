import os

import pytest
from submissions import log, submission

from fairway.verify.rules import (
    folder_name,
    folder_size,
    ledger_absent,
    links,
    one_new_folder,
    required_files,
    stray_files,
)
from fairway.verify.submission import Change


def said(rule, read):
    return [(finding.verdict, finding.profile, finding.file) for finding in rule.RULE.check(read)]


HOLDS = [("PASS", "both", None)]


@pytest.mark.parametrize(
    "rule", [folder_name, folder_size, links, one_new_folder, required_files, stray_files], ids=lambda m: m.RULE.id
)
def test_the_made_up_folder_holds(tmp_path, rule):
    assert said(rule, submission(tmp_path)) == HOLDS


@pytest.mark.parametrize(
    "name", ["2026-04-02_int6 QAT_U_Net", "golf_run", "2026-13-02_Name", "2026-04-02", "2026-04-02_"]
)
def test_a_name_that_is_no_day_and_slug_fails_by_the_letter_and_is_looked_at_by_precedent(tmp_path, name):
    read = submission(tmp_path, name=name)
    assert said(folder_name, read) == [("FAIL", "strict", None), ("REVIEW", "precedent", None)]


def test_a_folder_below_another_copy_of_the_repository_fails(tmp_path):
    read = submission(tmp_path, change=change("parameter-golf/records/track_10min_16mb/2026-04-02_Made_Up"))
    elsewhere = type(read)(**{**fields(read), "path": read.change.folders[0]})
    assert [finding.verdict for finding in folder_name.RULE.check(elsewhere)] == ["PASS", "FAIL"]


@pytest.mark.parametrize("name", ["README.md", "submission.json", "train_gpt.py"])
def test_a_required_file_that_is_not_there_fails(tmp_path, name):
    assert said(required_files, submission(tmp_path, {name: None})) == [("FAIL", "both", None)]


def test_a_program_under_another_name_fails_by_the_letter_only(tmp_path):
    program = (tmp_path / "x").name + " = 1\n"
    read = submission(tmp_path, {"train_gpt.py": None, "train_gpt_v5.py": program})
    assert said(required_files, read) == [
        ("FAIL", "strict", "train_gpt_v5.py"),
        ("REVIEW", "precedent", "train_gpt_v5.py"),
    ]


def test_a_folder_without_logs_fails(tmp_path):
    logs = {f"train_seed{seed}.log": None for seed in (7, 42, 1337)}
    assert said(required_files, submission(tmp_path, logs)) == [("FAIL", "both", None)]


def test_an_empty_readme_and_an_empty_folder_fail(tmp_path):
    assert ("FAIL", "both", "README.md") in said(required_files, submission(tmp_path, {"README.md": ""}))
    assert said(required_files, submission(tmp_path, {}, defaults=False, name="2026-04-02_Empty")) == [
        ("FAIL", "both", None)
    ]


@pytest.mark.parametrize(
    "path",
    [
        "__pycache__/a.cpython-312.pyc",
        ".DS_Store",
        "notes.txt~",
        "old.zip",
        "logs.tar.gz",
        "kernel.so",
        "w.pkl",
        ".env",
    ],
)
def test_what_cannot_be_read_or_does_not_belong_is_looked_at(tmp_path, path):
    assert said(stray_files, submission(tmp_path, {path: "x"})) == [("REVIEW", "both", path)]


def test_helpers_images_and_tokenizers_belong(tmp_path):
    extra = {"helper.py": "x = 1\n", "loss.png": b"\x89PNG", "tokenizer.model": b"\x0a", "requirements.txt": "brotli\n"}
    assert said(stray_files, submission(tmp_path, extra)) == HOLDS


def test_only_the_first_stray_files_are_named(tmp_path):
    found = said(stray_files, submission(tmp_path, {f"__pycache__/{n:02d}.pyc": "x" for n in range(14)}))
    assert len(found) == 11 and found[-1] == ("REVIEW", "both", None)


@pytest.mark.parametrize(
    ("target", "verdict"),
    [("/etc/passwd", "FAIL"), ("../other/train_gpt.py", "FAIL"), ("train_gpt.py", "REVIEW"), ("a/../../x", "FAIL")],
)
def test_a_link_is_not_followed_and_fails_where_it_leads_out(tmp_path, target, verdict):
    read = submission(tmp_path)
    (read.tree.folder / "link.py").symlink_to(target)
    again = submission(tmp_path)
    assert said(links, again) == [(verdict, "both", "link.py")]


def test_a_pipe_is_no_plain_file(tmp_path):
    os.mkfifo(submission(tmp_path).tree.folder / "train.log")
    assert said(links, submission(tmp_path)) == [("FAIL", "both", "train.log")]


def test_a_readme_that_is_no_text_is_looked_at(tmp_path):
    assert said(links, submission(tmp_path, {"README.md": b"\xff\xfe"})) == [("REVIEW", "both", "README.md")]


def test_a_file_that_cannot_be_pushed_fails_and_a_large_one_is_looked_at(tmp_path):
    folder = submission(tmp_path).tree.folder
    for name, size in (("huge.log", 101 << 20), ("large.log", 51 << 20)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    tree = submission(tmp_path, {"huge.log": None}).tree
    assert {"huge.log", "large.log"} <= set(tree.files)
    found = said(folder_size, submission(tmp_path))
    assert found == [("FAIL", "both", "huge.log"), ("REVIEW", "both", "large.log")]


def change(*folders, added=(), modified=(), deleted=()):
    inside = tuple(f"{folder}/{name}" for folder in folders for name in ("README.md", "train_gpt.py"))
    return Change(added=(*inside, *added), modified=modified, deleted=deleted, folders=folders)


def fields(read):
    return {name: getattr(read, name) for name in type(read).__dataclass_fields__}


FOLDER = "records/track_10min_16mb/2026-04-02_Made_Up"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (change(FOLDER), HOLDS),
        (change(), [("FAIL", "both", None)]),
        (change(FOLDER, FOLDER + "_2"), [("FAIL", "both", None)]),
        (change(FOLDER, modified=("train_gpt.py",)), [("FAIL", "strict", None), ("REVIEW", "precedent", None)]),
        (change(FOLDER, deleted=("README.md",)), [("FAIL", "strict", None), ("REVIEW", "precedent", None)]),
        (change(FOLDER, added=(FOLDER + "x.txt",)), [("FAIL", "strict", None), ("REVIEW", "precedent", None)]),
    ],
    ids=["one folder", "no folder", "two folders", "a file changed", "a file deleted", "a file beside it"],
)
def test_a_pull_request_adds_one_folder_and_nothing_else(tmp_path, made, expected):
    assert said(one_new_folder, submission(tmp_path, change=made)) == expected


def test_a_stranger_has_no_ledger_and_is_told_so_once(tmp_path):
    assert said(ledger_absent, submission(tmp_path)) == [("UNVERIFIABLE", "both", None)]
    own = submission(tmp_path, {"recipe.json": "{}", "SHA256SUMS": ""})
    assert said(ledger_absent, own) == HOLDS


def test_a_summary_alone_is_no_log_of_a_run(tmp_path):
    only = {f"train_seed{seed}.log": None for seed in (42, 1337)}
    read = submission(tmp_path, {**only, "train_seed7.log": log(7)})
    assert said(required_files, read) == HOLDS
