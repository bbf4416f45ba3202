"""The order of scoring on the real path: what the referee cannot see by itself is measured here."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RecipeError
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import build_evaluator
from fairway.score.referee import Evaluator, check_plan
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, Method, PhasedSgd, ScoreSpec, Sliding

LENGTHS = (13, 1, 21, 7, 2, 18, 9)
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.05)
METHODS: dict[str, Method] = {
    "flat": Flat(),
    "sliding": Sliding(stride=3),
    "lora": LORA,
    "phased": PhasedSgd(lora=LORA, prefix_docs=4, phases=2, lr=0.05, chunk_tokens=16, context=8),
    "chunks": ChunkSgd(stride=5, chunk_tokens=20, epochs=2, lr=0.05, hash_rows=8),
}


def build(model: Any, method: Method, context: int = 10, batch_tokens: int = 24) -> Evaluator:
    spec = ScoreSpec(context=context, batch_tokens=batch_tokens, method=method, diagnostic=Flat(), budget_s=60.0)
    return build_evaluator(model, spec, method, seed=5, looped=True, ranks=Ranks(0, 1, torch.device("cpu")))


@pytest.mark.parametrize(("name", "every"), [("flat", 4), ("sliding", 5), ("lora", 9), ("phased", 11), ("chunks", 7)])
def test_changing_a_token_changes_no_loss_that_stands_earlier_on_the_ledger(
    name: str, every: int, model: Any, streams: Any, run_in_order: Any
) -> None:
    stream = streams(LENGTHS)
    losses, order = run_in_order(build(model, METHODS[name]), stream)
    again, _ = run_in_order(build(model, METHODS[name]), stream)
    assert torch.equal(losses, again)
    starts = {sum(LENGTHS[:i]) for i in range(len(LENGTHS))}
    ranks = [rank for rank, position in enumerate(order) if position not in starts]  # a BOS decides lengths: it stays
    for rank in ranks[1::every]:
        position = order[rank]
        changed, same_order = run_in_order(build(model, METHODS[name]), stream.changed_at(position))
        assert same_order == order
        assert torch.equal(changed[:rank], losses[:rank])
        assert changed[rank] != losses[rank]


def test_a_model_that_sees_its_target_is_found_out_by_the_same_measure(
    model: Any, streams: Any, run_in_order: Any
) -> None:
    class Peeking:
        """Knows the answers of a whole step from the inputs of its other spans."""

        def __init__(self) -> None:
            self.honest = build(model, Sliding(stride=3))
            self.plan, self.update = self.honest.plan, self.honest.update

        def predict(self, step: Any, inputs: Any) -> Any:
            return [logits + inputs[-1].sum() * torch.arange(24) * 1e-3 for logits in self.honest.predict(step, inputs)]

    stream = streams(LENGTHS)
    losses, order = run_in_order(Peeking(), stream)
    changed, _ = run_in_order(Peeking(), stream.changed_at(order[5]))
    assert not torch.equal(changed[:5], losses[:5])


@given(
    st.sampled_from(sorted(METHODS)),
    st.lists(st.integers(1, 40), min_size=1, max_size=9).filter(lambda lengths: sum(lengths) > 1),
    st.integers(1, 30),
    st.integers(1, 90),
    st.data(),
)
def test_every_plan_is_fair_and_whole(
    model: Any, name: str, lengths: list[int], context: int, batch_tokens: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, context))
    batch_docs = data.draw(st.integers(1, 4))
    lora = DocumentLora(rank=1, chunk=stride, batch_docs=batch_docs)
    phases = data.draw(st.integers(1, 3))
    phased = PhasedSgd(
        lora=lora,
        prefix_docs=data.draw(st.integers(phases, 8)),
        phases=phases,
        chunk_tokens=data.draw(st.integers(1, 50)),
        context=data.draw(st.integers(1, 20)),
    )
    methods: dict[str, Method] = {
        "flat": Flat(),
        "sliding": Sliding(stride=stride),
        "lora": lora,
        "phased": phased,
        "chunks": ChunkSgd(
            stride=data.draw(st.sampled_from([n for n in range(1, context + 1) if context % n == 0])),
            chunk_tokens=context * data.draw(st.integers(1, 4)),
        ),
    }
    evaluator = build(model, methods[name], context=context, batch_tokens=batch_tokens)
    try:
        steps = list(evaluator.plan(lengths))
    except RecipeError:
        assert name == "phased"
        return
    check_plan(steps, lengths)
    assert steps == list(evaluator.plan(lengths))
