"""Package and bundle side by side: the same recipe, seed and data must give the same artifact, ledger and score."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairway.bundle.build import build
from fairway.errors import FairwayError
from fairway.launch import Program, run_files, run_whole
from fairway.quant.forecast import forecast
from fairway.recipes.load import Resolved
from fairway.runtime.files import sha256_file

_ALONE = """
import os, runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fairway":
            raise ImportError(f"{name}: the bundle must not need the package")

sys.meta_path.insert(0, Refuse())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a file in a Python that has no fairway, whatever is installed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two runs of one program must agree on, to the last bit."""

    artifact_sha256: str
    ledger_sha256: str
    val_loss: float
    val_bpb: float


def compare(resolved: Resolved, data: Path, folder: Path, seed: int) -> tuple[Outcome, Outcome]:
    """Outcomes of the package and of the bundle, run one after the other; each writes into a folder of its own."""
    inside = run_package(resolved, data, folder / "package", seed)
    alone = folder / "bundle"
    alone.mkdir(parents=True, exist_ok=True)
    file = alone / "train_gpt.py"
    file.write_bytes(build(resolved).packed)
    run_alone(file, {"DATA_PATH": str(data.resolve()), "SEED": str(seed), "RUN_ID": "run"})
    return inside, outcome(alone / "logs" / "run")


def run_package(resolved: Resolved, data: Path, folder: Path, seed: int) -> Outcome:
    """Run all stages in this process, as the package has them."""
    program = Program(
        recipe=resolved.recipe,
        recipe_sha256=resolved.sha256,
        forecast_bytes=forecast(resolved.recipe).total_bytes,
        data="",
        code_sha256="0" * 64,
        code_bytes=0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    run_whole(
        program.run(seed, None, resolved.recipe), run_files(folder, data, data / "tokenizer.model"), lambda line: None
    )
    return outcome(folder)


def run_alone(file: Path, environment: Mapping[str, str], *arguments: str) -> str:
    """Run a bundle in its folder, without fairway and without this process's environment; its standard output."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", _ALONE, file.name, *arguments],
        cwd=file.parent,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise FairwayError(f"{file}: the bundle ended with status {result.returncode}: {lines[-1]}")
    return result.stdout


def outcome(folder: Path) -> Outcome:
    """What a run has left in its folder."""
    *_, final = json.loads((folder / "score.json").read_text(encoding="utf-8"))["scores"]
    return Outcome(
        sha256_file(folder / "artifact.bin"),
        sha256_file(folder / "ledger.jsonl"),
        final["loss_nats"],
        final["bpb"],
    )
