"""The processes of one run. The only module that reads environment variables, and only when it is called."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Num
from torch import Tensor

from fairway.errors import FairwayError


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of ``world`` processes this one is, and where its tensors live. With one process nothing communicates."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the one rank that writes files and lines."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Num[Tensor, "..."]]) -> None:
        """Each tensor becomes its sum over ranks, in place; one message a dtype."""
        self._exchange(tensors, dist.all_reduce)

    def mean_(self, tensors: Sequence[Num[Tensor, "..."]]) -> None:
        """Each tensor becomes its mean over ranks, in place; one message a dtype."""
        self._exchange(tensors, self._average)

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes the first rank's, in place."""
        self._exchange(tensors, _from_first)

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank, the same on every rank (MAX of the flag, recipes C.4)."""
        return bool(self.max(float(flag)))

    def max(self, number: float) -> float:
        """Largest of the ranks' numbers, the same on every rank to the last bit."""
        if self.world == 1:
            return number
        numbers = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return float(numbers.item())

    def claim(self, what: str, count: int) -> Iterator[int]:
        """Numbers below ``count``, each given to one rank, whichever asks first; a lone rank gets all, in order.

        The counter lives in the process group's store under ``what``, which no earlier call may have named; the
        published runs keep it in a locked file, which ranks on several machines do not share (recipes E.5).
        """
        if self.world == 1:
            yield from range(count)
            return
        store = dist.distributed_c10d._get_default_store()  # the only way to it once the group is there
        while (number := store.add(f"fairway/{what}", 1) - 1) < count:
            yield number

    def close_claims(self, what: str, count: int) -> None:
        """No rank is given a number under ``what`` any more: a count of ``count`` is added to the counter."""
        if self.world > 1:
            dist.distributed_c10d._get_default_store().add(f"fairway/{what}", count)

    def _average(self, flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat.div_(self.world)  # gloo has no average of its own

    @torch.no_grad()
    def _exchange(self, tensors: Sequence[Tensor], message: Callable[[Tensor], object]) -> None:
        """Send tensors of one dtype as one."""
        if self.world == 1:
            return
        for alike in _by_dtype(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            message(flat)
            for tensor, piece in zip(alike, flat.split_with_sizes([each.numel() for each in alike]), strict=True):
                tensor.copy_(piece.view(tensor.shape))

    def barrier(self) -> None:
        """Return when every rank has come here; a GPU has then finished what was queued on it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self.world > 1:
            self.any(False)


def _by_dtype(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    alike: dict[torch.dtype, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        alike[tensor.dtype].append(tensor)
    return list(alike.values())


def _from_first(flat: Tensor) -> None:
    dist.broadcast(flat, src=0)


def _rank_variable(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise FairwayError(f"environment variable {name} must be a whole number as torchrun sets it, got {text!r}")
    return int(text)


def settings(known: Collection[str]) -> dict[str, str]:
    """Environment variables of these names that are set and not empty.

    ``FairwayError`` for any ``FAIRWAY_...`` beside them: whoever set it believes that it does something.
    """
    for name in sorted(os.environ):
        if name.startswith("FAIRWAY_") and name not in known:
            raise FairwayError(f"environment variable {name} is not known; there are {', '.join(known)}")
    return {name: os.environ[name] for name in known if os.environ.get(name)}


def first_process() -> bool:
    """Whether this is the one process, of those that torchrun started, that writes files and lines."""
    return os.environ.get("RANK", "0") in ("", "0")


def open_ranks(device: str | None = None, *, alone: bool = False, timeout_s: float = 600.0) -> Ranks:
    """Ranks that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), connected; a lone process without them.

    ``device`` None takes CUDA where there is a GPU. With ``alone`` this process works by itself, whoever else was
    started. Ranks on CPU talk through gloo, on GPU through NCCL; a partner that is silent for ``timeout_s`` seconds
    raises. Ranks that are connected stay so until ``close_ranks``: to connect anew, some would find the addresses of
    the last time.
    """
    if alone or not os.environ.get("WORLD_SIZE"):
        rank, world, local = 0, 1, 0
    else:
        rank, world, local = (_rank_variable(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if not 0 <= rank < world:
            raise FairwayError(f"RANK must be below WORLD_SIZE ({world}), got {rank}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "cuda":
        if device is not None and not torch.cuda.is_available():
            raise FairwayError(f"device {device!r} was asked for, but this machine has no usable GPU")
        place = torch.device("cuda", local if place.index is None else place.index)
        torch.cuda.set_device(place)
    if world > 1 and not dist.is_initialized():
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_s))
    return Ranks(rank=rank, world=world, device=place)


def close_ranks() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
