"""kill -9 in the middle of every rule, then again: the same bytes as an undisturbed run, nothing half-made left."""

import hashlib
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(
    any(find_spec(f"fairway.cli.{verb}") is None for verb in ("bundle", "verify", "record", "figures")),
    reason="the command line is not there yet",
)

RECIPE = 'extends = "tiny"\nbecause = "one seed is enough to be killed"\nseeds = [7]\n'
TARGETS = ("results/faults/record.txt", "results/faults/figures/loss_curves.png")
SEED = "results/faults/seed7"

MOMENTS = {
    "resolve_recipe": "logs/faults/resolve_recipe.log",
    "describe_data": "logs/data/*.recipe.log",
    "fetch_data": "data/.*.part",
    "bundle": "logs/faults/bundle.log",
    "train": f"{SEED}/train.events.jsonl.part",
    "calibrate": f"{SEED}/**/calibrate.events.jsonl.part",
    "rotate_gptq": f"{SEED}/rotate_gptq.events.jsonl.part",
    "compress": f"{SEED}/compress.events.jsonl.part",
    "evaluate_float": f"{SEED}/**/float.events.jsonl.part",
    "evaluate": f"{SEED}/**/evaluate.events.jsonl.part",
    "verify": "logs/faults/verify.seed7.log",
    "record": "records/*/.*.part",
    "figures": "logs/faults/figures.log",
}
"""What is there in the middle of each rule and not before: what it is writing, or its log if it writes at the end.

Within walls a stage writes into a folder beside its outputs.
"""

ONE_OUTPUT = {
    "resolve_recipe": "results/faults/recipe.json",
    "describe_data": "data/*.recipe.json",
    "fetch_data": "data/*/manifest.json",
    "bundle": "results/faults/train_gpt.py",
    "train": f"{SEED}/model.safetensors",
    "calibrate": f"{SEED}/hessians.safetensors",
    "rotate_gptq": f"{SEED}/quantized.safetensors",
    "compress": f"{SEED}/artifact.bin",
    "evaluate_float": f"{SEED}/float.json",
    "evaluate": f"{SEED}/score.json",
    "verify": f"{SEED}/verdict.json",
    "record": "results/faults/record.txt",
    "figures": "results/faults/figures/score_by_length.png",
}

DIGESTED = (
    "results/faults/recipe.json",
    "results/faults/train_gpt*.py",
    "data/*.recipe.json",
    "data/*/tokenizer.model",
    "data/*/manifest.json",
    "data/*/*/*.bin",
    f"{SEED}/*.safetensors",
    f"{SEED}/artifact.bin",
    f"{SEED}/ledger.jsonl",
)
"""Files without clock times in them: they must be the same byte for byte."""

PATIENCE_S = 120.0


def digests(workplace: Path) -> dict[str, str]:
    found = {}
    for pattern in DIGESTED:
        paths = sorted(workplace.glob(pattern))
        assert paths, f"no {pattern}"
        for path in paths:
            found[path.relative_to(workplace).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def half_made(workplace: Path) -> list[str]:
    tops = [workplace / top for top in ("results", "data", "records")]
    return [str(path) for top in tops for pattern in ("*.part*", ".watch*") for path in top.rglob(pattern)]


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to Snakemake and whatever it started, at once."""
    if process.poll() is not None:
        return
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def is_stage(process: psutil.Process) -> bool:
    """The stage itself, not the shell that called it."""
    return [Path(word).name for word in process.cmdline()[1:2]] == ["train_gpt.py"]


def wait_for(workplace: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not list(workplace.glob(pattern)):
        assert process.poll() is None, f"the run ended before {pattern} was there:\n{log_of(workplace)}"
        assert time.monotonic() < until, f"no {pattern} after {PATIENCE_S} s"
        time.sleep(0.002)


def log_of(workplace: Path) -> str:
    return (workplace / "run.log").read_text(encoding="utf-8")


@pytest.fixture
def start(workplace, command, environment) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a run of the recipe in the background."""
    (workplace / "workflow" / "recipes" / "faults.toml").write_text(RECIPE, encoding="utf-8")

    def begin(*arguments: str, targets: tuple[str, ...] = TARGETS) -> subprocess.Popen[bytes]:
        with (workplace / "run.log").open("wb") as log:
            return subprocess.Popen(
                command("--cores", "1", *arguments, "--", *targets),
                cwd=workplace,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    return begin


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """Digests of a run that nothing disturbs; the first test fills them in."""
    return {}


def test_an_undisturbed_run_leaves_nothing_half_made(start, workplace, undisturbed):
    assert start().wait() == 0, log_of(workplace)
    assert half_made(workplace) == []
    undisturbed.update(digests(workplace))


def test_a_run_killed_in_the_middle_of_every_rule_ends_with_the_same_bytes(start, workplace, undisturbed):
    for rule, moment in MOMENTS.items():
        process = start("--until", rule)
        try:
            wait_for(workplace, moment, process)
        finally:
            kill_all(process)
        # The shell makes record.txt when the command starts, and Snakemake knows that it is not whole.
        whole = [path for path in workplace.glob(ONE_OUTPUT[rule]) if path.stat().st_size]
        assert not whole, f"{rule} was over before it could be killed"
    assert start().wait() == 0, log_of(workplace)
    assert half_made(workplace) == []
    assert digests(workplace) == undisturbed


def test_a_stage_killed_alone_is_reported_and_made_again(start, workplace, undisturbed):
    target = f"{SEED}/model.safetensors"
    process = start(targets=(target,))
    wait_for(workplace, MOMENTS["train"], process)
    [stage] = [member for member in psutil.Process(process.pid).children(recursive=True) if is_stage(member)]
    stage.kill()
    assert process.wait() != 0
    assert "rule train" in log_of(workplace)
    assert not (workplace / target).exists()
    assert start(targets=(target,)).wait() == 0, log_of(workplace)
    assert hashlib.sha256((workplace / target).read_bytes()).hexdigest() == undisturbed[target]
