"""The names of a run's files and of a record's files."""

from pathlib import Path

STAGES = ("train", "calibrate", "rotate_gptq", "compress", "float", "evaluate")
"""The stages of one seed, in the order in which they run; ``float`` scores the weights before quantization."""

RECIPE = "recipe.json"
README = "README.md"
SUBMISSION = "submission.json"
REQUIREMENTS = "requirements.txt"
MANIFEST = "data_manifest.json"
DOCUMENTS = "documents.tsv"
CODE = "train_gpt.py"
SOURCE = "train_gpt_source.py"
CHECKSUMS = "SHA256SUMS"
VERDICT = "verdict.json"
ARTIFACT = "artifact.bin"
LEDGER = "ledger.jsonl"
EVENTS = "events.jsonl"
PROBE = "probe.json"
ENVIRONMENT = "environment.json"
FIGURES = "figures"
STATEMENT = "provenance.json"
ENVELOPE = "provenance.intoto.jsonl"
ROCRATE = "ro-crate-metadata.json"

UNSUMMED = frozenset({CHECKSUMS, VERDICT, STATEMENT, ENVELOPE, ROCRATE})
"""Files that SHA256SUMS leaves out: itself, and what is written after it and speaks of it."""


def seed_folder(seed: int) -> str:
    """Folder of one seed, in a run and in a record alike."""
    return f"seed{seed}"


def stage_events(folder: Path, stage: str) -> Path:
    """Where a stage of a run wrote its events, in the folder of its seed."""
    return folder / f"{stage}.events.jsonl"


def stage_outside(folder: Path, stage: str) -> Path:
    """Where the watcher wrote what it saw of a stage of a run, in the folder of its seed."""
    return folder / f"{stage}.outside.json"


def log_name(seed: int) -> str:
    """The log of one seed, named as in the published folders."""
    return f"train_seed{seed}.log"


def figure_name(figure: str) -> str:
    """File of a figure inside the folder of figures."""
    return f"{figure}.png"


def record_name(date: str, slug: str) -> str:
    """Folder of a record: ``2026-04-22_mlpclip12``."""
    return f"{date}_{slug}"
