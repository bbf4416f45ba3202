from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairway.cli.__main__ import main

SEED = 7


@dataclass(frozen=True)
class Answer:
    """What a call of the command line left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that a failure prints; progress before it is not counted."""
        lines = [line for line in self.err.splitlines() if line.startswith("fairway: ")]
        assert len(lines) == 1 and self.err.rstrip().endswith(lines[0]), self.err
        return lines[0]


@pytest.fixture
def fairway(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Calls the command line in this process, as ``fairway`` would be called."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Answer(stop.value.code if isinstance(stop.value.code, int) else 1, out, err)

    return call


@dataclass(frozen=True)
class World:
    """A recipe that takes seconds, its data, and one seed of it from training to score."""

    root: Path
    number: int = SEED
    folder: Path | None = None
    """Where the seed's files lie, if not beside the recipe."""

    @property
    def recipe(self) -> Path:
        return self.root / "results" / "mite" / "recipe.json"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def seed(self) -> Path:
        return self.folder or self.root / "results" / "mite" / f"seed{SEED}"

    def stage(self, name: str, folder: Path | None = None) -> list[object]:
        """The call of one stage, writing into ``folder`` (the seed's own unless another is given)."""
        out = folder or self.seed
        stem = ["--seed", SEED, "--events", out / f"{name.replace('-', '_')}.events.jsonl"]
        train = ["--data", self.data / "train"]
        val = ["--val", self.data / "val", "--tokenizer", self.data / "tokenizer.model"]
        weights = ["--checkpoint", self.seed / "model.safetensors"]
        return {
            "train": ["train", self.recipe, *stem, *train, "-o", out / "model.safetensors"],
            "calibrate": ["calibrate", self.recipe, *stem, *train, *weights, "-o", out / "hessians.safetensors"],
            "rotate-gptq": ["rotate-gptq", self.recipe, *stem, *weights]
            + ["--hessians", self.seed / "hessians.safetensors", "-o", out / "quantized.safetensors"],
            "compress": ["compress", self.recipe, *stem, "--quantized", self.seed / "quantized.safetensors"]
            + ["-o", out / "artifact.bin"],
            "float": ["evaluate", self.recipe, *stem, *val, *weights, "-o", out / "float.json"],
            "evaluate": ["evaluate", self.recipe, *stem, *val, "--artifact", self.seed / "artifact.bin"]
            + ["--ledger", out / "ledger.jsonl", "-o", out / "score.json"],
        }[name]


STAGES = ("train", "calibrate", "rotate-gptq", "compress", "float", "evaluate")


@pytest.fixture
def stages() -> tuple[str, ...]:
    return STAGES


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once: no test changes it."""
    world = World(tmp_path_factory.mktemp("world"))
    recipe = world.root / "mite.toml"
    recipe.write_text(
        'extends = "tiny"\nbecause = "one seed, four steps: the command line is what is tested"\n'
        f"seeds = [{SEED}]\n[train]\nsteps = 4\nlog_every = 2\n",
        encoding="utf-8",
    )
    calls = [["recipe", "resolve", recipe, "-o", world.recipe], ["fetch", world.recipe, "-o", world.data]]
    for call in [*calls, *(world.stage(name) for name in STAGES)]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in call])
        assert stop.value.code == 0, call
    return world
