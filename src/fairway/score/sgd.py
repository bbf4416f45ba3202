"""SGD with momentum on the weights that all documents share, over targets that are scored (recipes E.3, E.6)."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.kernels.softcap_ce import softcap_ce
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.score.flat import segment_offsets


def cosine_rate(step: int, steps: int) -> float:
    """Share of the rate at one of ``steps`` steps: from 1 to 0, and 1 if there is but one."""
    return 0.5 * (1.0 + math.cos(math.pi * step / (steps - 1))) if steps > 1 else 1.0


class BaseSgd:
    """Steps of one optimizer over every parameter of ``model``, and over ``more`` tensors that a method added to it.

    One forward holds at most ``batch_tokens`` tokens (or one span); a step's gradient is gathered over its forwards.
    """

    def __init__(
        self,
        model: Gpt,
        *,
        lr: float,
        momentum: float,
        grad_clip: float,
        batch_tokens: int,
        looped: bool,
        more: Sequence[Tensor] = (),
        hooks: Hooks = PLAIN,
    ) -> None:
        self._model = model
        self._lr = lr
        self._momentum = momentum
        self._grad_clip = grad_clip
        self._batch_tokens = batch_tokens
        self._looped = looped
        self._hooks = hooks
        self._learned = [*model.parameters(), *more]
        self._optimizer: torch.optim.Optimizer | None = None

    def step(self, share: float, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]) -> None:
        """One step at ``share`` of the rate on the mean loss of all targets; pieces do not see each other."""
        if self._optimizer is None:
            for parameter in self._learned:
                parameter.requires_grad_(True)
            self._optimizer = torch.optim.SGD(self._learned, lr=self._lr, momentum=self._momentum)
        total = sum(each.numel() for each in targets)
        for part in self._forwards(inputs, total):
            hidden_1ND = self._model.hidden(
                torch.cat(list(inputs[part])).unsqueeze(0),
                looped=self._looped,
                cu_seqlens=segment_offsets(inputs[part]),
                max_len=max(each.numel() for each in inputs[part]),
                hooks=self._hooks,
            )
            losses = softcap_ce(
                self._model.raw_logits(hidden_1ND[0]), torch.cat(list(targets[part])), self._model.spec.softcap
            )
            (losses.sum() / total).backward()
        self._gather()
        torch.nn.utils.clip_grad_norm_(self._learned, self._grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * share
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def rest(self) -> None:
        """Freeze the weights and forget the momentum."""
        for parameter in self._learned:
            parameter.requires_grad_(False)
        self._optimizer = None

    def _forwards(self, inputs: Sequence[Int[Tensor, " _"]], total: int) -> Sequence[slice]:
        """The pieces of each forward of a step of ``total`` targets."""
        return list(parts(inputs, self._batch_tokens))

    def _gather(self) -> None:
        """The step's gradient is whole when this returns."""


def parts(pieces: Sequence[Int[Tensor, " _"]], tokens: int) -> Iterator[slice]:
    """Consecutive pieces of at most ``tokens`` elements together; a longer piece is a part of its own."""
    first = held = 0
    for i, piece in enumerate(pieces):
        if i > first and held + piece.numel() > tokens:
            yield slice(first, i)
            first, held = i, 0
        held += piece.numel()
    yield slice(first, len(pieces))
