"""The set-up is what it says: locked by hash, from no address, one command."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path for path in (ROOT / "requirements").glob("*.txt") if path.name != "excludes.txt")


def pins(lock: Path) -> dict[str, set[str]]:
    """Distribution to its locked versions; a lock may hold one version for each range of Pythons."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_of_a_lock_has_a_hash_and_no_line_has_an_address(lock):
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    entries = re.split(r"(?<!\\)\n", "\n".join(lines).strip())
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.+!-]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry
    assert not re.search(r"://|index-url|find-links|file:|@", lock.read_text(encoding="utf-8"))


def test_the_locks_hold_every_dependency_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in project["project"]["dependencies"]]
    base, dev = pins(ROOT / "requirements" / "base.txt"), pins(ROOT / "requirements" / "dev.txt")
    assert [name for name in names if name not in base] == ["torch"]
    tools = [re.match(r"[\w.-]+", text)[0] for text in project["project"]["optional-dependencies"]["dev"]]
    assert set(tools) | set(base) <= set(dev)
    assert all(dev[name] == versions for name, versions in base.items())


def test_torch_has_one_version_on_all_machines_and_is_a_cpu_build_where_there_is_no_gpu():
    cpu = (ROOT / "requirements" / "torch-cpu.txt").read_text(encoding="utf-8")
    linux, mac = re.findall(r"^torch==(\S+) ; sys_platform == '(\w+)'", cpu, flags=re.MULTILINE)
    assert linux[1] == "linux" and mac[1] == "darwin"
    assert linux[0] == f"{mac[0]}+cpu"
    assert pins(ROOT / "requirements" / "gpu.txt")["torch"] == {mac[0]}
    for lock in ("base.txt", "dev.txt", "build.txt", "torch-cpu.txt"):
        assert not [
            name for name in pins(ROOT / "requirements" / lock) if name.startswith(("nvidia", "cuda", "triton"))
        ]


def test_make_help_lists_every_target():
    output = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.findall(r"^make ([\w-]+) +\S", output, flags=re.MULTILINE) == phony[1].split()


def test_ci_calls_make_test_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines == ["#!/usr/bin/env bash", "set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
