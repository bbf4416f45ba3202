"""What the decode proof encodes: beginnings of documents, few enough to decode one token after another.

A decoder repeats the forward of a whole step for each target that must wait for another, so the proof's cost is
counted in inputs of forwards. The first documents of those that are spread evenly over the stream are cut short, by
lengths that differ, so that they end in different chunks of an evaluation; there are as many and as long ones as fit.

A method that learns after 2,000 documents, or after a chunk of 32,768 tokens, would never learn here. Such numbers of
the recipe are lowered until it does, and the proof tells which.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.errors import DataError, RecipeError
from fairway.probes.rangecode import known_at_first, rounds
from fairway.score.steps import LearnStep, PlanStep
from fairway.score.windows import document_extents
from fairway.spec.score import ChunkPasses, ChunkSgd, DocumentLora, PhasedSgd, ScoreSpec, Sliding

CAPS = (512, 384, 256, 192, 160, 128, 96, 64)
"""Tokens of the longest documents, tried one after another."""
_SHARES = (4, 3, 2)
"""Quarters of the cap that documents are cut to, in turn."""
_WINDOW, _STRIDE, _CHUNK_WINDOWS, _BATCH_WINDOWS = 64, 16, 2, 4
"""Of methods with overlapping windows, whose targets must wait for each other."""

Plan = Callable[[ScoreSpec, Sequence[int]], Iterable[PlanStep]]
"""The plan of a method of evaluation for documents of such lengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Beginnings of documents, and the settings that they are scored with."""

    tokens_N: Int[Tensor, " N"]
    lengths: tuple[int, ...]
    score: ScoreSpec
    forward_tokens: int
    """Inputs of all forwards of a decoder."""
    updates: int

    @property
    def targets(self) -> int:
        """How many tokens are scored."""
        return self.tokens_N.numel() - 1


def excerpt(
    tokens_N: Int[Tensor, " N"],
    lengths: Sequence[int],
    score: ScoreSpec,
    plan: Plan,
    *,
    documents: int,
    forward_tokens: int,
) -> Excerpt:
    """At most ``documents`` beginnings that a decoder needs at most ``forward_tokens`` for, updates among them.

    Fewer documents rather than shorter ones than ``CAPS`` has; rather more forwards than no update of some kind; and
    no such update only where documents are too short for it. ``DataError`` if the stream has no document of two tokens,
    or the method no plan for so few.
    """
    places = [extent.begin for extent in document_extents(lengths)]
    usable = [i for i, length in enumerate(lengths) if length > 1]
    if not usable or documents < 1:
        raise DataError(
            f"{len(usable)} documents of two tokens or more, {documents} asked for; both must be at least 1"
        )
    best: tuple[int, int] | None = None
    found: Excerpt | None = None
    count = min(documents, len(usable))
    while count:
        chosen = [usable[k * len(usable) // count] for k in range(count)]
        for cap in CAPS:
            cut = tuple(min(lengths[i], cap * _SHARES[k % 3] // 4) for k, i in enumerate(chosen))
            fitted = lowered(score, documents=count)
            try:
                steps = tuple(plan(fitted, cut))
            except RecipeError:  # too few documents for the method's phases
                continue
            learned = [step.what for step in steps if isinstance(step, LearnStep)]
            cost = decoder_tokens(steps, cut)
            rank = (len(kinds_of(score) - set(learned)), max(cost, forward_tokens))
            if best is not None and rank >= best:
                continue
            best = rank
            found = Excerpt(
                tokens_N=torch.cat(
                    [tokens_N[places[i] : places[i] + size] for i, size in zip(chosen, cut, strict=True)]
                ).to("cpu", torch.int64),
                lengths=cut,
                score=fitted,
                forward_tokens=cost,
                updates=len(learned),
            )
            if rank == (0, forward_tokens):
                return found
        count //= 2
    if found is None:
        raise DataError(f"the method cannot be planned for any beginnings of the {len(usable)} documents")
    return found


def kinds_of(score: ScoreSpec) -> set[str]:
    """Kinds of updates that the method is made of."""
    match score.method:
        case DocumentLora():
            return {"lora"}
        case PhasedSgd():
            return {"lora", "sgd"}
        case ChunkSgd() | ChunkPasses():
            return {"sgd"}
        case _:
            return set()


def decoder_tokens(steps: Iterable[PlanStep], lengths: Sequence[int]) -> int:
    """Inputs of all forwards that decode a plan's targets."""
    known = known_at_first(lengths)
    return sum(
        len(rounds(step, known)) * sum(span.inputs for span in step.spans)
        for step in steps
        if not isinstance(step, LearnStep)
    )


def lowered(score: ScoreSpec, *, documents: int) -> ScoreSpec:
    """The settings with which the method does all that it does, updates too, on so few and short documents."""
    method = score.method
    if isinstance(method, DocumentLora):
        return replace(score, method=_four_batches(method, documents))
    if isinstance(method, PhasedSgd):
        lora = _four_batches(method.lora, documents)
        batches = -(-documents // lora.batch_docs)
        prefix = max(1, min(method.prefix_docs, documents - lora.batch_docs))
        phases = max(1, min(method.phases, batches - 1, prefix))
        return replace(score, method=replace(method, lora=lora, prefix_docs=prefix, phases=phases))
    if not isinstance(method, Sliding | ChunkSgd | ChunkPasses):
        return score
    context, stride = score.context, method.stride
    if context > _WINDOW:
        stride = min(stride, _STRIDE)
        context = _WINDOW // _STRIDE * stride
    if isinstance(method, Sliding):
        method = replace(method, stride=stride)
    else:
        chunk_tokens = min(method.chunk_tokens, _CHUNK_WINDOWS * context)
        method = replace(method, stride=stride, chunk_tokens=chunk_tokens)
    batch_tokens = min(score.batch_tokens, _BATCH_WINDOWS * context)
    return replace(score, method=method, context=context, batch_tokens=batch_tokens)


def _four_batches(lora: DocumentLora, documents: int) -> DocumentLora:
    return replace(lora, batch_docs=max(1, min(lora.batch_docs, documents // 4)))


def differences(was: Mapping[str, object], now: Mapping[str, object], prefix: str = "score") -> list[str]:
    """Settings that differ, as ``score.method.prefix_docs 2000 -> 24``."""
    found: list[str] = []
    for key, value in was.items():
        path, other = f"{prefix}.{key}", now[key]
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += differences(value, other, path)
        elif value != other:
            found.append(f"{path} {value} -> {other}")
    return found
