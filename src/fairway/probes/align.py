"""Which position of a made-up stream each captured target is, told by its neighbours.

No two neighbours of the stream occur a second time in it, nor in the training shards beside it, so two targets in a
row say where they are. Rows of a batch follow each other in what was captured; where one row meets the next two
targets can look like neighbours that they are not, and the longer run wins.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def positions(targets_M: Ints, tokens_N: Ints, vocab_size: int) -> Ints:
    """Position in the stream of each target of one call, -1 where that cannot be told; int64, shape ``(M,)``."""
    found_M = np.full(len(targets_M), -1, dtype=np.int64)
    if len(targets_M) < 2:
        return found_M
    codes = tokens_N[:-1] * vocab_size + tokens_N[1:]
    order = np.argsort(codes)
    inside = (targets_M >= 0) & (targets_M < vocab_size)
    asked = np.where(inside[:-1] & inside[1:], targets_M[:-1] * vocab_size + targets_M[1:], -1)
    place = np.minimum(np.searchsorted(codes, asked, sorter=order), len(codes) - 1)
    pairs = np.where(codes[order[place]] == asked, order[place], -1)  # position of the pair's first target
    for start, stop in sorted(_runs(pairs), key=lambda run: run[0] - run[1]):
        # A run of pairs start..stop-1 is one of targets start..stop; a neighbour's run may hold its ends already.
        run = slice(start, stop + 1)
        found_M[run] = np.where(found_M[run] < 0, pairs[start] + np.arange(stop + 1 - start), found_M[run])
    return found_M


def _runs(pairs: Ints) -> list[tuple[int, int]]:
    """Stretches in which positions rise by one, as first pair and the one after the last."""
    known = pairs >= 0
    goes_on = np.zeros(len(pairs), dtype=bool)
    goes_on[1:] = known[1:] & known[:-1] & (pairs[1:] == pairs[:-1] + 1)
    (begins,) = np.nonzero(known & ~goes_on)
    (breaks,) = np.nonzero(~goes_on)
    ends = np.append(breaks, len(pairs))
    return [(int(begin), int(ends[np.searchsorted(ends, begin, side="right")])) for begin in begins]


def counts(positions_M: Any, length: int) -> Ints:
    """How often each position of a stream occurs."""
    known = positions_M[positions_M >= 0]
    return np.bincount(known, minlength=length).astype(np.int64)
