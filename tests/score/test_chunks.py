import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from fairway.errors import RecipeError
from fairway.runtime.ranks import Ranks
from fairway.score.chunks import HASH_MULTIPLIER, ChunkEvaluator, HashTable
from fairway.score.evaluate import build_evaluator
from fairway.score.sgd import cosine_rate
from fairway.score.sliding import SlidingEvaluator
from fairway.score.steps import LearnStep, ScoreStep
from fairway.spec.score import ChunkSgd, Flat, ScoreSpec

LENGTHS = (13, 1, 30, 7, 2, 22, 15)
CONTEXT, STRIDE, CHUNK = 10, 5, 20
CHUNKS = ChunkSgd(stride=STRIDE, chunk_tokens=CHUNK, epochs=2, lr=0.05, momentum=0.9, grad_clip=1.0)


def evaluator(model: Any, batch_tokens: int = 32, **changes: Any) -> ChunkEvaluator:
    method = replace(CHUNKS, **changes)
    spec = ScoreSpec(context=CONTEXT, batch_tokens=batch_tokens, method=method, diagnostic=Flat(), budget_s=60.0)
    found = build_evaluator(model, spec, method, seed=0, looped=True, ranks=Ranks(0, 1, torch.device("cpu")))
    assert isinstance(found, ChunkEvaluator)
    return found


def test_published_sizes_give_the_published_counts_of_chunks(model: Any) -> None:
    """1,238 chunks of the sp8192 stream (recipes H); the last of them is scored and not learned from."""
    published = ChunkSgd()
    spec = ScoreSpec(context=2048, batch_tokens=65_536, method=published, diagnostic=Flat(), budget_s=600.0)
    method = build_evaluator(model, spec, published, seed=0, looped=True, ranks=Ranks(0, 1, torch.device("cpu")))
    chunks = {step.step for step in method.plan([40_540_160 + 1]) if isinstance(step, LearnStep)}
    assert chunks == set(range(1237))


def test_without_a_rate_the_score_is_that_of_sliding_windows(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    sliding = SlidingEvaluator(model, context=CONTEXT, stride=STRIDE, batch_tokens=32, looped=True)
    for changes in ({"lr": 0.0}, {"lr": 0.0, "hash_rows": 8}, {"epochs": 0}):
        torch.testing.assert_close(
            run_by_target(evaluator(model, **changes), stream), run_by_target(sliding, stream), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("hash_rows", [0, 8])
def test_a_chunk_is_learned_from_as_plain_sgd_would(
    hash_rows: int, model: Any, streams: Any, run_by_target: Any
) -> None:
    """The slow twin: one window at a time, torch's own optimizer over one batch of rows, nothing packed."""
    stream = streams(LENGTHS)
    losses = run_by_target(evaluator(model, hash_rows=hash_rows), stream)
    twin = copy.deepcopy(model).requires_grad_(True)
    table = torch.zeros(max(hash_rows, 1), twin.spec.width, requires_grad=True)
    learned = [*twin.parameters(), *([table] if hash_rows else [])]
    hooks = {}
    if hash_rows:
        hooks = {"hooks": HashTable(twin, hash_rows).hooks}
        table = hooks["hooks"].enter.__self__.rows_HD
        learned[-1] = table
    optimizer = torch.optim.SGD(learned, lr=CHUNKS.lr, momentum=CHUNKS.momentum)
    targets = len(stream.tokens) - 1
    chunks = -(-targets // CHUNK)
    expected = torch.zeros(targets)
    done = 0
    for chunk in range(chunks):
        while done < targets and done // CHUNK == chunk:
            begin = max(0, done - (CONTEXT - STRIDE))
            end = min(begin + CONTEXT, targets)
            with torch.no_grad():
                logits = twin(stream.tokens[None, begin:end].long(), looped=True, **hooks)[0]
            nats = functional.cross_entropy(logits, stream.tokens[begin + 1 : end + 1].long(), reduction="none")
            expected[done:end] = nats[done - begin :]
            done = end
        if chunk == chunks - 1:
            break
        rows = stream.tokens[chunk * CHUNK : (chunk + 1) * CHUNK + 1].long()
        for _ in range(CHUNKS.epochs):
            optimizer.param_groups[0]["lr"] = CHUNKS.lr * cosine_rate(chunk, chunks)
            optimizer.zero_grad()
            logits = twin(rows[:-1].view(-1, CONTEXT), looped=True, **hooks)
            functional.cross_entropy(logits.flatten(0, 1), rows[1:]).backward()
            torch.nn.utils.clip_grad_norm_(learned, CHUNKS.grad_clip)
            optimizer.step()
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-3)
    still = run_by_target(evaluator(model, lr=0.0), stream)
    assert torch.equal(losses[:CHUNK], still[:CHUNK]) and (losses[CHUNK:] - still[CHUNK:]).abs().max() > 0.01


def test_the_hash_is_of_the_token_and_the_one_before_it_in_its_piece(model: Any) -> None:
    table = HashTable(model, 16)
    with torch.no_grad():
        table.rows_HD.copy_(torch.arange(16.0)[:, None].expand(16, model.spec.width))
    tokens, positions = torch.tensor([[5, 9, 7, 3]]), torch.tensor([0, 1, 0, 1])
    x = table.enter(tokens, positions, torch.zeros(1, 4, model.spec.width))
    before = [0, 5, 0, 7]
    due = [(HASH_MULTIPLIER * a + b) % 16 for a, b in zip(before, [5, 9, 7, 3], strict=True)]
    assert x[0, :, 0].tolist() == [float(row) for row in due]


def test_every_window_of_a_chunk_comes_before_its_rows_are_learned_from(model: Any) -> None:
    scored = set()
    for step in evaluator(model).plan(LENGTHS):
        if isinstance(step, ScoreStep):
            scored |= {p for span in step.spans for p in range(span.start, span.stop)}
        else:
            assert {p for start, stop in step.spans for p in range(start, stop)} <= scored
            assert max(scored) <= (step.step + 1) * CHUNK


@pytest.mark.parametrize("changes", [{"chunk_tokens": 25}, {"stride": 4}])
def test_sizes_by_which_a_chunk_would_be_learned_before_it_is_scored_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises((ValueError, RecipeError), match="must be a multiple of context"):
        ScoreSpec(context=CONTEXT, batch_tokens=32, method=replace(CHUNKS, **changes), diagnostic=Flat(), budget_s=60.0)
