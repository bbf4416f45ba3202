"""One evaluation, from a model and a stream of tokens to a score, events and a ledger."""

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from fairway.data.documents import document_lengths
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.adapt import LoraEvaluator
from fairway.score.bpb import Tally
from fairway.score.chunks import ChunkEvaluator, HashTable
from fairway.score.flat import FlatEvaluator
from fairway.score.ledger import Ledger
from fairway.score.phases import PhasedEvaluator
from fairway.score.referee import Evaluator, Referee
from fairway.score.sgd import BaseSgd
from fairway.score.shared import SharedReferee, SharedSgd
from fairway.score.sliding import SlidingEvaluator
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, Method, PhasedSgd, ScoreSpec, Sliding

PROGRESS_EVENTS = 50
"""At most so many ``scored`` events an evaluation."""


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


def build_evaluator(model: Gpt, spec: ScoreSpec, method: Method, *, seed: int, looped: bool, ranks: Ranks) -> Evaluator:
    """Make the method of evaluation that a recipe names, over a frozen copy of ``model``, which stays as it is."""
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
) -> Score:
    """Score a stream of documents with ``method``; events ``scored`` on the way and ``score`` at the end.

    ``bytes_N`` are the bytes of text each position stands for as a target; ``seed`` draws the adapters. The model
    is not changed. Where the recipe lets ranks share the work each of ``ranks`` calls this, else one of them.
    ``DataError`` for a stream that cannot be scored, ``RefereeError`` for a method that is unfair.
    """
    began_s = time.perf_counter()
    device = model.get_parameter("embedding").device
    stream = tokens_N.to(device), bytes_N, document_lengths(tokens_N)
    due = 1

    def report(tally: Tally) -> None:
        nonlocal due
        if tally.tokens * PROGRESS_EVENTS >= due * referee.targets and tally.size_bytes:
            due = tally.tokens * PROGRESS_EVENTS // referee.targets + 1
            events.emit("scored", targets=tally.tokens, of=referee.targets, bpb=tally.bpb)

    if spec.ranks == "all":

        def claimed(batch: int, of: int) -> None:
            if batch * PROGRESS_EVENTS % of < PROGRESS_EVENTS:
                events.emit("claimed", batch=batch, of=of)

        referee: Referee = SharedReferee(*stream, ranks=ranks, name=name, claimed=claimed)
    else:
        referee = Referee(*stream)
    with Ledger(ledger_path) as ledger:
        tally = referee.run(
            build_evaluator(model, spec, method, seed=seed, looped=looped, ranks=ranks),
            ledger,
            settings={
                **asdict(method),
                "score_context": spec.context,
                "batch_tokens": spec.batch_tokens,
                "looped": looped,
                "seed": seed,
            },
            artifact_sha256=artifact_sha256,
            scored=report,
        )
    score = Score(
        name=name,
        method=method.kind,
        loss_nats=tally.loss_nats,
        bpb=tally.bpb,
        tokens=tally.tokens,
        bytes=tally.size_bytes,
        seconds=time.perf_counter() - began_s,
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
