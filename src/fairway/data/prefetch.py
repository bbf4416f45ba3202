"""Batches that a thread reads and shapes while the step before them runs (recipes A.6.4)."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from fairway.data.batches import Batch, TokenBatches


class Prefetched:
    """The same batches in the same order, ``ahead`` of them made beforehand; ``pin`` puts them where a GPU copies from.

    What goes wrong in the thread is raised where the batch would have been returned.
    """

    def __init__(self, batches: TokenBatches, *, ahead: int, pin: bool) -> None:
        assert ahead > 0, ahead
        self._batches = batches
        self._ahead = ahead
        self._pin = pin
        # One worker: the loader is no place for two at once, and order is what it promises.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._waiting: deque[Future[Batch]] = deque()

    def __iter__(self) -> Iterator[Batch]:
        """Return itself, where it stands."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch, and have the one ``ahead`` of it made."""
        while len(self._waiting) <= self._ahead:
            self._waiting.append(self._pool.submit(self._make))
        return self._waiting.popleft().result()

    def reset(self) -> None:
        """Go back to the first batch; what was made beforehand is dropped."""
        while self._waiting:
            self._waiting.popleft().result()
        self._batches.reset()

    def _make(self) -> Batch:
        batch = next(self._batches)
        if not self._pin:
            return batch
        bounds = None if batch.cu_seqlens is None else batch.cu_seqlens.pin_memory()
        return Batch(batch.inputs_BT.pin_memory(), batch.targets_BT.pin_memory(), bounds)
