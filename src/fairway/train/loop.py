"""Warm-up and reset, steps until the budget says stop, late replay, average: training from start to end."""

import math
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fairway.data.batches import Batch, TokenBatches
from fairway.data.prefetch import Prefetched
from fairway.errors import GateError, RecipeError
from fairway.model.gpt import Gpt
from fairway.optim.average import Snapshots
from fairway.optim.ema import Ema
from fairway.optim.schedule import rate_scale, stepped_rate_scale
from fairway.runtime.clock import Budget, Stopwatch
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, NoLoops
from fairway.spec.optim import EmaAverage, OptimSpec
from fairway.spec.train import LateFreezing, LateReplay, LateRounding, NoRounding, TrainSpec
from fairway.train.compiling import any_length, compiled_so_far, log_compiled, pin_compiler
from fairway.train.freezing import FreezingStepper, FrozenGpt
from fairway.train.regions import BlockRegions
from fairway.train.rounding import RoundedLoss
from fairway.train.step import LossFn, Stepper
from fairway.train.symmetry import symmetric_shares

StopReason = Literal["steps", "clock"]

_LATE = 2
# Bounds of packed rows come padded to a multiple of 64; these lengths are compiled before the clock starts.
_WARMUP_BOUND_LENGTHS = (64, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training took."""

    steps: int
    """Steps of the loop, replay not counted."""
    train_s: float
    """Seconds of the budget that are gone: loop, replay and averaging; warm-up not."""
    tokens: int
    """Tokens that the loop saw on all ranks; replay sees some of them again."""
    reason: StopReason
    loss_nats: float
    """Mean training loss of the loop's last step."""
    replay_steps: int


@dataclass(slots=True)
class _Progress:
    """Where the loop stands; the same on every rank, because the seconds are the slowest rank's."""

    steps: int = 0
    elapsed_s: float = 0.0
    step_s: float = 0.0

    def advance(self, elapsed_s: float) -> None:
        """One more step is done."""
        self.steps += 1
        # A single quick step must not make the next one look affordable; nor the mean hide that steps grew longer.
        self.step_s = max(elapsed_s - self.elapsed_s, elapsed_s / self.steps)
        self.elapsed_s = elapsed_s


class _Pace:
    """Keeps the host at most one step ahead of a GPU, so that the clock measures work and not queueing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event: torch.cuda.Event | None = None
        self.steps_behind = 1 if device.type == "cuda" else 0

    def wait(self) -> None:
        """Wait until the step before the one just queued is done; on CPU it is."""
        if self._device.type != "cuda":
            return
        if self._event is not None:
            self._event.synchronize()
        self._event = torch.cuda.Event()
        self._event.record()


@dataclass(frozen=True, slots=True)
class Training:
    """What the parts of a training run work on."""

    spec: TrainSpec
    optim: OptimSpec
    loops: NoLoops | Loops
    stepper: Stepper
    loss_fns: dict[int, LossFn]
    """By loop state (0 or 1), and by 2 more those of the end of training, which take the place of the others."""
    ema: Ema | Snapshots
    batches: TokenBatches | Prefetched
    micro_steps: int
    """Micro-batches of one rank in one step."""
    ranks: Ranks
    events: EventLog
    budget: Budget
    watch: Stopwatch
    kept: deque[list[Batch]]
    """The last steps' micro-batches, for replay."""

    def next_step(self) -> list[Batch]:
        """Take the micro-batches of one step from the stream."""
        return [next(self.batches) for _ in range(self.micro_steps)]

    def step(
        self, micro_batches: list[Batch], *, looped: int, lr_scale: float, momentum_step: int
    ) -> tuple[Tensor, Tensor]:
        """Move the weights once; loss and gradient norm as ``Stepper.step`` returns them."""
        on_device = [batch.to(self.ranks.device) for batch in micro_batches]
        return self.stepper.step(self.loss_fns[looped], on_device, lr_scale=lr_scale, momentum_step=momentum_step)

    def elapsed_s(self) -> float:
        """Seconds of the budget that are gone, by the slowest rank's clock."""
        return self.ranks.max(self.watch.elapsed_s)


def train(
    model: Gpt,
    spec: TrainSpec,
    optim: OptimSpec,
    batches: TokenBatches,
    ranks: Ranks,
    events: EventLog,
    *,
    loops: NoLoops | Loops,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train ``model`` in place until the steps are done or the budget is; it ends with its averaged weights.

    Progress is the share of ``spec.steps`` where given and of the training seconds otherwise; rates, loops and
    replay follow it. The wall clock always stops the loop, at the same step on every rank: seconds are the
    maximum over ranks (recipes C.4). Warm-up leaves no trace. A loss that is not finite is a ``GateError``.
    """
    began = time.perf_counter()
    if not isinstance(optim.averaging, EmaAverage) and isinstance(spec.replay, LateReplay):
        raise RecipeError(f"train.replay needs optim.averaging ema, for {optim.averaging.kind} would not see it")
    micro_steps = _micro_steps(spec, ranks)
    ranks.broadcast_(list(model.parameters()))
    stepper = (
        FreezingStepper(model, optim, ranks)
        if isinstance(spec.freezing, LateFreezing)
        else Stepper(model, optim, ranks)
    )
    if spec.compile:
        pin_compiler(spec)
    any_bounds = model.attention.any_bounds if model.spec.attention != "sdpa" else False
    if spec.compile == "blocks":
        regions = BlockRegions(model.spec)
        regions.install(model, any_bounds=any_bounds)
    run = Training(
        spec=spec,
        optim=optim,
        loops=loops,
        stepper=stepper,
        loss_fns=_loss_functions(model, spec, loops, any_bounds) | _with_late(FrozenGpt(model), spec, loops, any_bounds)
        if isinstance(spec.freezing, LateFreezing)
        else _loss_functions(model, spec, loops, any_bounds)
        if isinstance(spec.rounding, NoRounding)
        else _loss_functions(model, spec, loops, any_bounds)
        | _with_late(RoundedLoss(model, spec.rounding), spec, loops, any_bounds),
        ema=Ema(stepper.parameters, optim.ema_decay)
        if isinstance(optim.averaging, EmaAverage)
        else Snapshots(stepper.parameters, optim.averaging),
        batches=Prefetched(batches, ahead=spec.prefetch, pin=ranks.device.type == "cuda") if spec.prefetch else batches,
        micro_steps=micro_steps,
        ranks=ranks,
        events=events,
        budget=Budget(spec.budget_s, spec.reserve_s),
        watch=Stopwatch(clock),
        kept=deque(maxlen=spec.replay.keep if isinstance(spec.replay, LateReplay) else 0),
    )
    events.emit(
        "start",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        world=ranks.world,
        device=str(ranks.device),
        budget_s=spec.budget_s,
        reserve_s=spec.reserve_s,
        steps=spec.steps,
        batch_tokens=spec.batch_tokens,
        micro_steps=micro_steps,
    )
    warm_up(run)
    ranks.barrier()
    run.watch.start()
    now, looped, reason, loss_nats = run_loop(run)
    replay_steps = replay_late(run, spec.replay, now, looped) if isinstance(spec.replay, LateReplay) else 0
    if not isinstance(optim.averaging, EmaAverage):
        assert isinstance(run.ema, Snapshots)
        events.emit("average", kind=optim.averaging.kind, snapshots=run.ema.taken)
    if spec.compile == "blocks":
        regions.remove(model)
    run.ema.load_into_weights()
    ranks.barrier()
    train_s = run.elapsed_s()
    for parameter in model.parameters():
        parameter.grad = None
    events.emit(
        "done",
        train_s=train_s,
        steps=now.steps,
        tokens=now.steps * spec.batch_tokens,
        reason=reason,
        peak_bytes=_peak_bytes(ranks.device),
        seconds=time.perf_counter() - began,
    )
    return TrainResult(
        steps=now.steps,
        train_s=train_s,
        tokens=now.steps * spec.batch_tokens,
        reason=reason,
        loss_nats=loss_nats,
        replay_steps=replay_steps,
    )


def warm_up(run: Training) -> None:
    """Run real steps in each loop state and undo them all: weights, moments, Muon's momentum, place in the data.

    What stays is compiled code and allocated memory, which is the purpose (recipes C.7, where some stacks leak
    momentum into the first step).
    """
    if run.spec.warmup_steps == 0:
        return
    began = time.perf_counter()
    if run.spec.compile:
        compiled = compiled_so_far()
    weights = [weight.detach() for weight in run.stepper.parameters.values()]
    initial = [weight.clone() for weight in weights]
    for looped, loss_fn in run.loss_fns.items():
        for step in range(run.spec.warmup_steps):
            run.step(run.next_step(), looped=looped, lr_scale=1.0, momentum_step=step)
        if run.spec.compile:
            for padded in _with_longer_bounds(next(run.batches).to(run.ranks.device)):
                loss_fn(padded).backward()
    torch._foreach_copy_(weights, initial)
    run.stepper.reset()
    run.batches.reset()
    run.ranks.barrier()
    if run.spec.compile:
        log_compiled(run.events, "compile", compiled, blocks=run.spec.compile == "blocks")
    run.events.emit("warmup", steps=run.spec.warmup_steps * len(run.loss_fns), seconds=time.perf_counter() - began)


def run_loop(run: Training) -> tuple[_Progress, bool, StopReason, float]:
    """Step until steps or seconds are used up.

    Returns where it stands, whether loops are on, why it ended, and the last step's loss in nats.
    """
    spec, budget, pace = run.spec, run.budget, _Pace(run.ranks.device)
    keep_below = spec.replay.start_scale if isinstance(spec.replay, LateReplay) else -math.inf
    now, looped = _Progress(), False
    loss_nats, logged = math.nan, 0
    reason: StopReason = "steps"
    if run.spec.compile:
        compiled = compiled_so_far()
    while spec.steps is None or now.steps < spec.steps:
        if budget.must_stop(elapsed_s=now.elapsed_s, step_s=now.step_s * (1 + pace.steps_behind)):
            reason = "clock"
            break
        share = budget.fraction(now.elapsed_s) if spec.steps is None else now.steps / spec.steps
        if isinstance(run.loops, Loops) and not looped and share >= run.loops.start_fraction:
            looped = True
            run.events.emit("loops_on", step=now.steps, fraction=share, train_s=now.elapsed_s)
        if run.optim.warmdown_steps:
            lr_scale = stepped_rate_scale(share, now.steps, run.optim)
        else:
            lr_scale = rate_scale(share, run.optim)
        if isinstance(run.spec.rounding, LateRounding) and lr_scale < run.spec.rounding.below_scale:
            if run.loss_fns[0] is not run.loss_fns[_LATE]:
                run.events.emit("rounding_on", step=now.steps, lr_scale=lr_scale, train_s=now.elapsed_s)
            run.loss_fns.update({key: fn for key in (0, 1) if (fn := run.loss_fns.get(key + _LATE))})
        if isinstance(run.spec.freezing, LateFreezing) and lr_scale < run.spec.freezing.below_scale:
            assert isinstance(run.stepper, FreezingStepper)
            if run.loss_fns[0] is not run.loss_fns[_LATE]:
                run.events.emit("freezing_on", step=now.steps, lr_scale=lr_scale, train_s=now.elapsed_s)
                run.stepper.freeze()
            run.loss_fns.update({key: fn for key in (0, 1) if (fn := run.loss_fns.get(key + _LATE))})
        micro_batches = run.next_step()
        if lr_scale < keep_below:
            run.kept.append(micro_batches)
        loss, norm = run.step(micro_batches, looped=looped, lr_scale=lr_scale, momentum_step=now.steps)
        if not isinstance(run.optim.averaging, EmaAverage):
            assert isinstance(run.ema, Snapshots)
            run.ema.look(now.steps + 1, lr_scale)
        run.ema.update()
        pace.wait()
        now.advance(run.elapsed_s())
        if run.spec.compile:
            # Warm-up has seen the shapes it knows of. Another costs its seconds; no run is thrown away for it.
            compiled = log_compiled(run.events, "recompile", compiled, step=now.steps)
        if spec.symmetry_every and (now.steps == 1 or now.steps % spec.symmetry_every == 0):
            shares = symmetric_shares(run.stepper.parameters["qo_bank"])
            run.events.emit("symmetry", step=now.steps, shares=shares, train_s=now.elapsed_s)
        if now.steps == 1 or now.steps % spec.log_every == 0:
            loss_nats, logged = _log_step(run, now, loss, norm, lr_scale), now.steps
    if logged < now.steps:
        loss_nats = _log_step(run, now, loss, norm, lr_scale)
    run.ranks.barrier()
    run.events.emit("stop", step=now.steps, reason=reason, train_s=run.elapsed_s())
    return now, looped, reason, loss_nats


def replay_late(run: Training, late: LateReplay, now: _Progress, looped: bool) -> int:
    """Run over the kept batches again at a low rate, the average going along (PR #445); returns the steps made.

    It takes from the reserve, and stops when another step would leave less than calibration is expected to
    need: ``calibration_batches`` micro-batches, each at twice the seconds that a training step spent on one.
    """
    calibration_s = 2.0 * run.spec.calibration_batches * now.step_s / run.micro_steps
    planned = len(run.kept) * late.epochs
    began_s = elapsed_s = run.elapsed_s()
    steps, pace = 0, _Pace(run.ranks.device)
    while steps < planned:
        step_s = now.step_s * (1 + pace.steps_behind)
        if elapsed_s + step_s + calibration_s > run.budget.total_s:
            break
        micro_batches = run.kept[steps % len(run.kept)]
        run.step(micro_batches, looped=looped, lr_scale=late.lr_scale, momentum_step=now.steps + steps)
        run.ema.update()
        pace.wait()
        steps += 1
        elapsed_s = run.elapsed_s()
    run.ranks.barrier()
    run.events.emit(
        "replay",
        batches=len(run.kept),
        epochs=late.epochs,
        seconds=run.elapsed_s() - began_s,
        steps=steps,
        planned=planned,
        cut_short=steps < planned,
        calibration_s=calibration_s,
    )
    return steps


def _micro_steps(spec: TrainSpec, ranks: Ranks) -> int:
    micro_steps, rest = divmod(spec.batch_tokens, spec.micro_batch_tokens * ranks.world)
    if rest or not micro_steps:
        raise RecipeError(
            f"train.batch_tokens ({spec.batch_tokens}) must be a multiple of"
            f" micro_batch_tokens * processes ({spec.micro_batch_tokens} * {ranks.world})"
        )
    return micro_steps


def _loss_functions(
    model: Gpt | RoundedLoss, spec: TrainSpec, loops: NoLoops | Loops, any_bounds: bool = False
) -> dict[int, LossFn]:
    """One function a loop state, each compiled by itself where the recipe says so: no graph holds a branch.

    With ``any_bounds``, what attends takes any number of segments in one graph.
    """

    def plain(inputs: Tensor, targets: Tensor, cu_seqlens: Tensor | None, max_len: int) -> Tensor:
        return model.loss(inputs, targets, looped=False, cu_seqlens=cu_seqlens, max_len=max_len)

    def looped(inputs: Tensor, targets: Tensor, cu_seqlens: Tensor | None, max_len: int) -> Tensor:
        return model.loss(inputs, targets, looped=True, cu_seqlens=cu_seqlens, max_len=max_len)

    def on_batch(function: Callable[[Tensor, Tensor, Tensor | None, int], Tensor]) -> LossFn:
        ready = torch.compile(function, dynamic=False, fullgraph=True) if spec.compile is True else function

        def loss_fn(batch: Batch) -> Tensor:
            # A graph needs one length for all batches; without one, padding beyond the longest piece is waste.
            pieces = None if spec.compile or batch.cu_seqlens is None else batch.cu_seqlens
            if spec.compile and any_bounds and batch.cu_seqlens is not None:
                any_length(batch.cu_seqlens)
            max_len = spec.context if pieces is None else int(pieces.diff().max())
            return ready(batch.inputs_BT, batch.targets_BT, batch.cu_seqlens, max_len)

        return loss_fn

    functions = {0: on_batch(plain)}
    if isinstance(loops, Loops):
        functions[1] = on_batch(looped)
    return functions


def _with_late(late: Gpt | RoundedLoss, spec: TrainSpec, loops: NoLoops | Loops, any_bounds: bool) -> dict[int, LossFn]:
    return {key + _LATE: fn for key, fn in _loss_functions(late, spec, loops, any_bounds).items()}


def _with_longer_bounds(batch: Batch) -> list[Batch]:
    """Repeat the batch with its bounds padded by empty segments to each length that compilation should have seen."""
    bounds = batch.cu_seqlens
    if bounds is None:
        return []
    longer = [length for length in _WARMUP_BOUND_LENGTHS if length >= bounds.numel()]
    tails = [bounds[-1].expand(length - bounds.numel()) for length in longer]
    return [
        Batch(inputs_BT=batch.inputs_BT, targets_BT=batch.targets_BT, cu_seqlens=torch.cat([bounds, tail]))
        for tail in tails
    ]


def _log_step(run: Training, now: _Progress, loss: Tensor, norm: Tensor, lr_scale: float) -> float:
    """Log the step just made and return its loss in nats, the mean over ranks."""
    mean = loss.detach().clone()
    run.ranks.mean_([mean])
    loss_nats, grad_norm = float(mean.item()), float(norm.item())
    if not (math.isfinite(loss_nats) and math.isfinite(grad_norm)):
        raise GateError(
            f"training diverged: step {now.steps} has loss {loss_nats} and gradient norm {grad_norm}, both must be"
            " finite; lower the rates (optim.muon.lr, optim.adam) or clip (optim.grad_clip)"
        )
    run.events.emit(
        "step",
        step=now.steps,
        steps=run.spec.steps,
        loss_nats=loss_nats,
        lr_scale=lr_scale,
        grad_norm=grad_norm,
        train_s=now.elapsed_s,
        tokens=now.steps * run.spec.batch_tokens,
        step_avg_ms=1000.0 * now.elapsed_s / now.steps,
    )
    return loss_nats


def _peak_bytes(device: torch.device) -> int:
    """Most memory in use so far: of the GPU by torch, or of this process (ru_maxrss is in KiB, on macOS in bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
