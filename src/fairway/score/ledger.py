"""What an evaluation scored and learned from, in order, as JSON lines chained by their hashes.

Each entry has ``i`` (from 0), ``kind``, ``prev`` (hash of the entry before, 64 zeros for the first) and ``hash``
(SHA-256 of the entry's canonical JSON without ``hash``: sorted keys, no spaces). The kinds:

- ``open``: ``artifact_sha256``, ``tokens_sha256`` (tokens as uint16, little-endian), ``documents``, ``targets``,
  ``method`` (its settings), ``plan_sha256`` (see ``plan_line``).
- ``score``: ``spans`` ``[[context, start, stop, nats, bytes], ...]``, ``losses_sha256`` (all losses of the entry in
  order as float32, little-endian).
- ``learn``: ``what`` (``lora`` or ``sgd``), ``spans`` ``[[start, stop], ...]``: targets of which earlier entries hold
  the scores.
- ``close``: ``targets``, ``bytes``, ``nats``.

Whoever has the file can recompute the chain, the sums, and the digest of the plan.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.runtime.lines import LineFile

FIRST_PREV = "0" * 64


def canonical_json(value: object) -> str:
    """One spelling of a value, the one that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plan_line(kind: str, spans: Sequence[Sequence[int]], what: str | None = None) -> str:
    """One step of a plan as it is hashed: canonical JSON of what its ledger entry will say, and a line feed.

    ``plan_sha256`` is SHA-256 over these lines: ``{"kind":"score","spans":[[context,start,stop],...]}`` and
    ``{"kind":"learn","spans":[[start,stop],...],"what":...}``.
    """
    entry: dict[str, object] = {"kind": kind, "spans": [list(span) for span in spans]}
    if what is not None:
        entry["what"] = what
    return canonical_json(entry) + "\n"


def _raw_bytes(values: Tensor) -> bytes:
    assert sys.byteorder == "little", "digests are of little-endian numbers"
    raw: bytes = values.cpu().contiguous().numpy().tobytes()
    return raw


def tokens_sha256(tokens_N: Int[Tensor, " N"]) -> str:
    """SHA-256 of token ids as uint16, little-endian: the payload of the official shards, without headers."""
    return hashlib.sha256(_raw_bytes(tokens_N.to(torch.uint16))).hexdigest()


def losses_sha256(losses_N: Float[Tensor, " N"]) -> str:
    """SHA-256 of losses as float32, little-endian."""
    return hashlib.sha256(_raw_bytes(losses_N.to(torch.float32))).hexdigest()


class Ledger(LineFile):
    """Appends entries to ``path.part``; the file gets its name when the block ends without an exception.

    With ``path`` None nothing is written; the chain and its ``head`` are the same.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.head = FIRST_PREV
        self._entries = 0

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Add one entry to the chain; ``DataError`` if the disk refuses."""
        entry = {"i": self._entries, "kind": kind, "prev": self.head, **fields}
        self.head = hashlib.sha256(canonical_json(entry).encode()).hexdigest()
        self._entries += 1
        self.write_line(canonical_json({**entry, "hash": self.head}))
