import os
import subprocess

import pytest
from submissions import NAME, whole, write

from fairway.errors import DataError
from fairway.verify.sources.repository import CommitTree, Repository, change_in_history

FOLDER = f"records/track_10min_16mb/{NAME}"
IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.invalid",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@pytest.fixture
def clone(tmp_path):
    """A made-up repository with one accepted record on main, and a helper that calls git in it."""
    root = tmp_path / "clone"
    root.mkdir()

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=root, env={**os.environ, **IDENTITY}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    write(root / "records/track_10min_16mb/2026-03-01_Before")
    (root / "train_gpt.py").write_text("baseline = 1\n")
    git("add", "-A")
    git("commit", "-qm", "main")
    git("switch", "-qc", "entry")
    return root, git


def commit(root, git, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    git("add", "-A")
    git("commit", "-qm", "x")
    return git("rev-parse", "HEAD")


def added(root, git):
    return commit(root, git, {f"{FOLDER}/{name}": data for name, data in whole().items()})


def test_a_pull_request_is_what_its_branch_adds(clone):
    root, git = clone
    head = added(root, git)
    repository = Repository(root)
    assert repository.commit("entry") == head
    change = repository.change(head, repository.base(head))
    assert change.folders == (FOLDER,) and change.modified == () and change.deleted == ()
    tree = CommitTree(repository, head, FOLDER)
    assert set(tree.files) == set(whole()) and tree.name == NAME
    assert tree.read("train_gpt.py", 10**6).decode() == whole()["train_gpt.py"]


def test_main_may_go_on_meanwhile(clone):
    root, git = clone
    head = added(root, git)
    git("switch", "-q", "main")
    commit(root, git, {"README.md": "later", "records/track_10min_16mb/2026-03-09_Other/README.md": "x"})
    repository = Repository(root)
    assert repository.change(head, repository.base(head)).folders == (FOLDER,)


@pytest.mark.parametrize("how", ["--no-ff", "--squash"])
def test_a_pull_request_that_was_merged_is_compared_with_the_state_before(clone, how):
    root, git = clone
    head = added(root, git)
    git("switch", "-q", "main")
    git("merge", "-q", how, *(["-m", "merge"] if how == "--no-ff" else []), "entry")
    if how == "--squash":
        git("commit", "-qm", "squashed")
    commit(root, git, {"later.txt": "x"})
    repository = Repository(root)
    assert repository.change(head, repository.base(head)).folders == (FOLDER,)


def test_files_beside_the_folder_are_told(clone):
    root, git = clone
    (root / "records/track_10min_16mb/2026-03-01_Before/README.md").unlink()
    head = commit(root, git, {f"{FOLDER}/README.md": "x", "train_gpt.py": "changed = 1\n"})
    repository = Repository(root)
    change = repository.change(head, repository.base(head))
    assert change.modified == ("train_gpt.py",)
    assert change.deleted == ("records/track_10min_16mb/2026-03-01_Before/README.md",)


def test_a_record_that_is_changed_is_no_new_folder(clone):
    root, git = clone
    head = commit(root, git, {"records/track_10min_16mb/2026-03-01_Before/extra.txt": "x"})
    repository = Repository(root)
    assert repository.change(head, repository.base(head)).folders == ()


def test_a_copy_of_the_repository_inside_itself_is_seen(clone):
    root, git = clone
    head = commit(root, git, {f"parameter-golf/{FOLDER}/README.md": "x"})
    repository = Repository(root)
    assert repository.change(head, repository.base(head)).folders == (f"parameter-golf/{FOLDER}",)


def test_links_and_modules_are_listed_and_odd_names_are_spelled_out(clone):
    root, git = clone
    folder = root / FOLDER
    folder.mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "blank and ü.txt").write_text("x")
    (folder / "line\nfeed").write_text("y")
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'HEAD')},{FOLDER}/module")
    git("add", f"{FOLDER}/link", f"{FOLDER}/blank and ü.txt", f"{FOLDER}/line\nfeed")
    git("commit", "-qm", "x")
    tree = CommitTree(Repository(root), git("rev-parse", "HEAD"), FOLDER)
    assert {entry.path: (entry.kind, entry.detail) for entry in tree.entries} == {
        "link": ("link", "/etc/passwd"),
        "module": ("special", "a git commit"),
        "blank and ü.txt": ("file", ""),
        "line\nfeed": ("file", ""),
    }
    assert tree.read("line\nfeed", 10) == b"y" and tree.read("blank and ü.txt", 10) == b"x"


def test_nothing_of_the_clone_is_run(clone, tmp_path):
    root, git = clone
    head = added(root, git)
    witness = tmp_path / "ran"
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ntouch {witness}\n")
    script.chmod(0o755)
    (root / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    for key in ("core.fsmonitor", "core.pager", "diff.external", "diff.evil.textconv", "filter.evil.smudge"):
        git("config", key, str(script))
    repository = Repository(root)
    repository.change(head, repository.base(head))
    CommitTree(repository, head, FOLDER).read("train_gpt.py", 10**6)
    assert not witness.exists()


@pytest.mark.parametrize("ref", ["nowhere", "--upload-pack=x", "", "HEAD:README.md"])
def test_a_ref_that_names_no_commit_is_one_line(clone, ref):
    with pytest.raises(DataError, match="names no commit"):
        Repository(clone[0]).commit(ref)


def test_no_clone_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(DataError, match="empty|nowhere"):
            Repository(path)


def test_histories_without_a_common_commit_are_one_line(clone):
    root, git = clone
    git("switch", "-q", "--orphan", "other")
    head = commit(root, git, {"a": "x"})
    with pytest.raises(DataError, match="no commit in common"):
        Repository(root).base(head)


@pytest.mark.parametrize("how", ["--no-ff", "--squash"])
def test_the_change_that_brought_a_folder_is_found_in_the_history_of_the_checkout(clone, how):
    root, git = clone
    commit(root, git, {f"{FOLDER}/README.md": "x"})
    commit(root, git, {"train_gpt.py": "changed = 1\n", f"{FOLDER}/train_gpt.py": "x = 1\n"})
    assert change_in_history(root / FOLDER) is None
    git("switch", "-q", "main")
    git("merge", "-q", how, *(["-m", "merge"] if how == "--no-ff" else []), "entry")
    if how == "--squash":
        git("commit", "-qm", "squashed")
    commit(root, git, {f"{FOLDER}/later.txt": "x"})
    change = change_in_history(root / FOLDER)
    assert change is not None and change.folders == (FOLDER,) and change.modified == ("train_gpt.py",)


def test_a_folder_in_no_checkout_or_of_the_first_commit_has_no_history(clone, tmp_path):
    root, _ = clone
    assert change_in_history(write(tmp_path / "elsewhere")) is None
    assert change_in_history(root / "records/track_10min_16mb/2026-03-01_Before") is None
