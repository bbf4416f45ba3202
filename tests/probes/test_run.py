"""On how many documents, of which artifact, and by which code."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from fairway.errors import DataError, RecipeError
from fairway.probes import run
from fairway.probes.result import DecodeResult, ProbeResult, StreamFacts, as_json, judged, not_applicable
from fairway.probes.run import code_of, sample
from fairway.probes.stream import Stream, make_stream
from fairway.recipes.load import load_recipe
from fairway.records.code import package_code
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, Method, PhasedSgd, ScoreSpec


def documents(count: int, tokens: int) -> Stream:
    tokens_N = torch.full((count * tokens,), 5)
    tokens_N[::tokens] = 1
    return make_stream(tokens_N, torch.ones_like(tokens_N), vocab_size=9, bos=1)


def spec(method: Method) -> ScoreSpec:
    return ScoreSpec(context=16, batch_tokens=64, method=method, diagnostic=Flat(), budget_s=1.0)


def plan_that_learns(after: int, refuses_below: int = 0) -> Callable[[Sequence[int]], list[PlanStep]]:
    """Learns after so many documents, if there are more."""

    def plan(lengths: Sequence[int]) -> list[PlanStep]:
        if len(lengths) < refuses_below:
            raise RecipeError("phases would never come")
        steps: list[PlanStep] = [ScoreStep((Span(0, 1, 2),)) for _ in lengths]
        if len(lengths) > after:
            steps.insert(after, LearnStep("sgd", ((1, 2),)))
        return steps

    return plan


@pytest.mark.parametrize(("after", "count"), [(5, 32), (31, 32), (32, 48), (60, 72), (90, 100), (500, 100)])
def test_as_few_documents_as_let_the_method_learn_and_score_thereafter(after: int, count: int) -> None:
    whole = documents(100, 40)
    found = sample(whole, spec(ChunkSgd(stride=4, chunk_tokens=16)), plan_that_learns(after), None)
    assert len(found.lengths) == (32 if after == 500 else count)


def test_as_many_documents_as_the_plan_needs() -> None:
    lora = DocumentLora(rank=1, chunk=4)
    phased = spec(PhasedSgd(lora=lora, prefix_docs=5, phases=1))
    found = sample(documents(80, 40), phased, plan_that_learns(50, refuses_below=60), None)
    assert len(found.lengths) == 72
    assert found.lengths[:5] == (5, 10, 12, 20, 5)  # around a chunk, some chunks, more than a context
    with pytest.raises(RecipeError, match="never come"):
        sample(documents(30, 40), phased, plan_that_learns(50, refuses_below=60), None)
    with pytest.raises(RecipeError, match="never come"):
        sample(documents(80, 40), phased, plan_that_learns(50, refuses_below=60), 40)
    with pytest.raises(DataError, match="--documents must be 1 or more, got 0"):
        sample(documents(80, 40), phased, plan_that_learns(50), 0)


def test_the_code_is_a_program_only_if_it_is_made_of_the_modules_that_are_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "build_readable", lambda resolved: "one program\n")
    (tmp_path / "train_gpt.py").write_bytes(b"packed")
    (tmp_path / "train_gpt_source.py").write_text("one program\n")
    resolved = load_recipe("tiny")
    assert code_of(tmp_path, resolved) == (hashlib.sha256(b"packed").hexdigest(), 6)
    (tmp_path / "train_gpt_source.py").write_text("another program\n")
    assert code_of(tmp_path, resolved) == package_code()
    (tmp_path / "train_gpt_source.py").unlink()
    assert code_of(tmp_path, resolved) == package_code()


def test_a_verdict_follows_from_its_numbers() -> None:
    def verdict(measured: float, limit: float, **more: object) -> str:
        return judged("order", measured, limit, unit="faults", because="", **({"samples": 1} | more)).verdict

    assert verdict(0.0, 0.0) == "passed" and verdict(0.1, 0.0) == "failed"
    assert verdict(2.0, 1.0, at_least=True) == "passed" and verdict(0.5, 1.0, at_least=True) == "failed"
    assert verdict(0.0, 0.0, samples=0) == "not-applicable" and verdict(0.0, 0.0, fault="another plan") == "failed"


def test_a_result_names_what_failed_and_holds_finite_numbers_alone() -> None:
    proof = DecodeResult(
        verdict="failed",
        documents=1,
        targets=3,
        stream_bits=40,
        ledger_bits=20.0,
        limit_bits=84.0,
        identical=False,
        because="",
    )
    result = ProbeResult(
        recipe_sha256="a",
        code_sha256="b",
        artifact_sha256="c",
        seed=1,
        method={"kind": "flat"},
        stream=StreamFacts(source="validation", tokens_sha256="d", documents=1, targets=3),
        device="cpu",
        noise_floor=0.0,
        seconds=1.0,
        probes=[
            not_applicable("zero-rate", "learns nothing"),
            judged("order", 1.0, 0.0, unit="faults", samples=3, because="one"),
        ],
        decode=proof,
    )
    assert result.failed == ["order", "decode"]
    assert '"format": "fairway-probe/1"' in as_json(result)
