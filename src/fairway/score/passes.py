"""Passes of an optimizer over rows of the stream: after each chunk is scored, or, marked invalid, before (#212, #1048).

A pass takes part of the weights, and rates of its own for the projections of the MLP. #1048's two phases are two
passes: scales, gains and mixes first, then the last blocks. In legal order (``ChunkPasses``) the passes are over each
chunk once it is scored, and what an optimizer gathers lasts over chunks; ahead (``AheadPasses``) they are over the
whole stream.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.model.gpt import Gpt
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import generator
from fairway.score.shared import SharedSgd
from fairway.score.sliding import SlidingEvaluator
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import grouped, sliding_windows
from fairway.spec.roles import BANK
from fairway.spec.score import AheadPasses, ChunkPasses, Pass, ScoreSpec

CONTROLS = ("scale", "resid_mix", "q_gain", "skip_weight")
"""Parts of the names of what #1048's first phase learns."""
LAYERED = frozenset(
    {
        *("attn_scale", "mlp_scale", "resid_mix", "q_gain", "lane_decay", "lane_mix", "depth_weight", "depth_mix"),
        *("value_mix", "head_gate", "head_bias", "angle_weight", "star_scale", "star_bias", "qo_mix"),
    }
)
"""Parameters with a row for each layer, beside the banks, which have one for each layer and part."""


@dataclass(frozen=True, slots=True)
class PassStep(LearnStep):
    """One step of one of a method's passes."""

    number: int = 0
    """Which pass."""
    turn: int = 0
    """How often the pass was gone through before: once a chunk."""


def passes_of(method: ChunkPasses | AheadPasses) -> list[Pass]:
    """The method's passes, in order."""
    return [method.first, method.then] if isinstance(method.then, Pass) else [method.first]


def cosine_share(step: int, steps: int) -> float:
    """Share of the rate at one of ``steps`` steps: from 1 towards 0, which comes after the last."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def learned_rows(name: str, parameter: Tensor, layers: int, spec: Pass) -> Tensor | None:
    """Which rows of a parameter a pass learns, as 0 and 1 that broadcast over it; None if it learns none."""
    is_control = any(part in name for part in CONTROLS)
    every = torch.ones(parameter.shape[0], *[1] * (parameter.ndim - 1), device=parameter.device)
    if spec.weights == "controls" or (spec.weights == "late" and is_control):
        return every if is_control else None
    if not (name.endswith(BANK) or name in LAYERED):
        return every if spec.weights == "all" or name == "embedding" else None
    layer_of_row = torch.arange(parameter.shape[0], device=parameter.device).remainder(layers).view_as(every)
    first = spec.blocks if spec.weights == "all" else layers - spec.blocks
    return (layer_of_row >= first).to(every.dtype)


class PassSgd(SharedSgd):
    """One pass's optimizer; between its steps its weights are frozen, and another pass may move them."""

    def __init__(self, ranks: Ranks, model: Gpt, spec: Pass, **settings: Any) -> None:
        super().__init__(ranks, model, lr=spec.lr, momentum=spec.momentum, **settings)
        named, layers = dict(model.named_parameters()), model.spec.layers
        rows = {name: learned_rows(name, parameter, layers, spec) for name, parameter in named.items()}
        self._rows = [(named[name], own) for name, own in rows.items() if own is not None]
        self._learned = [parameter for parameter, _ in self._rows]
        rates = {"up_bank": spec.up_rate, "down_bank": spec.down_rate}
        learned = [name for name, own in rows.items() if own is not None]
        groups = [{"params": [named[name]], "rate": rates.get(name, 1.0)} for name in learned]
        if spec.optimizer == "adam":
            self._optimizer = torch.optim.Adam(groups, lr=spec.lr)
        else:
            self._optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
        self._optimizer.register_step_pre_hook(_rate_groups)

    def step(self, share: float, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]) -> None:
        """``BaseSgd.step`` on this pass's weights; rows that it does not learn have no gradient."""
        for parameter in self._learned:
            parameter.requires_grad_(True)
        masks = [parameter.register_hook(rows.mul) for parameter, rows in self._rows]
        super().step(share, inputs, targets)
        for mask in masks:
            mask.remove()
        for parameter in self._learned:
            parameter.requires_grad_(False)


def _rate_groups(optimizer: torch.optim.Optimizer, arguments: Any, settings: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"]


class PassEvaluator(SlidingEvaluator):
    """``SlidingEvaluator`` on weights that passes move; ``model`` is its own, to change."""

    def __init__(
        self,
        model: Gpt,
        method: ChunkPasses | AheadPasses,
        spec: ScoreSpec,
        optimizers: Sequence[PassSgd],
        *,
        looped: bool,
    ) -> None:
        super().__init__(
            model, context=spec.context, stride=method.stride, batch_tokens=spec.batch_tokens, looped=looped
        )
        self._passes = passes_of(method)
        self._batch_rows = method.batch_rows
        self._optimizers = optimizers
        self._shrinks = isinstance(method, ChunkPasses) and method.shrinks

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """One step of one pass."""
        assert isinstance(step, PassStep)
        share = 1.0
        if self._passes[step.number].falls:
            share = cosine_share(step.step, step.steps)
            if self._shrinks:
                share *= cosine_share(step.steps - 1, step.steps) ** step.turn
        self._optimizers[step.number].step(share, inputs, targets)

    def _pass_steps(self, epochs: Sequence[Sequence[Sequence[int]]], number: int, turn: int) -> Iterator[PassStep]:
        """Steps of a pass, from the first inputs of each step's rows, epoch by epoch."""
        steps = list(chain.from_iterable(epochs))
        for i, firsts in enumerate(steps):
            spans = tuple((first + 1, first + 1 + self._context) for first in firsts)
            yield PassStep("sgd", spans, i, len(steps), number, turn)


class ChunkPassEvaluator(PassEvaluator):
    """A window belongs to the chunk that holds its first scored target, as in ``chunks``."""

    def __init__(self, model: Gpt, method: ChunkPasses, *arguments: Any, **settings: Any) -> None:
        super().__init__(model, method, *arguments, **settings)
        self._chunk_tokens = method.chunk_tokens

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Chunk by chunk: its windows, then every pass over its rows; the last chunk is only scored."""
        targets, size = sum(lengths) - 1, self._chunk_tokens
        windows = sliding_windows(targets, self._context, self._stride)
        for chunk, own in groupby(windows, key=lambda span: (span.start - 1) // size):
            for _, alike in groupby(own, key=lambda span: span.inputs):
                yield from (ScoreStep(group) for group in grouped(list(alike), self._batch_tokens))
            if (chunk + 1) * size >= targets:
                continue
            rows = range(chunk * size, (chunk + 1) * size, self._context)
            epoch = [rows[i : i + self._batch_rows] for i in range(0, len(rows), self._batch_rows)]
            for number, each in enumerate(self._passes):
                yield from self._pass_steps([epoch] * each.epochs, number, chunk)


class AheadEvaluator(PassEvaluator):
    """Its plan is a fair one; what it learns ``ahead`` is for ``invalid.AheadReferee`` to ask for."""

    def __init__(self, model: Gpt, method: AheadPasses, *arguments: Any, seed: int, **settings: Any) -> None:
        super().__init__(model, method, *arguments, **settings)
        self._most_steps = method.most_steps
        self._is_drawn = method.order == "drawn"
        self._seed = seed

    def ahead(self, lengths: Sequence[int]) -> Iterator[PassStep]:
        """Every pass over the stream; rows that do not fill the last step of an epoch are left out (#212)."""
        rows = (sum(lengths) - 1) // self._context
        size = min(self._batch_rows, rows)
        for number, each in enumerate(self._passes):
            epochs = [self._epoch(rows, size, f"ahead.{number}.{epoch}") for epoch in range(each.epochs)]
            yield from self._pass_steps(epochs, number, 0)

    def _epoch(self, rows: int, size: int, tag: str) -> list[Sequence[int]]:
        if not size:
            return []
        starts: Sequence[int] = range(0, rows - size + 1, size)
        if self._is_drawn:
            starts = torch.randperm(rows - size + 1, generator=generator(self._seed, tag)).tolist()
        context = self._context
        return [range(s * context, (s + size) * context, context) for s in starts[: self._most_steps]]
