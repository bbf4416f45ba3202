"""The referee owns the tokens: it checks the plan, asks for predictions, scores, and only then shows targets.

A method of evaluation never holds the stream. It says beforehand what it will do (``plan``, from document lengths
alone), is handed inputs and returns logits (``predict``), and is shown targets only after their losses stand on the
ledger (``update``). So the four conditions of legal test-time training (rules 2.2) are kept by construction: the
prediction depends on earlier tokens, softmax normalises it over the vocabulary, the score comes before the update,
and each target is scored once.

What a referee cannot see is a forward that lets a target look at itself inside one step; that is for the causality
tests of the model and for the probes.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fairway.errors import DataError, RefereeError
from fairway.score.bpb import Tally
from fairway.score.budget import Watch
from fairway.score.ledger import Ledger, losses_sha256, plan_line, tokens_sha256
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span, document_extents


@runtime_checkable
class Evaluator(Protocol):
    """A method of evaluation: predicts when asked, learns when shown, holds no tokens."""

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        """Everything that will be scored and learned from, in order: a function of document lengths alone."""
        ...

    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Logits of each span's targets, ``(span.targets, V)``, from its inputs ``tokens[context:stop-1]``."""
        ...

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Learn from targets ``tokens[start:stop]`` and their inputs ``tokens[start-1:stop-1]``, all on the ledger."""
        ...


def plan_sha256(steps: Iterable[PlanStep]) -> str:
    """SHA-256 of a plan, which the ledger's entries determine as well (``ledger.plan_line``)."""
    digest = hashlib.sha256()
    for step in steps:
        if isinstance(step, ScoreStep):
            digest.update(plan_line("score", step.spans).encode())
        else:
            digest.update(plan_line("learn", step.spans, step.what).encode())
    return digest.hexdigest()


def check_plan(steps: Sequence[PlanStep], lengths: Sequence[int]) -> None:
    """Refuse, with ``RefereeError``, a plan that could be scored unfairly.

    Each target is scored exactly once; each input of a span is a document's BOS, or was scored before, or is a target
    of this same span; each learned target was scored in an earlier step.
    """
    total = sum(lengths)
    scored = bytearray(total)
    known = bytearray(total)
    for extent in document_extents(lengths):
        known[extent.begin] = 1
    for number, step in enumerate(steps):
        where = f"plan step {number}"
        if not step.spans:
            raise RefereeError(f"{where}: has no span, each step scores or learns from at least one target")
        if isinstance(step, ScoreStep):
            for span in step.spans:
                _check_span(span, scored, known, where)
                scored[span.start : span.stop] = known[span.start : span.stop] = b"\1" * span.targets
        else:
            for start, stop in step.spans:
                if not 1 <= start < stop <= total:
                    raise RefereeError(f"{where}: learns from targets {start}..{stop - 1}, must lie in 1..{total - 1}")
                early = scored.find(b"\0", start, stop)
                if early >= 0:
                    raise RefereeError(f"{where}: learns from target {early} before it is scored")
                if not known[start - 1]:
                    raise RefereeError(f"{where}: learns with input {start - 1}, which was not scored before")
    missing = scored.find(b"\0", 1)
    if missing >= 0:
        raise RefereeError(f"plan: target {missing} is never scored, each of 1..{total - 1} must be, once")


def _check_span(span: Span, scored: bytearray, known: bytearray, where: str) -> None:
    context, start, stop = span
    if not 0 <= context < start < stop <= len(scored):
        raise RefereeError(
            f"{where}: span {tuple(span)} must hold 0 <= context < start < stop <= {len(scored)} (the stream's length)"
        )
    twice = scored.find(b"\1", start, stop)
    if twice >= 0:
        raise RefereeError(f"{where}: target {twice} is scored twice")
    unseen = known.find(b"\0", context, start)
    if unseen >= 0:
        raise RefereeError(f"{where}: span {tuple(span)} reads input {unseen}, which was not scored before")


class Referee:
    """Scores one evaluation of a stream of documents.

    ``bytes_N`` are the bytes of text that each position stands for as a target; ``lengths`` the documents' lengths in
    tokens, BOS included. ``DataError`` if these do not fit together.
    """

    def __init__(self, tokens_N: Int[Tensor, " N"], bytes_N: Int[Tensor, " N"], lengths: Sequence[int]) -> None:
        if sum(lengths) != tokens_N.numel() or min(lengths, default=0) < 1 or tokens_N.numel() < 2:
            raise DataError(
                f"documents of {sum(lengths)} tokens in all, the stream has {tokens_N.numel()};"
                " these must be equal, no document empty, and the stream at least 2 tokens long"
            )
        if int(bytes_N[1:].sum()) < 1:
            raise DataError("the targets stand for 0 bytes of text, bits per byte need at least 1")
        self._tokens_N = tokens_N.to(torch.int64)
        self._bytes_N = bytes_N.to("cpu", torch.int64)
        self._largest = int(tokens_N.max())
        self._lengths = tuple(lengths)

    @property
    def targets(self) -> int:
        """How many tokens are scored: all but the first."""
        return self._tokens_N.numel() - 1

    def run(
        self,
        method: Evaluator,
        ledger: Ledger,
        *,
        settings: dict[str, Any],
        artifact_sha256: str,
        watch: Watch,
    ) -> Tally:
        """Drive ``method`` through its plan and write the ledger; ``watch`` is told of each step, and ends it in time.

        ``settings`` describe the method on the ledger. ``RefereeError`` if the plan is unfair, if logits have the wrong
        shape or are not finite, or if the plan turns out to depend on anything but lengths.
        """
        steps = tuple(method.plan(self._lengths))
        check_plan(steps, self._lengths)
        ledger.append(
            "open",
            {
                "artifact_sha256": artifact_sha256,
                "tokens_sha256": tokens_sha256(self._tokens_N),
                "documents": len(self._lengths),
                "targets": self.targets,
                "method": settings,
                "plan_sha256": plan_sha256(steps),
            },
        )
        watch.begin(steps, self.targets)
        tally = Tally()
        self._drive(steps, method, ledger, tally, watch)
        if tuple(method.plan(self._lengths)) != steps:
            raise RefereeError("plan: a second call for the same document lengths gave another plan")
        assert tally.tokens == self.targets, "a checked plan scores every target"
        ledger.append("close", {"targets": tally.tokens, "bytes": tally.size_bytes, "nats": tally.nats})
        return tally

    def _drive(self, steps: Sequence[PlanStep], method: Evaluator, ledger: Ledger, tally: Tally, watch: Watch) -> None:
        for number, step in enumerate(steps):
            if isinstance(step, ScoreStep):
                self._enter(number, step, self._ask(number, step, method).cpu(), ledger, tally)
                watch.scored(tally)
            else:
                self._enter_learned(step, ledger)
                self._show(step, method)
            watch.took(step)
            if watch.spent:
                watch.stop(tally)

    def _ask(self, number: int, step: ScoreStep, method: Evaluator) -> Float[Tensor, " M"]:
        """The method's prediction, scored: nats of each target of the step."""
        logits = method.predict(step, [self._tokens_N[span.context : span.stop - 1].clone() for span in step.spans])
        # Only from here on are targets looked up: whatever predict kept, it cannot have seen them.
        return self._losses(number, step.spans, logits)

    def _show(self, step: LearnStep, method: Evaluator) -> None:
        """Targets that stand on the ledger, for the method to learn from."""
        method.update(
            step,
            [self._tokens_N[start - 1 : stop - 1].clone() for start, stop in step.spans],
            [self._tokens_N[start:stop].clone() for start, stop in step.spans],
        )

    def _enter_learned(self, step: LearnStep, ledger: Ledger) -> None:
        ledger.append("learn", {"what": step.what, "spans": [list(span) for span in step.spans]})

    def _enter(self, number: int, step: ScoreStep, losses: Float[Tensor, " M"], ledger: Ledger, tally: Tally) -> None:
        if not bool(losses.isfinite().all()):
            raise RefereeError(f"plan step {number}: a loss is not finite")
        rows = []
        for span, losses_M in zip(step.spans, losses.split([span.targets for span in step.spans]), strict=True):
            nats = math.fsum(losses_M.tolist())
            size_bytes = int(self._bytes_N[span.start : span.stop].sum())
            rows.append([*span, nats, size_bytes])
            tally.add(nats=nats, tokens=span.targets, size_bytes=size_bytes)
        ledger.append("score", {"spans": rows, "losses_sha256": losses_sha256(losses)})

    @torch.no_grad()
    def _losses(
        self, number: int, spans: Sequence[Span], logits: Sequence[Float[Tensor, "_ V"]]
    ) -> Float[Tensor, " M"]:
        """Nats of each target, in order, in float32: minus log softmax over the whole vocabulary."""
        shapes = [tuple(each.shape) for each in logits]
        vocab_size = shapes[0][-1] if shapes and shapes[0] else 0
        due = [(span.targets, vocab_size) for span in spans]
        if shapes != due:
            raise RefereeError(f"plan step {number}: logits have shapes {shapes}, must be {due}")
        targets_M = torch.cat([self._tokens_N[span.start : span.stop] for span in spans])
        if self._largest >= vocab_size:
            raise RefereeError(f"plan step {number}: logits over {vocab_size} tokens, but token {self._largest} occurs")
        logits_MV = torch.cat([each.detach() for each in logits]).to(torch.float32)
        return functional.cross_entropy(logits_MV, targets_M, reduction="none")
