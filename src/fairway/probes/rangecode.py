"""A method's predictions as the model of a range coder, and the order in which a decoder can come by the targets.

A target can be decoded once every input that its prediction may depend on is known: all from its span's context up to
the token before it. What comes later in the span is filled with some token, so that each forward has the shape it
had when the span was scored, and row by row the same bits come out of a causal model, on the CPU at least.

Probabilities are the softmax of the logits in float64. The coder takes them to 24 bits and gives each token at least
one unit: with 8,192 tokens that costs at most 0.0007 bits a target, of the 3 to 5 that a target takes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import constriction
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fairway.errors import MalformedError, RefereeError
from fairway.probes.bitstream import Words
from fairway.score.steps import ScoreStep
from fairway.score.windows import document_extents


class Place(NamedTuple):
    """A target of a step."""

    span: int
    """Its span among the step's."""
    row: int
    """The row of logits that predicts it, among its span's."""
    position: int
    """In the stream."""


def known_at_first(lengths: Sequence[int]) -> bytearray:
    """One byte a position: 1 where a document's BOS stands, which its lengths tell."""
    known = bytearray(sum(lengths))
    for extent in document_extents(lengths):
        known[extent.begin] = 1
    return known


def rounds(step: ScoreStep, known: bytearray) -> list[list[Place]]:
    """Targets of a step in the order of decoding, those of one forward together; ``known`` then holds them all.

    At the last round every input of the step is known: an input that this round gave would have a target after it,
    which would then wait for another. ``RefereeError`` for spans that read what nothing before has told.
    """
    due = [span.start for span in step.spans]
    found: list[list[Place]] = []
    while any(at < span.stop for at, span in zip(due, step.spans, strict=True)):
        now = [
            Place(index, at - span.start, at)
            for index, (at, span) in enumerate(zip(due, step.spans, strict=True))
            if at < span.stop and known.find(b"\0", span.context, at) < 0
        ]
        if not now:
            raise RefereeError(f"a step of {len(step.spans)} spans reads inputs that no earlier target tells")
        for place in now:
            due[place.span] += 1
            known[place.position] = 1
        found.append(now)
    return found


def _model(logits_V: Float[Tensor, " V"]) -> Any:
    probabilities_V = logits_V.detach().to("cpu", torch.float64).softmax(-1).numpy()
    # Not to be left to constriction's default, which is to change.
    return constriction.stream.model.Categorical(probabilities_V, lazy=True, perfect=False)


class Writer:
    """Codes one token after another."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def put(self, token: int, logits_V: Float[Tensor, " V"]) -> None:
        """Code a token by its prediction."""
        self._encoder.encode(token, _model(logits_V))

    @property
    def words(self) -> Words:
        """The whole code."""
        words: Words = self._encoder.get_compressed()
        return words


class Reader:
    """Decodes them; what it decoded it codes again, which alone shows whether the code was that of these tokens."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._decoder = constriction.stream.queue.RangeDecoder(words)
        self._encoder = constriction.stream.queue.RangeEncoder()

    def take(self, logits_V: Float[Tensor, " V"]) -> int:
        """The next token, by its prediction; ``MalformedError`` for words that no coder wrote by this prediction."""
        model = _model(logits_V)
        try:
            token = int(self._decoder.decode(model))
        except (AssertionError, ValueError) as error:  # the former is how constriction tells of invalid words
            raise MalformedError(f"the code is not one that these predictions wrote: {error}") from error
        self._encoder.encode(token, model)
        return token

    def finish(self) -> None:
        """``MalformedError`` unless the code ends here: a decoder reads on past the end, and stops early, unasked."""
        if not np.array_equal(self._encoder.get_compressed(), self._words):
            raise MalformedError(
                f"the decoded tokens, coded again, are not the {len(self._words)} words that they were decoded from"
            )
