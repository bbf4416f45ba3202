"""The entry of an image: a copy of the tree that can be written, the image's environment, and what was mounted kept."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def enter(tmp_path):
    """Calls the entry over a small tree; the tree's files, the place, and what the command said come back."""
    tree, place = tmp_path / "tree", tmp_path / "place"
    for name in (".venv/bin/python", "src/fairway/main.py", "records/old.json", "workflow/recipes/a.toml", ".ci/run"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"of the image: {name}\n", encoding="utf-8")
    place.mkdir()

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {
            "CONTAINER_TREE": str(tree),
            "CONTAINER_PLACE": str(place),
            "CONTAINER_KERNELS": str(tmp_path / "none"),
        }
        return subprocess.run(
            [str(ROOT / "containers" / "enter.sh"), *words],
            env={**os.environ, **given, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return call, place


def test_the_command_runs_in_a_copy_whose_environment_is_the_images_own(enter):
    call, place = enter
    said = call("sh", "-c", 'pwd; echo "$PYTHONPATH"; cat workflow/recipes/a.toml; readlink .venv; ls -A')
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[:3] == [str(place), f"{place}/src", "of the image: workflow/recipes/a.toml"]
    assert lines[3].endswith("/tree/.venv")
    assert sorted(lines[4:]) == sorted([".ci", ".venv", "records", "src", "workflow"])


def test_a_folder_that_is_mounted_keeps_what_it_has_and_gets_nothing(enter):
    call, place = enter
    (place / "records").mkdir()
    (place / "records" / "mine.json").write_text("mine", encoding="utf-8")
    said = call("ls", "-A", "records")
    assert said.returncode == 0 and said.stdout.split() == ["mine.json"]
    assert call("cat", "records/mine.json").stdout == "mine"


def test_the_commands_exit_status_and_arguments_are_its_own(enter):
    call, _ = enter
    assert call("sh", "-c", "exit 7").returncode == 7
    assert call("printf", "%s|", "a b", "c").stdout == "a b|c|"
