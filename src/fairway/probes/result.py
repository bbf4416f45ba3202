"""What probes found: one verdict for each, with its number, its limit and a sentence; and all of them as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["passed", "failed", "not-applicable"]

FORMAT = "fairway-probe/1"
PROBES = (
    "a-a",
    "future-flip",
    "self-flip",
    "truncation",
    "document-boundary",
    "sum-to-one",
    "uniform-stream",
    "order",
    "zero-rate",
)
"""Names of the probes, in the order in which they are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one probe measured, against its limit."""

    name: str
    verdict: Verdict
    measured: float
    """Finite; 0 where there was nothing to measure."""
    limit: float
    unit: str
    samples: int
    """How many places, losses or runs were looked at; the sentence says of what."""
    because: str
    """One sentence with the numbers."""


def judged(
    name: str,
    measured: float,
    limit: float,
    *,
    unit: str,
    samples: int,
    because: str,
    at_least: bool = False,
    fault: str = "",
) -> Probe:
    """Passed if ``measured`` is at most ``limit`` (``at_least``: at least), and no ``fault`` was found besides.

    A fault is told in the sentence's place. A probe without a single sample proves nothing: it is not applicable.
    """
    within = (measured >= limit if at_least else measured <= limit) and not fault
    return Probe(
        name=name,
        verdict="failed" if fault else "not-applicable" if not samples else "passed" if within else "failed",
        measured=measured,
        limit=limit,
        unit=unit,
        samples=samples,
        because=fault or because,
    )


def not_applicable(name: str, because: str, *, unit: str = "nats") -> Probe:
    """A probe that asks what this method cannot be asked; ``because`` says why."""
    return Probe(name=name, verdict="not-applicable", measured=0.0, limit=0.0, unit=unit, samples=0, because=because)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeResult:
    """Whether documents came back from a bitstream that the evaluator's own distributions coded."""

    verdict: Verdict
    documents: int
    targets: int
    stream_bits: int
    ledger_bits: float
    limit_bits: float
    identical: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """On which tokens the probes looked."""

    source: str
    tokens_sha256: str
    documents: int
    targets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Everything that was probed about one artifact."""

    recipe_sha256: str
    code_sha256: str
    artifact_sha256: str
    seed: int
    method: Mapping[str, Any]
    """Settings, as on the ledger."""
    stream: StreamFacts
    device: str
    noise_floor: float
    """Largest difference in nats between two equal runs."""
    seconds: float
    probes: Sequence[Probe]
    decode: DecodeResult | None

    @property
    def failed(self) -> list[str]:
        """Names of the probes that failed."""
        names = [probe.name for probe in self.probes if probe.verdict == "failed"]
        return names + ["decode"] * (self.decode is not None and self.decode.verdict == "failed")


def as_json(result: ProbeResult) -> str:
    """The result as ``schemas/probe.schema.json`` has it."""
    return json.dumps({"format": FORMAT, **asdict(result)}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
