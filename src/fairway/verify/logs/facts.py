"""The facts of one log, each with the line it stands on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["seed", "duplicate", "experiment", "seed_train", "seed_eval", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One line that gives a loss and a score."""

    label: str
    val_loss: float | None
    """Nats per token; None where the line gives the score alone."""
    val_bpb: float
    """Bits per byte."""
    digits: int
    """Decimals of ``val_bpb`` as written."""
    eval_s: float | None
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteCount:
    """One line that says over how many bytes of text a score was taken."""

    label: str
    bytes: int
    tokens: int | None
    bpb: Sequence[float]
    """The scores that stand on the line."""
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What one log file says. None: it does not say. Seconds are seconds, sizes are bytes."""

    file: str
    role: Role = "seed"
    duplicate_of: str | None = None
    runs_in_file: int = 1
    seed_logged: int | None = None
    seed_in_name: int | None = None
    final_label: str | None = None
    final_val_bpb: float | None = None
    final_val_loss: float | None = None
    bytes_total: int | None = None
    megabytes_total: tuple[float, int] | None = None
    """Where the total is given in millions of bytes: that, and its number of decimals."""
    bytes_model: int | None = None
    bytes_code: int | None = None
    bytes_code_uncompressed: int | None = None
    train_s: float | None = None
    steps: int | None = None
    step_ms: float | None = None
    eval_s: float | None = None
    eval_sum_s: float | None = None
    ttt_warmup_s: float | None = None
    calibration_s: float | None = None
    calibrates_on_itself: bool = False
    """Whether calibration ran on text that the model generated."""
    decompress_s: float | None = None
    precompute_s: float | None = None
    """Seconds in which state was built from the validation set, or weights adapted to it, before its scoring began."""
    process_s: float | None = None
    """Seconds of the whole process by the shell's clock."""
    world_size: int | None = None
    gpus: Mapping[str, int] = field(default_factory=dict)
    val_tokens: int | None = None
    documents: int | None = None
    """Validation documents that an adaptive evaluation went through."""
    partial: str | None = None
    """The line that says that only part of the validation set was scored."""
    scores: Sequence[ScoreLine] = ()
    """Every score line outside the dumped source, in order; diagnostics and step validations are not among them."""
    diagnostics: Sequence[ScoreLine] = ()
    """Scores of anything but the artifact as it is evaluated in the end: before quantization, of averages."""
    byte_counts: Sequence[ByteCount] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Hyper-parameters that the log prints, as written."""
    dump_bytes: int | None = None
    """Size of the source that the log dumps, None where it dumps none."""
    dump_sha256: str | None = None
    dump_of: str | None = None
    """The file of the folder that the dump is, byte for byte but for blank ends; None where it is none of them."""
    dump_differs: int | None = None
    """Lines in which the dump differs from the main program; None where either is missing."""
    dump_garbled: bool = False
    """Whether the log holds source that is not in one piece."""
    code_sha256: str | None = None
    """Hash of the code that the log states in so many words."""
    trace_sha256: str = ""
    """Of the training losses, step by step, without clocks; empty where there are too few to tell runs apart."""
    sha256: str = ""
    """Of the file."""
    size_bytes: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)
    """Name of a fact to the line that gives it, from 1."""
    problems: Sequence[tuple[str, int | None]] = ()
    """What of the file cannot be read, with its line."""
