import copy
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fairway.errors import RecipeError
from fairway.score.adapt import LoraEvaluator
from fairway.score.phases import PhasedEvaluator, phase_marks, sgd_steps
from fairway.score.sgd import BaseSgd, cosine_rate
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import document_extents
from fairway.spec.score import DocumentLora, PhasedSgd

LENGTHS = (13, 1, 30, 7, 2, 22, 15, 14, 9, 11)
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.01, eps=1e-4)
PHASED = PhasedSgd(
    lora=LORA, prefix_docs=6, phases=2, lr=0.05, momentum=0.9, chunk_tokens=24, context=10, grad_clip=1.0
)
SEED = 3


def evaluator(model: Any, batch_tokens: int = 32, **changes: Any) -> PhasedEvaluator:
    own, spec = copy.deepcopy(model), replace(PHASED, **changes)
    settings = {"lr": spec.lr, "momentum": spec.momentum, "grad_clip": spec.grad_clip}
    sgd = BaseSgd(own, **settings, batch_tokens=batch_tokens, looped=True)
    return PhasedEvaluator(own, spec, sgd, context=12, looped=True, seed=SEED)


def test_marks_are_those_of_the_published_runs() -> None:
    assert phase_marks(2000, 3) == [666, 1333, 2000]
    assert phase_marks(2500, 3) == [833, 1666, 2500]


def test_the_rate_falls_from_one_to_nothing() -> None:
    rates = [cosine_rate(step, 5) for step in range(5)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-15)
    assert cosine_rate(0, 1) == 1.0


@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.integers(1, 30), st.integers(1, 20))
def test_a_pass_takes_each_target_once_and_cuts_at_rows_and_documents(
    lengths: list[int], chunk_tokens: int, context: int
) -> None:
    extents = document_extents(lengths)
    steps = list(sgd_steps(extents, chunk_tokens=chunk_tokens, context=context))
    total = sum(lengths) - 1
    chunks = -(-total // chunk_tokens)
    assert [(step.step, step.steps) for step in steps] == [(i, chunks) for i in range(max(1, chunks - 1))]
    learned = list(chain.from_iterable(range(*span) for step in steps for span in step.spans))
    assert learned == list(range(1, total + 1))[: len(learned)]
    assert len(learned) == (chunk_tokens * (chunks - 1) if chunks > 1 else total)
    owner = [i for i, extent in enumerate(extents) for _ in range(extent.targets)]
    for step in steps:
        at = 0
        for start, stop in step.spans:
            assert len({owner[position - 1] for position in range(start, stop)}) == 1
            assert at // context == (at + stop - start - 1) // context
            at += stop - start


def test_a_pause_comes_after_the_batch_that_reaches_a_mark_and_takes_the_shortest_scored(model: Any) -> None:
    extents = document_extents(LENGTHS)
    scored: set[int] = set()
    passes: list[tuple[int, set[int]]] = []
    for step in evaluator(model, chunk_tokens=1000).plan(LENGTHS):
        if isinstance(step, ScoreStep):
            for span in step.spans:
                scored |= {i for i, extent in enumerate(extents) if extent.begin < span.start <= extent.end}
        elif step.what == "sgd":
            learned = {i for start, _ in step.spans for i, each in enumerate(extents) if each.begin < start <= each.end}
            passes.append((len(scored), learned))
            shortest = sorted(scored, key=lambda i: (extents[i].targets, i))
            assert learned == set(shortest[: len(learned)])
    # Ten documents with targets, in batches of 2: marks 3 and 6 are reached at 4 and 6.
    assert [(count, len(learned)) for count, learned in passes] == [(4, 3), (6, 6)]


def test_phases_that_would_never_come_are_refused(model: Any) -> None:
    with pytest.raises(RecipeError, match="1 of 2 phases would never come"):
        list(evaluator(model, prefix_docs=10).plan(LENGTHS))
    with pytest.raises(RecipeError, match="2 of 2 phases would never come"):
        list(evaluator(model, lora=replace(LORA, batch_docs=64)).plan(LENGTHS))


def test_without_a_rate_the_pauses_change_nothing(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    lora = LoraEvaluator(model, LORA, context=12, looped=True, seed=SEED)
    assert torch.equal(run_by_target(evaluator(model, lr=0.0), stream), run_by_target(lora, stream))


def test_a_pause_changes_the_scores_after_it_and_none_before(model: Any, streams: Any, run_in_order: Any) -> None:
    stream = streams(LENGTHS)
    moved, order = run_in_order(evaluator(model), stream)
    still, _ = run_in_order(evaluator(model, lr=0.0), stream)
    scored = 0
    for step in evaluator(model).plan(LENGTHS):
        if isinstance(step, ScoreStep):
            scored += sum(span.targets for span in step.spans)
        elif step.what == "sgd":
            break
    assert 0 < scored < len(order)
    assert torch.equal(moved[:scored], still[:scored])
    assert (moved[scored:] != still[scored:]).float().mean() > 0.9


def run_pass(method: PhasedEvaluator, stream: Any) -> list[LearnStep]:
    steps = [step for step in method.plan(LENGTHS) if isinstance(step, LearnStep) and step.what == "sgd"]
    first = steps[: 1 + next(i for i, step in enumerate(steps) if i + 1 == len(steps) or steps[i + 1].step == 0)]
    for step in first:
        method.update(
            step,
            [stream.tokens[start - 1 : stop - 1].long() for start, stop in step.spans],
            [stream.tokens[start:stop].long() for start, stop in step.spans],
        )
    return first


def state(method: PhasedEvaluator) -> dict[str, Tensor]:
    return dict(method._sgd._model.state_dict())


def test_a_pass_is_plain_sgd_on_the_mean_loss_of_each_chunk(model: Any, streams: Any) -> None:
    stream = streams(LENGTHS)
    method = evaluator(model)
    steps = run_pass(method, stream)
    assert len(steps) >= 2
    twin = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.SGD(twin.parameters(), lr=PHASED.lr, momentum=PHASED.momentum)
    for step in steps:
        losses = []
        for start, stop in step.spans:
            logits = twin(stream.tokens[None, start - 1 : stop - 1].long(), looped=True)[0]
            losses.append(torch.nn.functional.cross_entropy(logits, stream.tokens[start:stop].long(), reduction="none"))
        optimizer.zero_grad()
        torch.cat(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), PHASED.grad_clip)
        optimizer.param_groups[0]["lr"] = PHASED.lr * cosine_rate(step.step, step.steps)
        optimizer.step()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(state(method)[name], tensor, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(tensor, model.state_dict()[name]) for name, tensor in state(method).items())


def test_the_size_of_a_forward_changes_no_pass(model: Any, streams: Any) -> None:
    stream = streams(LENGTHS)
    small, large = evaluator(model, batch_tokens=1), evaluator(model, batch_tokens=1000)
    run_pass(small, stream)
    run_pass(large, stream)
    for name, tensor in state(small).items():
        torch.testing.assert_close(tensor, state(large)[name], rtol=1e-4, atol=1e-5)


def test_the_base_is_frozen_again_after_a_pass(model: Any, streams: Any) -> None:
    method = evaluator(model)
    run_pass(method, streams(LENGTHS))
    assert method._sgd._optimizer is None
    for parameter in method._sgd._model.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
