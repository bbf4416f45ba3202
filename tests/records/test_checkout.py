import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.records.checkout import put_into

GIT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "nobody"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "nobody@example.org"),
}


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], env=GIT, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with one record, which ignores what a record must hold."""
    root = tmp_path / "challenge"
    (root / "records" / "track_pocket" / "2026-01-01_first").mkdir(parents=True)
    (root / "records" / "track_pocket" / "2026-01-01_first" / "README.md").write_text("first\n")
    (root / ".gitignore").write_text("*.bin\n*.log\n")
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "first")
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A record to put somewhere."""
    folder = tmp_path / "records" / "track_pocket" / "2026-04-22_pond"
    (folder / "seed1").mkdir(parents=True)
    for name, content in (("README.md", b"pond\n"), ("train_seed1.log", b"a\r\n"), ("seed1/artifact.bin", b"\0\1\r\n")):
        (folder / name).write_bytes(content)
    return folder


FOLDER = "records/track_pocket/2026-04-22_pond"
NAMES = [f"{FOLDER}/{name}" for name in ("README.md", "seed1/artifact.bin", "train_seed1.log")]


def test_what_is_staged_is_the_record_byte_for_byte_and_nothing_else(checkout: Path, place: Path) -> None:
    assert put_into(place, checkout) == NAMES
    assert git(checkout, "status", "--porcelain").splitlines() == [f"A  {name}" for name in NAMES]
    git(checkout, "commit", "-q", "-m", "pond")
    assert git(checkout, "diff", "--name-status", "HEAD~1", "HEAD").splitlines() == [f"A\t{name}" for name in NAMES]
    for name in NAMES:
        show = subprocess.run(["git", "-C", checkout, "show", f"HEAD:{name}"], check=True, capture_output=True)
        assert show.stdout == (place / name.removeprefix(f"{FOLDER}/")).read_bytes()


def test_putting_it_there_again_replaces_what_was_staged_before(checkout: Path, place: Path) -> None:
    put_into(place, checkout)
    (place / "README.md").write_text("pond, again\n")
    (place / "train_seed1.log").unlink()
    assert put_into(place, checkout) == NAMES[:2]
    assert (checkout / NAMES[0]).read_text() == "pond, again\n"


def other_file(root: Path) -> None:
    (root / "notes.txt").write_text("x")


def staged_change(root: Path) -> None:
    (root / ".gitignore").write_text("*.txt\n")
    git(root, "add", ".gitignore")


def gone_file(root: Path) -> None:
    (root / "records/track_pocket/2026-01-01_first/README.md").unlink()


@pytest.mark.parametrize("change", [other_file, staged_change, gone_file])
def test_a_clone_with_other_changes_is_refused_and_left_as_it_is(
    checkout: Path, place: Path, change: Callable[[Path], None]
) -> None:
    change(checkout)
    before = git(checkout, "status", "--porcelain")
    with pytest.raises(FairwayError, match="has changes of its own"):
        put_into(place, checkout)
    assert git(checkout, "status", "--porcelain") == before


def test_a_record_that_is_in_the_clone_already_is_never_changed(checkout: Path, place: Path) -> None:
    put_into(place, checkout)
    git(checkout, "commit", "-q", "-m", "pond")
    with pytest.raises(FairwayError, match="records are never changed"):
        put_into(place, checkout)
    assert git(checkout, "status", "--porcelain") == ""


def test_attributes_that_would_change_the_bytes_are_seen_and_the_clone_is_left_clean(
    checkout: Path, place: Path
) -> None:
    (checkout / ".gitattributes").write_text("*.log text\n")
    git(checkout, "add", ".gitattributes")
    git(checkout, "commit", "-q", "-m", "attributes")
    with pytest.raises(FairwayError, match=r"attributes would change what is committed: .*train_seed1\.log"):
        put_into(place, checkout)
    assert git(checkout, "status", "--porcelain") == "" and not (checkout / FOLDER).exists()


def test_a_hook_of_another_clone_in_the_environment_leads_nowhere_else(
    checkout: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert put_into(place, checkout) == NAMES


def test_what_is_no_clone_of_the_challenge_is_refused(checkout: Path, place: Path, tmp_path: Path) -> None:
    with pytest.raises(FairwayError, match="no such folder"):
        put_into(place, tmp_path / "nowhere")
    with pytest.raises(FairwayError, match="lies inside the clone"):
        put_into(place, checkout / "records")
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(FairwayError, match="git rev-parse"):
        put_into(place, plain)
    git(tmp_path, "init", "-q", str(plain))
    (plain / "README.md").write_text("x")
    git(plain, "add", "--all")
    git(plain, "commit", "-q", "-m", "x")
    with pytest.raises(FairwayError, match="HEAD has no folder records"):
        put_into(place, plain)
