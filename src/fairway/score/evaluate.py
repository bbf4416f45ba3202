"""One evaluation, from a model and a stream of tokens to a score, events and a ledger."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from fairway.data.documents import document_lengths
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.adapt import LoraEvaluator
from fairway.score.budget import PROGRESS_EVENTS, Watch
from fairway.score.chunks import ChunkEvaluator, HashTable
from fairway.score.ensemble import MeanEvaluator
from fairway.score.flat import FlatEvaluator
from fairway.score.invalid import AheadReferee
from fairway.score.ledger import Ledger
from fairway.score.passes import AheadEvaluator, ChunkPassEvaluator, PassSgd, passes_of
from fairway.score.phases import PhasedEvaluator
from fairway.score.referee import Evaluator, Referee
from fairway.score.sgd import BaseSgd
from fairway.score.shared import SharedReferee, SharedSgd
from fairway.score.sliding import SlidingEvaluator
from fairway.spec.score import (
    AheadPasses,
    ChunkPasses,
    ChunkSgd,
    DocumentLora,
    Flat,
    Method,
    PhasedSgd,
    ScoreSpec,
    Sliding,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an evaluation found."""

    name: str
    method: str
    loss_nats: float
    bpb: float
    tokens: int
    bytes: int
    seconds: float
    ledger_head: str


def build_evaluator(
    model: Gpt, spec: ScoreSpec, method: Method, *, seed: int, looped: bool, ranks: Ranks, raw: Gpt | None = None
) -> Evaluator:
    """Make the method of evaluation that a recipe names; an ensemble's other model is ``raw``. None is changed."""
    evaluator = single_evaluator(model, spec, method, seed=seed, looped=looped, ranks=ranks)
    if spec.logit_ensemble:
        assert raw is not None
        other = single_evaluator(raw, spec, method, seed=seed, looped=looped, ranks=ranks)
        return MeanEvaluator(evaluator, other)
    return evaluator


def single_evaluator(
    model: Gpt, spec: ScoreSpec, method: Method, *, seed: int, looped: bool, ranks: Ranks
) -> Evaluator:
    """The method over a frozen copy of one model."""
    own = copy.deepcopy(model).requires_grad_(False)
    context, batch_tokens = spec.context, spec.batch_tokens
    match method:
        case Flat():
            return FlatEvaluator(own, context=context, batch_tokens=batch_tokens, looped=looped)
        case Sliding():
            return SlidingEvaluator(
                own, context=context, stride=method.stride, batch_tokens=batch_tokens, looped=looped
            )
        case DocumentLora():
            return LoraEvaluator(own, method, context=context, looped=looped, seed=seed)
        case PhasedSgd():
            sgd = base_sgd(own, spec, method, ranks, looped=looped)
            return PhasedEvaluator(own, method, sgd, context=context, looped=looped, seed=seed)
        case ChunkSgd():
            if method.hash_rows:
                table = HashTable(own, method.hash_rows)
                sgd = base_sgd(own, spec, method, ranks, looped=looped, more=[table.rows_HD], hooks=table.hooks)
                return ChunkEvaluator(own, method, spec, sgd, looped=looped, hooks=table.hooks)
            return ChunkEvaluator(own, method, spec, base_sgd(own, spec, method, ranks, looped=looped), looped=looped)
        case ChunkPasses():
            return ChunkPassEvaluator(
                own, method, spec, pass_sgds(own, spec, method, ranks, looped=looped), looped=looped
            )
        case AheadPasses():
            sgds = pass_sgds(own, spec, method, ranks, looped=looped)
            return AheadEvaluator(own, method, spec, sgds, looped=looped, seed=seed)


def ledger_settings(spec: ScoreSpec, method: Method, *, seed: int, looped: bool) -> dict[str, Any]:
    """What describes a method on the ledger."""
    return {
        **asdict(method),
        "score_context": spec.context,
        "batch_tokens": spec.batch_tokens,
        "looped": looped,
        "seed": seed,
    }


def pass_sgds(
    model: Gpt, spec: ScoreSpec, method: ChunkPasses | AheadPasses, ranks: Ranks, *, looped: bool
) -> list[PassSgd]:
    """The optimizer of each pass."""
    settings: dict[str, Any] = {"grad_clip": method.grad_clip, "batch_tokens": spec.batch_tokens, "looped": looped}
    return [PassSgd(ranks, model, each, **settings) for each in passes_of(method)]


def _carries_on(method: Method) -> bool:
    """Whether a batch of documents begins with what another one ended with."""
    lora = method.lora if isinstance(method, PhasedSgd) else method
    return isinstance(lora, DocumentLora) and lora.keep_a


def base_sgd(
    model: Gpt,
    spec: ScoreSpec,
    method: PhasedSgd | ChunkSgd,
    ranks: Ranks,
    *,
    looped: bool,
    more: Sequence[Tensor] = (),
    hooks: Hooks = PLAIN,
) -> BaseSgd:
    """What moves the weights that all documents share: on every rank alike where ranks share the evaluation."""
    make = partial(SharedSgd, ranks) if spec.ranks == "all" else BaseSgd
    return make(
        model,
        lr=method.lr,
        momentum=method.momentum,
        grad_clip=method.grad_clip,
        batch_tokens=spec.batch_tokens,
        looped=looped,
        more=more,
        hooks=hooks,
    )


def evaluate(
    model: Gpt,
    tokens_N: Int[Tensor, " N"],
    bytes_N: Int[Tensor, " N"],
    spec: ScoreSpec,
    method: Method,
    *,
    seed: int,
    looped: bool,
    ledger_path: Path | None,
    events: EventLog,
    name: str,
    artifact_sha256: str,
    ranks: Ranks,
    clock: Callable[[], float] = time.perf_counter,
    raw: Gpt | None = None,
) -> Score:
    """Score a stream of documents with ``method``; events ``scored`` on the way and ``score`` at the end.

    ``bytes_N`` are the bytes of text each position stands for as a target; ``seed`` draws the adapters; ``raw`` is an
    ensemble's other model. No model is changed. Where the recipe lets ranks share the work each of ``ranks`` calls
    this, else one of them. ``DataError`` for a stream that cannot be scored, ``RefereeError`` for a method that is
    unfair, ``GateError`` when the budget's seconds are used up on any rank: all of them then end, and there is no
    score.
    """
    watch = Watch(spec.budget_s, events, world=ranks.world if spec.ranks == "all" else 1, clock=clock)
    device = model.get_parameter("embedding").device
    stream = tokens_N.to(device), bytes_N, document_lengths(tokens_N)
    referee: Referee
    if isinstance(method, AheadPasses):
        events.emit("invalid", why="learns from targets before they are scored")
        referee = AheadReferee(*stream, ranks=ranks, name=name)
    elif spec.ranks == "all":

        def claimed(batch: int, of: int) -> None:
            if batch * PROGRESS_EVENTS % of < PROGRESS_EVENTS:
                events.emit("claimed", batch=batch, of=of)

        referee = SharedReferee(*stream, ranks=ranks, name=name, claimed=claimed, dealt=_carries_on(method))
    else:
        referee = Referee(*stream)
    with Ledger(ledger_path) as ledger:
        tally = referee.run(
            build_evaluator(model, spec, method, seed=seed, looped=looped, ranks=ranks, raw=raw),
            ledger,
            settings=ledger_settings(spec, method, seed=seed, looped=looped),
            artifact_sha256=artifact_sha256,
            watch=watch,
        )
    score = Score(
        name=name,
        method=method.kind,
        loss_nats=tally.loss_nats,
        bpb=tally.bpb,
        tokens=tally.tokens,
        bytes=tally.size_bytes,
        seconds=watch.seconds,
        ledger_head=ledger.head,
    )
    events.emit(
        "score",
        name=name,
        method=score.method,
        val_loss=score.loss_nats,
        val_bpb=score.bpb,
        tokens=score.tokens,
        bytes=score.bytes,
        seconds=score.seconds,
        compile_s=0.0,  # nothing is compiled on this path yet
    )
    return score
