"""What lies in an artifact, row by row: for ``fairway inspect``, the record's figures and the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fairway.quant.artifact import Artifact, read_artifact
from fairway.quant.packing import STEPS_STREAM, value_bytes
from fairway.quant.streams import raw_streams

CONTAINER_ROLE = "container"
"""Role of the row that holds prefix, header and digest."""


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """One tensor, all steps together, or the container; ``size_bytes`` of all rows sum to the artifact's."""

    name: str
    role: str
    bits: int
    """Of one value before compression."""
    count: int
    size_bytes: int
    """Its part of its stream's compressed bytes, in proportion to its entropy."""
    share: float
    """``size_bytes`` over the whole artifact's."""
    entropy_bytes: float
    """What it takes under the frequencies of its whole stream (order 0); a codec can only do better by context."""
    efficiency: float
    """Entropy over compressed bytes of its stream; above 1 where the codec found more than frequencies."""
    codec: str


def describe(data: bytes) -> list[ArtifactRow]:
    """Rows in the artifact's order: tensors, steps, container; ``ArtifactError`` if the bytes are no artifact."""
    artifact = read_artifact(data)
    raws = raw_streams(artifact)
    rows: list[ArtifactRow] = []
    used = 0
    for stream in artifact.streams:
        raw = raws[stream.name]
        used += len(stream.payload)
        members = _described_members(artifact, stream.name)
        counts = [count for *_, count in members]
        entropies = _described_entropies(raw, counts, value_bytes(stream.name))
        weights = entropies if sum(entropies) > 0 else list(map(float, counts))
        sizes = _described_apportion(len(stream.payload), weights)
        efficiency = sum(entropies) / len(stream.payload) if stream.payload else 1.0
        rows.extend(
            ArtifactRow(*member, size, size / len(data), entropy, efficiency, stream.codec)
            for member, size, entropy in zip(members, sizes, entropies, strict=True)
        )
    rest = len(data) - used
    container = ArtifactRow(CONTAINER_ROLE, CONTAINER_ROLE, 8, rest, rest, rest / len(data), float(rest), 1.0, "zlib")
    return [*rows, container]


def _described_members(artifact: Artifact, stream: str) -> list[tuple[str, str, int, int]]:
    """Name, role, bits and count of what lies in a stream."""
    if stream == STEPS_STREAM:
        return [(stream, stream, 16, sum(tensor.shape[0] for tensor in artifact.tensors if not tensor.is_kept))]
    return [(t.name, t.stream, t.bits, t.count) for t in artifact.tensors if t.stream == stream]


def _described_entropies(raw: bytes, counts: Sequence[int], value_bytes: int) -> list[float]:
    """Bytes that each run of ``counts`` values takes, byte plane by byte plane, under the stream's frequencies."""
    entropies = [0.0] * len(counts)
    for place in range(value_bytes):
        plane = raw[place::value_bytes]
        bits = [0.0 if not n else math.log2(len(plane) / n) for n in _described_counts(plane)]
        start = 0
        for member, count in enumerate(counts):
            run = _described_counts(plane[start : start + count])
            entropies[member] += sum(n * cost for n, cost in zip(run, bits, strict=True)) / 8
            start += count
    return entropies


def _described_counts(plane: bytes) -> list[int]:
    # bytearray: torch wants memory that it may write to, and none of length zero
    values = torch.frombuffer(bytearray(plane), dtype=torch.uint8) if plane else torch.empty(0, dtype=torch.uint8)
    counts: list[int] = values.bincount(minlength=256).tolist()
    return counts


def _described_apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to ``weights`` that sum to ``total`` (largest remainders, the first of equals)."""
    scale = total / sum(weights) if sum(weights) > 0 else 0.0
    parts = [math.floor(weight * scale) for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: parts[i] - weights[i] * scale)
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts
