import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PARTS = ("Snakefile", "workflow", "schemas", "containers", "requirements")

STAND_IN = """#!/usr/bin/env bash
# Writes what each verb of fairway writes, at once, and notes the call; what is watched runs.
set -eu
if [ "$1" = watch ]; then
  while [ "$1" != -- ]; do
    if [ "$1" = -o ]; then echo watch > "$2"; fi
    shift
  done
  shift
  exec "$@"
fi
echo "$*" >> calls.txt
verb=$1 run=${2-}
while [ $# -gt 0 ]; do
  case $1 in
    -o) out=$2 ;;
    --events | --ledger) echo "$verb" > "$2" ;;
    --seed) seed=$2 ;;
  esac
  shift
done
case $verb in
  fetch)
    mkdir -p "$out/train" "$out/val"
    for name in train/a.bin val/a.bin tokenizer.model manifest.json; do echo "$name" > "$out/$name"; done ;;
  figures)
    mkdir -p "$out"
    for name in loss_curves bytes_by_role error_by_tensor bpb_along_evaluation score_by_length; do
      echo "$name" > "$out/$name.png"
    done ;;
  bundle) for name in train_gpt.py train_gpt_source.py; do cp stand_in.py "$out/$name"; done ;;
  probe) for name in probe.json probe.events.jsonl; do echo "$verb" > "$run/seed$seed/$name"; done ;;
  record) mkdir -p "$out/today" && echo "$out/today" ;;
  recipe) grep -v '^#' workflow/recipes/tiny.toml > "$out" ;;
  *) echo "$verb" > "$out" ;;
esac
"""


BUNDLE = """# Writes what each stage of train_gpt.py writes, at once, and notes the call.
import sys
from pathlib import Path

words = sys.argv[1:]
stage = words[words.index("--stage") + 1]
with open("calls.txt", "a") as calls:
    print(*words, file=calls)
for option, file in zip(words, words[1:]):
    if option in ("-o", "--events", "--ledger"):
        Path(file).write_text(f"{stage}\\n")
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the workflow and nothing made yet."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part)
        else:
            shutil.copy(ROOT / part, tmp_path)
    return tmp_path


@pytest.fixture
def stand_in(workplace: Path) -> Path:
    """A folder for the front of PATH in which fairway is a script, and bundles another, that writes outputs at once."""
    folder = workplace / "bin"
    folder.mkdir()
    (folder / "fairway").write_text(STAND_IN, encoding="utf-8")
    (folder / "fairway").chmod(0o755)
    (workplace / "stand_in.py").write_text(BUNDLE, encoding="utf-8")
    return folder


@pytest.fixture
def command(workplace: Path) -> Callable[..., list[str]]:
    """The command line of snakemake with a profile."""

    def build(*arguments: str, profile: str = "ci") -> list[str]:
        return [str(BIN / "snakemake"), "--profile", f"workflow/profiles/{profile}", "--nolock", *arguments]

    return build


@pytest.fixture
def environment() -> Callable[..., dict[str, str]]:
    """The environment of a run: the tools of this Python, and a folder before them if one is given."""

    def build(first: Path | None = None) -> dict[str, str]:
        folders = [str(folder) for folder in (first, BIN) if folder is not None]
        return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])}

    return build


@pytest.fixture
def snakemake(
    workplace: Path, command: Callable[..., list[str]], environment: Callable[..., dict[str, str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs snakemake in the workplace; both outputs come back as one."""

    def run(*arguments: str, first: Path | None = None, profile: str = "ci") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments, profile=profile),
            cwd=workplace,
            env=environment(first),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return run
