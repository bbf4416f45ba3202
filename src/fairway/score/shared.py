"""An evaluation by several processes: batches go to whoever is free, the ledger is the one that a single one writes.

Between two steps that all must take together (``sgd``, which moves the weights that all share) batches of documents
do not depend on each other, so any rank may have any of them, in any order. Each rank asks for the next number when
it is free (``Ranks.claim``), keeps the order score before update within its batches, and hands in the losses. Before
anything is learned together, all losses of the stretch stand on the ledger, in the order of the plan: a rank that
pauses loses no document, and none is scored twice (recipes E.5, E.6).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.runtime.ranks import Ranks
from fairway.score.bpb import Tally
from fairway.score.budget import Watch, work
from fairway.score.ledger import Ledger
from fairway.score.referee import Evaluator, Referee
from fairway.score.sgd import BaseSgd, parts
from fairway.score.steps import LearnStep, PlanStep, ScoreStep


@dataclass(slots=True)
class Stretch:
    """Batches that may go in any order, then steps that all ranks take together."""

    batches: list[list[tuple[int, PlanStep]]] = field(default_factory=list)
    """Each a run of steps of one rank, with their numbers in the plan."""
    together: list[LearnStep] = field(default_factory=list)


def stretches(steps: Sequence[PlanStep]) -> list[Stretch]:
    """A plan cut behind each pass of SGD, and each piece into batches: a batch begins where a chunk 0 is scored."""
    found = [Stretch()]
    for number, step in enumerate(steps):
        if isinstance(step, LearnStep) and step.what == "sgd":
            found[-1].together.append(step)
            continue
        if found[-1].together:
            found.append(Stretch())
        if isinstance(step, ScoreStep) and step.chunk == 0:
            found[-1].batches.append([])
        found[-1].batches[-1].append((number, step))
    return found


class SharedReferee(Referee):
    """``Referee`` on each of several ranks; all return the same tally and the same head of the ledger."""

    def __init__(
        self,
        tokens_N: Int[Tensor, " N"],
        bytes_N: Int[Tensor, " N"],
        lengths: Sequence[int],
        *,
        ranks: Ranks,
        name: str,
        claimed: Callable[[int, int], None] = lambda batch, of: None,
        dealt: bool = False,
    ) -> None:
        """``name`` is this evaluation's own among those of a process group; ``claimed`` hears which batch begins.

        With ``dealt`` batches are not claimed but dealt out beforehand, by what they cost: where one batch begins with
        what another of the same rank ended with, the score is then that of the number of ranks, not of the day.
        """
        super().__init__(tokens_N, bytes_N, lengths)
        self._ranks = ranks
        self._name = name
        self._claimed = claimed
        self._dealt = dealt

    def _drive(
        self,
        steps: Sequence[PlanStep],
        method: Evaluator,
        ledger: Ledger,
        tally: Tally,
        watch: Watch,
    ) -> None:
        if self._ranks.world == 1:  # each entry is written as it comes
            super()._drive(steps, method, ledger, tally, watch)
            return
        begun, of = 0, sum(isinstance(step, ScoreStep) and step.chunk == 0 for step in steps)
        for turn, stretch in enumerate(stretches(steps)):
            due = [step for batch in stretch.batches for step in batch]
            sizes = [sum(span.targets for span in step.spans) if isinstance(step, ScoreStep) else 0 for _, step in due]
            # Each loss is handed in by one rank and is 0 on the others, so that their sum is that loss to the bit.
            losses_M = torch.zeros(sum(sizes), device=self._ranks.device)
            pieces = dict(zip((number for number, _ in due), losses_M.split(sizes), strict=True))
            for index in self._turns(turn, stretch):
                self._claimed(begun + index, of)
                for number, step in stretch.batches[index]:
                    if isinstance(step, ScoreStep):
                        pieces[number].copy_(self._ask(number, step, method))
                    else:
                        self._show(step, method)
                    watch.took(step)
                    if watch.spent:
                        break
                if watch.spent:
                    self._ranks.close_claims(self._claims(turn), len(stretch.batches))
                    break
            begun += len(stretch.batches)
            self._stop_together(watch, tally)
            self._ranks.sum_([losses_M])
            for (number, step), losses in zip(due, losses_M.cpu().split(sizes), strict=True):
                if isinstance(step, ScoreStep):
                    self._enter(number, step, losses, ledger, tally)
                    watch.scored(tally)
                else:
                    self._enter_learned(step, ledger)
            for step in stretch.together:
                self._enter_learned(step, ledger)
                self._show(step, method)
                watch.took(step, together=True)
                self._stop_together(watch, tally)

    def _claims(self, turn: int) -> str:
        return f"{self._name}.{turn}"

    def _turns(self, turn: int, stretch: Stretch) -> Iterable[int]:
        """Which batches of a stretch this rank takes."""
        if not self._dealt:
            return self._ranks.claim(self._claims(turn), len(stretch.batches))
        costs = [sum(work(step) for _, step in batch) for batch in stretch.batches]
        return dealt(costs, self._ranks.world)[self._ranks.rank]

    def _stop_together(self, watch: Watch, tally: Tally) -> None:
        """End the evaluation on every rank where the budget of any is used up."""
        if self._ranks.any(watch.spent):
            watch.stop(tally)


def dealt(costs: Sequence[int], ranks: int) -> list[list[int]]:
    """Each piece of work to the rank that has least so far, in the order they come: the same every time."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    held = [0] * ranks
    for index, cost in enumerate(costs):
        rank = held.index(min(held))
        shares[rank].append(index)
        held[rank] += cost
    return shares


class SharedSgd(BaseSgd):
    """``BaseSgd`` on each of several ranks: all take the same steps, each with a share of their forwards."""

    def __init__(self, ranks: Ranks, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._ranks = ranks

    def _forwards(self, inputs: Sequence[Int[Tensor, " _"]], total: int) -> Sequence[slice]:
        share = min(self._batch_tokens, math.ceil(total / self._ranks.world))
        return list(parts(inputs, share))[self._ranks.rank :: self._ranks.world]

    def _gather(self) -> None:
        for parameter in self._learned:
            if parameter.grad is None:  # no forward of this rank reached it
                parameter.grad = torch.zeros_like(parameter)
        self._ranks.sum_([parameter.grad for parameter in self._learned if parameter.grad is not None])
