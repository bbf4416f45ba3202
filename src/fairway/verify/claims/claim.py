"""The claim of a submission under the canonical names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedClaim:
    """What is claimed of one seed."""

    val_bpb: float | None = None
    val_loss: float | None = None
    bytes_total: int | None = None
    steps: int | None = None
    step_ms: float | None = None
    train_s: float | None = None
    train_ms: int | None = None
    """Where the claim is in milliseconds; ``train_s`` then says the same."""
    eval_s: float | None = None
    eval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What ``submission.json`` says. None: it does not say."""

    file: str
    raw: Mapping[str, Any]
    """The object as parsed, keys as written."""
    author: str | None = None
    github_id: str | None = None
    name: str | None = None
    date: str | None = None
    track: str | None = None
    val_bpb: float | None = None
    val_bpb_std: float | None = None
    val_loss: float | None = None
    val_loss_std: float | None = None
    bytes_total: int | None = None
    bytes_code: int | None = None
    bytes_model: int | None = None
    train_s: float | None = None
    eval_s: float | None = None
    steps: float | None = None
    """A mean over seeds may be no whole number."""
    step_ms: float | None = None
    seeds: Sequence[int] | None = None
    per_seed: Mapping[str, SeedClaim] | None = None
    hardware: str | None = None
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Canonical name to the key that gave it."""
    predecessor: str | None = None
    """Folder of the record that it means to beat, where it names one."""
    parses: bool = True
    """Whether the file is JSON to a reader that keeps to the standard."""
    problems: Sequence[tuple[str, int | None]] = field(default=())
    """What of the file is not as it must be (a BOM, a duplicate key, a NaN, a wrong type), with its line."""

    def line_of(self, text: str, key: str) -> int | None:
        """The line of ``text`` (the file) on which ``key``, canonical or as written, first stands, from 1."""
        written = self.spelled.get(key, key)
        return next((n for n, line in enumerate(text.split("\n"), start=1) if f'"{written}"' in line), None)
