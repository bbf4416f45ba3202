"""Float64 sums of nats, bytes and tokens, and the two numbers that are quoted from them (recipes A.4)."""

import math


class Tally:
    """What has been scored so far.

    The nats of each span are kept and summed exactly (``math.fsum``), so that the total does not depend on how
    spans were grouped into forwards and can be recomputed from a ledger to the last bit.
    """

    def __init__(self) -> None:
        self._nats: list[float] = []
        self.tokens = 0
        self.size_bytes = 0

    def add(self, *, nats: float, tokens: int, size_bytes: int) -> None:
        """Count one span: its summed loss, its targets, the bytes of text these stand for."""
        self._nats.append(nats)
        self.tokens += tokens
        self.size_bytes += size_bytes

    @property
    def nats(self) -> float:
        """Summed loss."""
        return math.fsum(self._nats)

    @property
    def loss_nats(self) -> float:
        """Mean loss of a target."""
        return self.nats / self.tokens

    @property
    def bpb(self) -> float:
        """Bits per byte of text; targets without bytes (BOS) still cost their nats."""
        return self.nats / math.log(2.0) / self.size_bytes
