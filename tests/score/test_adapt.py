import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fairway.model.adapters import LoraBank
from fairway.runtime.seeding import generator
from fairway.score.adapt import LoraAdamW, LoraEvaluator
from fairway.score.flat import FlatEvaluator
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import document_chunks, document_extents, length_batches
from fairway.spec.score import DocumentLora

LENGTHS = (13, 1, 22, 7, 2, 15, 14)
LORA = DocumentLora(rank=2, chunk=4, batch_docs=3, lr=0.02, beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.5)
CONTEXT, SEED = 10, 3


def evaluator(model: Any, **changes: Any) -> LoraEvaluator:
    return LoraEvaluator(model, replace(LORA, **changes), context=CONTEXT, looped=True, seed=SEED)


def windowwise(model: Any, stream: Any) -> Tensor:
    """Frozen weights, each chunk with its context, one forward each, whole head."""
    losses = []
    for extent in document_extents(stream.lengths):
        for span in document_chunks(extent, LORA.chunk, CONTEXT):
            row = stream.tokens[span.context : span.stop].long()
            logits = model(row[None, :-1], looped=True)[0]
            losses.append(functional.cross_entropy(logits, row[1:], reduction="none")[-span.targets :])
    return torch.cat(losses)


def test_without_a_rate_the_score_is_that_of_frozen_weights(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    losses = run_by_target(evaluator(model, lr=0.0), stream)
    torch.testing.assert_close(losses, windowwise(model, stream), rtol=1e-5, atol=1e-5)


def test_without_a_rate_documents_that_fit_the_context_score_as_flat(
    model: Any, streams: Any, run_by_target: Any
) -> None:
    stream = streams(LENGTHS)
    adapted = LoraEvaluator(model, replace(LORA, lr=0.0), context=32, looped=True, seed=SEED)
    flat = FlatEvaluator(model, context=32, batch_tokens=64, looped=True)
    torch.testing.assert_close(run_by_target(adapted, stream), run_by_target(flat, stream), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"beta1": 0.0}, {"alpha": 6.0, "slot_lr_slope": 0.5}, {"b_lr_ratio": 3.0}, {"optimizer": "adam"}],
    ids=str,
)
def test_a_document_in_a_batch_learns_as_it_would_alone(
    changes: dict[str, Any], model: Any, streams: Any, run_by_target: Any
) -> None:
    """The slow twin: one document at a time, torch's own optimizer, a full head, nothing dropped or reused."""
    spec = replace(LORA, **changes)
    stream = streams(LENGTHS)
    losses = run_by_target(LoraEvaluator(model, spec, context=CONTEXT, looped=True, seed=SEED), stream)
    extents = document_extents(LENGTHS)
    expected = torch.zeros_like(losses)
    for number, batch in enumerate(length_batches(extents, spec.batch_docs)):
        drawn = LoraBank(model.spec, documents=len(batch), rank=spec.rank, looped=True, alpha=spec.alpha)
        drawn.reset(generator(SEED, f"lora.{number}"))
        for row, document in enumerate(batch):
            bank = LoraBank(model.spec, documents=1, rank=spec.rank, looped=True, alpha=spec.alpha)
            with torch.no_grad():
                for mine, of_batch in zip(bank.parameters(), drawn.parameters(), strict=True):
                    mine.copy_(of_batch[row : row + 1])
            rates = bank.lr_multipliers(spec.slot_lr_slope)
            rates = [rate * (spec.b_lr_ratio if i >= len(rates) // 2 else 1.0) for i, rate in enumerate(rates)]
            kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(
                [
                    {"params": [parameter], "lr": spec.lr * rate}
                    for parameter, rate in zip(bank.parameters(), rates, strict=True)
                ],
                betas=(spec.beta1, spec.beta2),
                eps=spec.eps,
                weight_decay=spec.weight_decay,
            )
            for span in document_chunks(extents[document], spec.chunk, CONTEXT):
                window = stream.tokens[span.context : span.stop].long()
                logits = model(window[None, :-1], looped=True, hooks=bank.hooks())[0]
                nats = functional.cross_entropy(logits, window[1:], reduction="none")[-span.targets :]
                expected[span.start - 1 : span.stop - 1] = nats.detach()
                optimizer.zero_grad()
                nats.mean().backward()
                optimizer.step()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    assert (losses - windowwise(model, stream)).abs().max() > 0.01


def test_what_the_adapters_read_goes_on_from_batch_to_batch_where_the_recipe_says_so(
    model: Any, streams: Any, run_by_target: Any
) -> None:
    stream, extents = streams(LENGTHS), document_extents(LENGTHS)
    fresh, kept = (run_by_target(evaluator(model, keep_a=keep), stream) for keep in (False, True))
    first = {p - 1 for i in length_batches(extents, LORA.batch_docs)[0] for p in range(*_targets(extents[i]))}
    others = [p for p in range(len(fresh)) if p not in first]
    assert torch.equal(fresh[sorted(first)], kept[sorted(first)])
    assert (fresh[others] != kept[others]).any()


def _targets(extent: Any) -> tuple[int, int]:
    return extent.begin + 1, extent.end + 1


def test_a_bank_goes_on_with_the_a_of_another_as_far_as_both_have_documents(model: Any) -> None:
    small, large = (LoraBank(model.spec, documents=documents, rank=2, looped=True) for documents in (2, 3))
    small.reset(generator(1, "small"))
    large.reset(generator(1, "large"))
    drawn = {site: a.detach().clone() for site, a in large.a_BRI.items()}
    large.take_a(small)
    for site, a in large.a_BRI.items():
        assert torch.equal(a[:2], small.a_BRI[site]) and torch.equal(a[2:], drawn[site][2:])
        assert not large.b_BOR[site].any()


def test_a_plan_learns_from_a_chunk_only_where_its_document_goes_on(model: Any) -> None:
    steps = list(evaluator(model).plan(LENGTHS))
    ends = {extent.end + 1 for extent in document_extents(LENGTHS)}
    scored: list[tuple[int, int]] = []
    for before, step in zip([None, *steps], steps, strict=False):
        if isinstance(step, ScoreStep):
            scored += [(span.start, span.stop) for span in step.spans]
        else:
            assert isinstance(before, ScoreStep)
            assert step.spans == tuple((span.start, span.stop) for span in before.spans[: before.learns])
    learned = list(chain.from_iterable(step.spans for step in steps if isinstance(step, LearnStep)))
    assert sorted(learned) == sorted(span for span in scored if span[1] not in ends)


def test_the_base_is_not_touched_and_gets_no_gradient(model: Any, streams: Any, run_by_target: Any) -> None:
    before = copy.deepcopy(model.state_dict())
    run_by_target(evaluator(model), streams(LENGTHS))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_last_chunk_of_a_document_is_predicted_without_a_graph(model: Any, streams: Any) -> None:
    stream = streams(LENGTHS)
    method = evaluator(model)
    for step in method.plan(LENGTHS):
        if isinstance(step, ScoreStep):
            method.predict(step, [stream.tokens[span.context : span.stop - 1].long() for span in step.spans])
            kept = method._raw_logits_BCV
            assert (kept is None) == (step.learns == 0)
            assert kept is None or (kept.requires_grad and kept.shape[0] == step.learns)
        else:
            method.update(step, [], [stream.tokens[start:stop].long() for start, stop in step.spans])


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_the_optimizer_is_adamw_for_every_document_by_itself(beta1: float) -> None:
    spec = DocumentLora(beta1=beta1, beta2=0.99, eps=1e-10, weight_decay=0.5)
    source = torch.Generator().manual_seed(0)

    def draw(documents: int) -> list[Tensor]:
        return [torch.randn(documents, *shape, generator=source) for shape in ((3, 4), (5, 3))]

    ours = draw(3)
    theirs = [[tensor[i].clone().requires_grad_() for tensor in ours] for i in range(3)]
    rates = [1e-2, 3e-2]
    optimizers = [
        torch.optim.AdamW(
            [{"params": [parameter], "lr": rate} for parameter, rate in zip(parameters, rates, strict=True)],
            betas=(beta1, spec.beta2),
            eps=spec.eps,
            weight_decay=spec.weight_decay,
        )
        for parameters in theirs
    ]
    adam = LoraAdamW(ours, rates, spec)

    def take_steps(documents: int, parts: Sequence[Tensor]) -> None:
        for _ in range(4):
            gradients = draw(documents)
            adam.step(parts, gradients)
            for i in range(documents):
                for parameter, gradient in zip(theirs[i], gradients, strict=True):
                    parameter.grad = gradient[i].clone()
                optimizers[i].step()

    take_steps(3, ours)
    adam.keep(2)
    take_steps(2, [tensor[:2] for tensor in ours])
    for i in range(3):
        for mine, their in zip(ours, theirs[i], strict=True):
            torch.testing.assert_close(mine[i], their.detach(), rtol=1e-5, atol=1e-6)
