"""Inside the walls, around a foreign script: notes each loss on validation targets and what becomes of it.

Nothing of fairway is needed but this file, ``trail.py`` and ``stand_in.py``. The script runs as ``__main__`` in a
process of its own, forked from one that has imported torch and nothing else, under a mode of torch through which every
call of a function passes. Of calls that know targets (``cross_entropy``, ``nll_loss``, a ``gather`` or an index into
rows over the vocabulary) those on neighbouring validation targets are kept, with the loss of each target, and
``trail.Trails`` follows the results until they leave torch as numbers or a gradient is taken of them.

What is written is one ``.npz`` without pickles, read by ``script_passes``. This is evidence against mistakes
and known cheats; a script that looks for the probe can deceive it.
"""

import contextlib
import inspect
import json
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from fairway.probes.stand_in import Cards, stand_in
from fairway.probes.trail import Trails

CROSS_ENTROPY, NLL_LOSS, PICKED, RAW = range(4)
"""What kind of call it was; ``RAW``: values picked as log-probabilities that nothing had normalised."""
NUMBER, ARRAY, DECISION, GRADIENT, LINE = range(5)
"""What became of losses: a number, many numbers at once, a branch, a gradient; or a line with a score was printed."""
_LEAVES = {"item": NUMBER, "__float__": NUMBER, "__int__": NUMBER, "__format__": NUMBER, "__repr__": NUMBER}
_ARRAYS = frozenset({"tolist", "numpy", "__array__"})
_MOST_TARGETS = 30_000_000
_NORMALISED = 1e-3
_SCORE = re.compile(r"val_(?:loss|bpb)|\bbpb\b", re.IGNORECASE)
_SIGNATURE = inspect.signature(functional.cross_entropy)
_ROWS = 1024


class Recorder(TorchFunctionMode):
    """Sees every call of a torch function that the script makes."""

    def __init__(self, vocab_size: int, tokens: Any) -> None:
        super().__init__()
        self._vocab = vocab_size
        self._pairs = np.unique(tokens[:-1].astype(np.int64) * vocab_size + tokens[1:])
        self._weights = torch.from_numpy(np.random.default_rng(0).standard_normal(1 << 17))
        self._trails = Trails()
        self._summed: Any = WeakTensorKeyDictionary()
        self._raw: Any = WeakTensorKeyDictionary()
        self._calls: list[tuple[int, int, int, int]] = []  # moment, kind, with gradient, first number
        self._targets: list[Any] = []
        self._nats: list[Any] = []
        self._sums: list[Any] = []
        self._marks: list[Any] = []
        self._events: list[tuple[int, int, int]] = []  # moment, kind, chosen
        self._event_ids: list[Any] = []
        self._said: list[tuple[int, str]] = []
        self._moment = self._count = self.others = 0
        self.is_full = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what was asked, and note it."""
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        out = func(*args, **given)
        # The script must not feel what goes on here: no gradients, no autocast, no random numbers.
        if name == "cross_entropy":
            self._cross_entropy(args, given, out)
        elif name == "nll_loss":
            self._nll_loss(args, given, out)
        elif name == "logsumexp":
            whole = _whole(args[0] if args else given["input"])
            self._summed[whole] = True
            for call in self._raw.get(whole, ()):
                self._normalise(call)
        elif name in ("gather", "take_along_dim", "__getitem__") and self._is_pick(name, args, given):
            self._pick(name, args, given, out)
        elif name == "grad":
            self.taken(args[0] if args else given["outputs"])
        if len(self._trails):
            leaves = ARRAY if name in _ARRAYS else DECISION if name == "__bool__" else _LEAVES.get(name)
            if leaves is not None and args and (trail := self._trails.get(args[0])) is not None:
                self._event(leaves, trail.ids, trail.is_chosen)
            elif name not in ("cross_entropy", "nll_loss") and leaves is None:
                self._trails.follow(func, name, args, given, out)
        return out

    def said(self, text: str) -> None:
        """A line was printed."""
        if _SCORE.search(text):
            self._said.append((self._tick(), text.strip()))

    def taken(self, values: object) -> None:
        """Gradients of some tensors are taken."""
        for trail in self._trails.among(values):
            self._event(GRADIENT, trail.ids, trail.is_chosen)

    def write(self, path: Path, **told: Any) -> None:
        """All that was noted."""
        ids = self._event_ids
        told |= {"others": self.others, "is_full": self.is_full, "lost": dict(self._trails.lost), "said": self._said}
        np.savez(
            path,
            calls=np.array(self._calls, dtype=np.int64).reshape(-1, 4),
            targets=_joined(self._targets, np.int64),
            nats=_joined(self._nats, np.float64),
            log_sums=_joined(self._sums, np.float64),
            marks=_joined(self._marks, np.float64),
            events=np.array(self._events, dtype=np.int64).reshape(-1, 3),
            event_ends=np.cumsum([len(each) for each in ids], dtype=np.int64),
            event_ids=_joined(ids, np.int64),
            told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
        )

    def _tick(self) -> int:
        self._moment += 1
        return self._moment

    def _is_validation(self, targets: Tensor | None) -> Any:
        """Targets as a flat array if there are neighbours among them as in the stream, else None."""
        if (
            targets is None
            or self.is_full
            or targets.is_floating_point()
            or targets.dtype == torch.bool
            or targets.numel() < 2
        ):
            return None
        flat = targets.detach().reshape(-1).to("cpu", torch.int64).numpy()
        inside = (flat >= 0) & (flat < self._vocab)
        hits = np.isin(flat[:-1] * self._vocab + flat[1:], self._pairs) & inside[:-1] & inside[1:]
        if not (hits[:-1] & hits[1:]).any() and not (len(hits) <= 2 and hits.any()):
            self.others += 1
            return None
        return flat

    def _note(self, kind: int, flat: Any, nats: Tensor, log_sums: Tensor | None, rows: Tensor) -> Tensor:
        """Keep one call; numbers of its losses."""
        first = self._count
        self._count += len(flat)
        self.is_full = self._count > _MOST_TARGETS
        self._calls.append((self._tick(), kind, int(rows.requires_grad and torch.is_grad_enabled()), first))
        self._targets.append(flat)
        self._nats.append(nats.detach().reshape(-1).to("cpu", torch.float64).numpy())
        self._sums.append(
            np.full(len(flat), np.nan)
            if log_sums is None
            else log_sums.detach().reshape(-1).to("cpu", torch.float64).numpy()
        )
        self._marks.append(self._marked(rows))
        return torch.arange(first, self._count, device=nats.device)

    @torch.no_grad()
    def _marked(self, rows: Tensor) -> Any:
        """One number for each row's distribution, which moves when the distribution does."""
        weights = self._weights[: rows.shape[-1]].to(rows.device)
        parts = [torch.log_softmax(part.double(), -1) @ weights for part in rows.detach().split(_ROWS)]
        return torch.cat(parts).cpu().numpy()

    def _cross_entropy(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> None:
        given = _SIGNATURE.bind(*args, **kwargs)
        given.apply_defaults()
        rows, targets, ignored = (given.arguments[key] for key in ("input", "target", "ignore_index"))
        flat = self._is_validation(targets)
        if flat is None:
            return
        rows = rows.movedim(1, -1).reshape(-1, rows.shape[1]) if rows.ndim > 1 else rows[None]
        with torch.no_grad(), _plain(rows):
            nats = functional.cross_entropy(rows.detach(), targets.reshape(-1), reduction="none", ignore_index=ignored)
        self._keep(self._note(CROSS_ENTROPY, flat, nats, None, rows), flat, ignored, targets, out)

    def _nll_loss(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> None:
        rows, targets = (*args, *(kwargs[key] for key in ("input", "target") if key in kwargs))[:2]
        ignored = kwargs.get("ignore_index", -100)
        flat = self._is_validation(targets)
        if flat is None:
            return
        rows = rows.movedim(1, -1).reshape(-1, rows.shape[1]) if rows.ndim > 1 else rows[None]
        with torch.no_grad(), _plain(rows):
            nats = functional.nll_loss(rows.detach(), targets.reshape(-1), reduction="none", ignore_index=ignored)
            sums = torch.logsumexp(rows.detach().double(), -1)
        self._keep(self._note(NLL_LOSS, flat, nats, sums, rows), flat, ignored, targets, out)

    def _keep(self, ids: Tensor, flat: Any, ignored: int, targets: Tensor, out: Tensor) -> None:
        ids = torch.where(torch.from_numpy(flat).to(ids.device) == ignored, -1, ids)
        per_target = out.shape == targets.shape
        self._trails.put(out, ids.reshape(*targets.shape, 1) if per_target else ids[ids >= 0].reshape(*out.shape, -1))

    def _is_pick(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        rows = args[0]
        if not isinstance(rows, Tensor) or rows.ndim < 2 or not self._vocab <= rows.shape[-1] <= 2 * self._vocab:
            return False
        if not rows.is_floating_point():
            return False
        if name == "__getitem__":
            index = args[1]
            return isinstance(index, tuple) and len(index) == rows.ndim and isinstance(index[-1], Tensor)
        dim = kwargs.get("dim", next((each for each in args[1:] if isinstance(each, int)), None))
        index = _index(args, kwargs)
        return dim in (-1, rows.ndim - 1) and index is not None and index.shape[-1] == 1 and index.ndim == rows.ndim

    def _pick(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> None:
        whole = args[0]
        targets = args[1][-1] if name == "__getitem__" else _index(args, kwargs)
        flat = self._is_validation(targets)
        if flat is None or out.numel() != len(flat):
            return
        with torch.no_grad(), _plain(whole):
            rows = whole.detach()[args[1][:-1]] if name == "__getitem__" else whole.detach()
            rows = rows.expand(*out.shape, -1) if name == "__getitem__" else rows
            rows = rows.reshape(-1, whole.shape[-1])
            sums = torch.logsumexp(rows.double(), -1)
            nats = -out.detach().double().reshape(-1)
        call = len(self._calls)
        kind = PICKED if float(sums.abs().max()) <= _NORMALISED else RAW
        ids = self._note(kind, flat, nats, sums, rows)
        self._trails.put(out, ids.reshape(*out.shape, 1))
        if kind == RAW and _whole(whole) in self._summed:
            self._normalise(call)
        elif kind == RAW:
            self._raw[_whole(whole)] = [*self._raw.get(_whole(whole), ()), call]

    def _normalise(self, call: int) -> None:
        """The script itself took the log-sum-exp of the rows of a call: what it picked are logits."""
        moment, kind, grad, first = self._calls[call]
        if kind == RAW:
            self._calls[call] = (moment, PICKED, grad, first)
            self._nats[call] = self._nats[call] + self._sums[call]
            self._sums[call] = np.zeros_like(self._sums[call])

    def _event(self, kind: int, ids: Tensor, is_chosen: bool) -> None:
        flat = ids.reshape(-1).cpu().numpy()
        if kind == ARRAY and ids.ndim > 1 and ids[..., 0].numel() == 1:
            kind = NUMBER
        self._events.append((self._tick(), kind, int(is_chosen)))
        self._event_ids.append(flat[flat >= 0])


class _Ear:
    """Standard output that is listened to."""

    def __init__(self, stream: TextIO, heard: Callable[[str], None]) -> None:
        self._stream, self._heard, self._line = stream, heard, ""

    def write(self, text: str) -> int:
        self._line += text
        *whole, self._line = self._line.split("\n")
        for line in whole:
            self._heard(line)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _index(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    given = [kwargs.get("index", kwargs.get("indices")), *args[1:]]
    return next((each for each in given if isinstance(each, Tensor)), None)


def _without_gradients(mode: Any = True) -> Any:
    """``torch.inference_mode`` as ``torch.no_grad``.

    A cache that was filled in the former cannot be differentiated through later. Compiled graphs never meet that, for
    they compute such caches anew; run uncompiled, legal scripts would end there.
    """
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else contextlib.nullcontext()


def _whole(tensor: Tensor) -> Tensor:
    """What a view is a view of."""
    return tensor if tensor._base is None else tensor._base


def _plain(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(tensor.device.type, enabled=False)


def _joined(parts: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, dtype=kind)


def run_script(job: Mapping[str, Any]) -> int:
    """Run one script in this process as its job says; the exit status that it would have had."""
    recorder = Recorder(job["vocab_size"], np.load(job["tokens"]))
    script = job["script"]
    sys.argv, sys.path[0] = [script, *job.get("arguments", ())], str(Path(script).parent)
    sys.stdout = _Ear(sys.stdout, recorder.said)
    status, why = 0, ""
    leave, backward = os._exit, torch.autograd.backward

    has_card = torch.cuda.is_available()
    if not has_card:
        stand_in()

    def finish(code: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        recorder.write(Path(job["output"]), status=code, why=why, has_card=has_card)

    def left(code: int) -> None:
        finish(code)
        leave(code)

    def taken(tensors: Any, *args: Any, **kwargs: Any) -> None:
        recorder.taken(tensors)
        backward(tensors, *args, **kwargs)

    os._exit = left  # type: ignore[assignment]
    torch.autograd.backward = taken
    torch.inference_mode = _without_gradients  # type: ignore[assignment,misc]
    try:
        with contextlib.nullcontext() if has_card else Cards(), recorder:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's program raises is its end, and is told
        traceback.print_exc()
        status, why = 1, f"{type(error).__name__}: {error}"
    finish(status)
    return status


def run_jobs(path: Path) -> None:
    """Run each job of a file in a child of its own, one after the other."""
    import torch._dynamo  # noqa: F401 - takes seconds, and any optimizer would load it in each child

    for job in json.loads(path.read_text(encoding="utf-8")):
        child = os.fork()
        if child == 0:
            leave = os._exit
            folder = Path(job["folder"])
            for name, descriptor in (("stdout.txt", 1), ("stderr.txt", 2)):
                with (folder / name).open("wb") as file:
                    os.dup2(file.fileno(), descriptor)
            os.chdir(folder)
            os.environ.update(job["variables"])
            try:
                leave(run_script(job) & 255)
            finally:
                leave(70)
        os.waitpid(child, 0)
