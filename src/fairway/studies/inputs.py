"""What a study may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairway.errors import DataError
from fairway.spec.recipe import Recipe
from fairway.studies.checkpoint import Checkpoint


class Needs(DataError):
    """A study lacks an input; ``fairway study all`` says so and goes on with the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Checkpoints, the folders of the runs that they come from, and data."""

    checkpoints: tuple[Checkpoint, ...]
    recipe: Recipe | None = None
    run_folders: tuple[Path | None, ...] = ()
    """The folder of each checkpoint's run where that is known: hessians.safetensors, artifact.bin, ledger.jsonl, ..."""
    val: Path | None = None
    """Folder of validation shards."""
    train: Path | None = None
    """Folder of training shards."""
    tokenizer: Path | None = None
    quick: bool = False
    """Fewer samples and repetitions, for tests; the same tables."""
    progress: Callable[[str], None] = lambda line: None
    """Takes a line about how far the study is."""

    def __post_init__(self) -> None:
        """Refuse an empty or uneven list."""
        if not self.checkpoints:
            raise Needs("a study needs at least one checkpoint")
        if self.run_folders and len(self.run_folders) != len(self.checkpoints):
            raise ValueError(f"{len(self.checkpoints)} checkpoints, but {len(self.run_folders)} run folders")

    def run_file(self, index: int, name: str) -> Path | None:
        """A file of the run of one checkpoint; None where there is no run or no such file."""
        folder = self.run_folders[index] if self.run_folders else None
        path = None if folder is None else folder / name
        return path if path is not None and path.is_file() else None
