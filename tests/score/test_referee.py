import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fairway.errors import DataError, RefereeError
from fairway.runtime.events import EventLog, read_events
from fairway.score.bpb import Tally
from fairway.score.budget import Watch
from fairway.score.ledger import Ledger, plan_line
from fairway.score.referee import Referee, check_plan, plan_sha256
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span, document_extents, document_rows

VOCAB = 16
LENGTHS = (5, 3, 6)
TOKENS = torch.tensor([1, 4, 5, 6, 7, 1, 8, 9, 1, 10, 11, 12, 13, 14])
BYTES = torch.tensor([0, 1, 2, 3, 4, 0, 2, 2, 0, 1, 1, 1, 1, 5], dtype=torch.int32)


class Uniform:
    """Predicts every token alike, learns each row after its score, and notes what it was handed."""

    def __init__(self) -> None:
        self.handed: list[tuple[str, list[int]]] = []

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        for extent in document_extents(lengths):
            for row in document_rows(extent, 4):
                yield ScoreStep((row,), learns=1)
                yield LearnStep("lora", ((row.start, row.stop),))

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        self.handed += [("inputs", each.tolist()) for each in inputs]
        return [torch.zeros(span.targets, VOCAB) for span in step.spans]

    def update(self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        self.handed += [("learned inputs", each.tolist()) for each in inputs]
        self.handed += [("targets", each.tolist()) for each in targets]


def run(method: Uniform, path: Path | None = None, events: Path | None = None) -> Tally:
    with Ledger(path) as ledger, EventLog(events, stage="evaluate") as log:
        return Referee(TOKENS, BYTES, LENGTHS).run(
            method, ledger, settings={"kind": "uniform"}, artifact_sha256="a" * 64, watch=Watch(1e9, log)
        )


def test_uniform_predictions_cost_the_logarithm_of_the_vocabulary() -> None:
    tally = run(Uniform())
    assert math.isclose(tally.loss_nats, math.log(VOCAB), rel_tol=1e-6)
    assert tally.tokens == len(TOKENS) - 1
    assert tally.size_bytes == int(BYTES.sum())


def test_a_method_is_handed_inputs_first_and_targets_after_their_score() -> None:
    method = Uniform()
    run(method)
    assert method.handed == [
        ("inputs", [1, 4, 5, 6]),
        ("learned inputs", [1, 4, 5, 6]),
        ("targets", [4, 5, 6, 7]),
        ("inputs", [7]),
        ("learned inputs", [7]),
        ("targets", [1]),
        ("inputs", [1, 8, 9]),
        ("learned inputs", [1, 8, 9]),
        ("targets", [8, 9, 1]),
        ("inputs", [1, 10, 11, 12]),
        ("learned inputs", [1, 10, 11, 12]),
        ("targets", [10, 11, 12, 13]),
        ("inputs", [13]),
        ("learned inputs", [13]),
        ("targets", [14]),
    ]


def test_handed_tensors_give_no_way_to_the_stream_around_them() -> None:
    class Grasping(Uniform):
        def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            assert all(each.untyped_storage().nbytes() == each.nbytes for each in inputs)
            inputs[0].fill_(3)
            return super().predict(step, inputs)

    run(Grasping())


def test_the_ledger_says_what_was_scored_and_learned_in_order(tmp_path: Path) -> None:
    tally = run(Uniform(), tmp_path / "ledger.jsonl", tmp_path / "events.jsonl")
    seen = [event["targets"] for event in read_events(tmp_path / "events.jsonl") if event["event"] == "scored"]
    entries = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [entry["kind"] for entry in entries] == ["open", *["score", "learn"] * 5, "close"]
    opening, first, learned, close = entries[0], entries[1], entries[2], entries[-1]
    assert (opening["documents"], opening["targets"]) == (3, 13)
    assert opening["method"] == {"kind": "uniform"}
    assert first["spans"][0][:3] == [0, 1, 5]
    assert first["spans"][0][4] == 1 + 2 + 3 + 4
    assert learned["what"] == "lora"
    assert learned["spans"] == [[1, 5]]
    rows = [row for entry in entries if entry["kind"] == "score" for row in entry["spans"]]
    assert close["nats"] == math.fsum(row[3] for row in rows) == tally.nats
    assert close["bytes"] == sum(row[4] for row in rows)
    assert close["targets"] == seen[-1] == 13


def test_the_digest_of_the_plan_can_be_recomputed_from_the_ledger(tmp_path: Path) -> None:
    run(Uniform(), tmp_path / "ledger.jsonl")
    digest = hashlib.sha256()
    for line in (tmp_path / "ledger.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "open":
            claimed = entry["plan_sha256"]
        elif entry["kind"] == "score":
            digest.update(plan_line("score", [row[:3] for row in entry["spans"]]).encode())
        elif entry["kind"] == "learn":
            digest.update(plan_line("learn", entry["spans"], entry["what"]).encode())
    assert claimed == digest.hexdigest() == plan_sha256(Uniform().plan(LENGTHS))


class LearnsFirst(Uniform):
    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        score, learn, *rest = super().plan(lengths)
        return [learn, score, *rest]


class ScoresTwice(Uniform):
    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        steps = list(super().plan(lengths))
        return [*steps, steps[0]]


class SkipsOne(Uniform):
    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        *rest, score, _ = super().plan(lengths)
        return rest


class PlansByContent(Uniform):
    """Once it has read the stream, it wants the easy documents first."""

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        steps = list(super().plan(lengths))
        heard = sum(sum(values) for _, values in self.handed)
        return steps[4:] + steps[:4] if heard % 2 or heard > 50 else steps


class ReadsAhead(Uniform):
    """Scores the end of a document before its middle, which it has then already read."""

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        (first, second), *others = (list(document_rows(extent, 4)) for extent in document_extents(lengths))
        whole = Span(first.context, second.start, second.stop)
        return [ScoreStep((span,)) for span in [whole, first, *(row for rows in others for row in rows)]]


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        (LearnsFirst, "learns from target 1 before it is scored"),
        (ScoresTwice, "target 1 is scored twice"),
        (SkipsOne, "target 13 is never scored"),
        (PlansByContent, "another plan"),
        (ReadsAhead, "reads input 1, which was not scored before"),
    ],
)
def test_a_cheat_is_refused_and_leaves_no_ledger(cheat: type[Uniform], reason: str, tmp_path: Path) -> None:
    method = cheat()
    with pytest.raises(RefereeError, match=reason):
        run(method, tmp_path / "ledger.jsonl")
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize("cheat", [LearnsFirst, ScoresTwice, SkipsOne, ReadsAhead])
def test_an_unfair_plan_is_refused_before_any_token_is_handed_out(cheat: type[Uniform]) -> None:
    method = cheat()
    with pytest.raises(RefereeError):
        run(method)
    assert method.handed == []


def test_a_plan_that_is_read_lazily_is_whole_before_the_first_prediction() -> None:
    class Lazy(Uniform):
        def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
            for step in super().plan(lengths):
                assert not self.handed or self.done
                yield step

        done = False

        def update(self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
            super().update(step, inputs, targets)
            self.done = targets[0].tolist() == [14]

    run(Lazy())


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([ScoreStep((Span(0, 0, 3),))], "must hold 0 <= context < start"),
        ([ScoreStep((Span(0, 3, 3),))], "must hold"),
        ([ScoreStep((Span(-1, 1, 3),))], "must hold"),
        ([ScoreStep((Span(0, 1, 15),))], "must hold"),
        ([ScoreStep(())], "has no span"),
        ([LearnStep("sgd", ((0, 3),))], "must lie in 1..13"),
        ([LearnStep("sgd", ((13, 15),))], "must lie in 1..13"),
        ([ScoreStep((Span(0, 1, 2), Span(0, 4, 5)))], "reads input 2"),
    ],
)
def test_a_malformed_plan_is_refused(steps: list[PlanStep], reason: str) -> None:
    with pytest.raises(RefereeError, match=reason):
        check_plan(steps, LENGTHS)


@pytest.mark.parametrize(
    ("logits", "reason"),
    [
        (lambda count: torch.zeros(count + 1, VOCAB), "must be"),
        (lambda count: torch.zeros(count, 14), "token 14 occurs"),
        (lambda count: torch.full((count, VOCAB), math.nan), "not finite"),
        (lambda count: torch.cat([torch.zeros(count, 4), torch.full((count, 12), -math.inf)], 1), "not finite"),
    ],
)
def test_logits_that_are_no_distribution_over_the_vocabulary_are_refused(
    logits: Callable[[int], Tensor], reason: str
) -> None:
    class Odd(Uniform):
        def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            return [logits(span.targets) for span in step.spans]

    with pytest.raises(RefereeError, match=reason):
        run(Odd())


@pytest.mark.parametrize("lengths", [(5, 3, 5), (14, 0), ()])
def test_lengths_that_are_not_the_streams_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="the stream has|bytes of text"):
        Referee(TOKENS, BYTES, lengths)


def test_a_stream_without_text_is_refused() -> None:
    with pytest.raises(DataError, match="0 bytes"):
        Referee(TOKENS, torch.zeros_like(BYTES), LENGTHS)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8).filter(lambda lengths: sum(lengths) > 1), st.integers(1, 9))
def test_rows_of_documents_are_a_fair_plan_in_any_order_of_documents(lengths: list[int], context: int) -> None:
    documents = [list(document_rows(extent, context)) for extent in document_extents(lengths)]
    steps = [ScoreStep((row,)) for rows in reversed(documents) for row in rows]
    check_plan(steps, lengths)
    with pytest.raises(RefereeError):
        check_plan(steps[:-1], lengths)
