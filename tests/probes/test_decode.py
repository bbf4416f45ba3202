import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fairway.data.batches import Batch
from fairway.errors import DataError, MalformedError, RefereeError
from fairway.machine.sandbox import find_walls
from fairway.main import Run
from fairway.model.gpt import Gpt
from fairway.probes import decode as proof
from fairway.probes.bitstream import Bitstream, from_bytes, to_bytes
from fairway.probes.decode import compared, decode_proof, encode
from fairway.probes.decoder import FILLER, decode, main
from fairway.probes.excerpt import decoder_tokens, excerpt, kinds_of, lowered
from fairway.probes.rangecode import Reader, Writer, known_at_first, rounds
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.recipes.load import Resolved, digest, load_recipe, write_resolved
from fairway.recipes.locate import recipe_names
from fairway.runtime.files import sha256_file
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import build_evaluator
from fairway.score.referee import Evaluator, check_plan
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import Span
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.quant import Nearest, NoRotation
from fairway.spec.recipe import Recipe
from fairway.spec.score import (
    AheadPasses,
    ChunkPasses,
    ChunkSgd,
    DocumentLora,
    Flat,
    Method,
    Pass,
    PhasedSgd,
    ScoreSpec,
    Sliding,
)

VOCAB, BOS = 24, 1
LENGTHS = (7, 1, 13, 4, 2, 9, 6)
ALONE = Ranks(0, 1, torch.device("cpu"))
LORA = DocumentLora(rank=2, chunk=5, batch_docs=2, lr=0.02, eps=1e-4, beta1=0.5)
METHODS: dict[str, Method] = {
    "flat": Flat(),
    "sliding": Sliding(stride=4),
    "lora": LORA,
    "lora that keeps its A": replace(LORA, keep_a=True),
    "phased": PhasedSgd(
        lora=LORA, prefix_docs=4, phases=2, lr=0.05, momentum=0.9, chunk_tokens=16, context=6, grad_clip=1.0
    ),
    "chunks": ChunkSgd(stride=4, chunk_tokens=16, epochs=2, lr=0.05, hash_rows=8),
    "passes": ChunkPasses(
        first=Pass(optimizer="adam", lr=0.02, epochs=1, up_rate=0.5),
        stride=4,
        chunk_tokens=16,
        batch_rows=2,
        shrinks=True,
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_spec(**changes: Any) -> ModelSpec:
    settings: dict[str, Any] = {
        "vocab_size": VOCAB,
        "layers": 3,
        "width": 16,
        "heads": 2,
        "kv_heads": 1,
        "mlp_width": 32,
        "rope_dims": 4,
        "xsa_last": 2,
        "loops": Loops(first=1, last=1, extra=1),
        "lanes": TwoLanes(start=2),
    }
    return ModelSpec(**settings | changes)


def lively(spec: ModelSpec) -> Gpt:
    gpt = Gpt(spec)
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            noise = torch.randn(parameter.shape, generator=source)
            parameter.copy_(0.4 * noise if name.endswith("bank") or name == "embedding" else parameter + 0.2 * noise)
    return gpt.requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Gpt:
    return lively(tiny_spec())


def spec_of(method: Method) -> ScoreSpec:
    return ScoreSpec(context=8, batch_tokens=32, method=method, diagnostic=Flat(), budget_s=60.0)


def made(model: Gpt, method: Method) -> Evaluator:
    return build_evaluator(model, spec_of(method), method, seed=3, looped=True, ranks=ALONE)


def documents(lengths: Sequence[int] = LENGTHS, vocab: int = VOCAB) -> Tensor:
    tokens = torch.randint(2, vocab, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    tokens[torch.tensor([0, *lengths]).cumsum(0)[:-1]] = BOS
    return tokens


def code_of(words: np.ndarray, lengths: Sequence[int] = LENGTHS, **changes: Any) -> Bitstream:
    settings: dict[str, Any] = {"seed": 3, "vocab_size": VOCAB, "bos": BOS, "lengths": tuple(lengths), "words": words}
    return Bitstream(**{"artifact_sha256": "ab" * 32, "recipe_sha256": "cd" * 32} | settings | changes)


# ---- the order of decoding


def test_a_target_waits_for_the_targets_that_its_prediction_reads() -> None:
    step = ScoreStep((Span(0, 1, 4), Span(1, 4, 6), Span(6, 7, 9)))
    known = known_at_first((6, 4))
    found = [[place.position for place in places] for places in rounds(step, known)]
    assert found == [[1, 7], [2, 8], [3], [4], [5]]
    assert known == bytearray([1] * 9 + [0])
    with pytest.raises(RefereeError, match="no earlier target tells"):
        rounds(ScoreStep((Span(2, 4, 5),)), known_at_first((9,)))


@pytest.mark.parametrize("name", METHODS)
def test_at_the_last_round_of_a_step_all_its_inputs_are_known(name: str, model: Gpt) -> None:
    known = known_at_first(LENGTHS)
    positions = []
    for step in made(model, METHODS[name]).plan(LENGTHS):
        if isinstance(step, ScoreStep):
            before = bytearray(known)
            *early, last = rounds(step, known)
            for place in (place for places in early for place in places):
                before[place.position] = 1
            assert all(before.find(b"\0", span.context, span.stop - 1) < 0 for span in step.spans)
            positions += [place.position for places in [*early, last] for place in places]
    assert sorted(positions) == list(range(1, sum(LENGTHS)))


# ---- there and back


@pytest.mark.parametrize("name", METHODS)
def test_every_method_decodes_its_own_code_to_the_same_loss_to_the_bit(name: str, model: Gpt) -> None:
    tokens, method = documents(), METHODS[name]
    encoded = encode(made(model, method), tokens, LENGTHS)
    decoded = decode(made(model, method), code_of(encoded.words))
    assert torch.equal(decoded.tokens_N, tokens)
    assert decoded.nats == encoded.nats
    assert decoded.updates == encoded.updates
    assert (encoded.updates > 0) == bool(kinds_of(spec_of(method)))
    result = compared(
        tokens, decoded.tokens_N, documents=8, stream_bits=32 * len(encoded.words), nats=encoded.nats, because="x"
    )
    assert result.verdict == "passed", result


@pytest.mark.parametrize("name", METHODS)
def test_rows_of_logits_do_not_depend_on_what_fills_the_inputs_behind_them(name: str, model: Gpt) -> None:
    """Bit for bit, in the state that updates have brought about."""
    tokens, method = documents(), made(model, METHODS[name])
    other = (tokens + 7) % VOCAB
    for step in method.plan(LENGTHS):
        if isinstance(step, LearnStep):
            spans = [slice(*span) for span in step.spans]
            method.update(
                step, [tokens[each.start - 1 : each.stop - 1] for each in spans], [tokens[each] for each in spans]
            )
            continue
        kept = max(1, step.spans[0].inputs // 2)
        inputs = [tokens[span.context : span.stop - 1] for span in step.spans]
        filled = [
            torch.cat([each[:kept], torch.full_like(each[kept:], FILLER)])
            if number % 2
            else torch.cat([each[:kept], other[span.context + kept : span.stop - 1]])
            for number, (each, span) in enumerate(zip(inputs, step.spans, strict=True))
        ]
        moved = copy.deepcopy(method).predict(step, filled)
        for span, row, before in zip(step.spans, moved, method.predict(step, inputs), strict=True):
            same = kept - (span.inputs - span.targets)
            if same > 0:
                assert torch.equal(row[:same], before[:same])


# ---- what a decoder cannot follow


class Peeking:
    """A method with the documents at hand, which moves each prediction towards the target; without them it cannot."""

    def __init__(self, inner: Evaluator, tokens: Tensor | None) -> None:
        self.inner, self.tokens = inner, tokens
        self.plan, self.update = inner.plan, inner.update

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        logits = [each.clone() for each in self.inner.predict(step, inputs)]
        if self.tokens is not None:
            for each, span in zip(logits, step.spans, strict=True):
                each[torch.arange(span.targets), self.tokens[span.start : span.stop]] += 2.0
        return logits


class Ahead(Peeking):
    """Each prediction is moved by the input behind it, which is the target, where the span still has one."""

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        logits = [each.clone() for each in self.inner.predict(step, inputs)]
        for each, own in zip(logits, inputs, strict=True):
            behind = own[own.numel() - each.shape[0] + 1 :]
            each[torch.arange(behind.numel()), behind] += 2.0
        return logits


class Counting(Peeking):
    """Each prediction is moved by how often tokens stand among all inputs of the step, those behind it too."""

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        logits = [each.clone() for each in self.inner.predict(step, inputs)]
        seen = torch.cat(list(inputs)).bincount(minlength=VOCAB)
        return [each + 0.05 * seen for each in logits]


def back(make: Callable[[Tensor | None], Evaluator]) -> Any:
    tokens = documents()
    encoded = encode(make(tokens), tokens, LENGTHS)
    decoded = None
    because = "x"
    try:
        decoded = decode(make(None), code_of(encoded.words)).tokens_N
    except MalformedError as error:
        because = str(error)
    bits = 32 * len(encoded.words)
    return compared(tokens, decoded, documents=8, stream_bits=bits, nats=encoded.nats, because=because)


@pytest.mark.parametrize("cheat", [Peeking, Ahead, Counting])
@pytest.mark.parametrize("name", ["flat", "lora"])
def test_a_prediction_that_used_the_documents_gives_no_documents_back(name: str, cheat: type, model: Gpt) -> None:
    result = back(lambda tokens: cheat(made(model, METHODS[name]), tokens))
    assert result.verdict == "failed" and not result.identical
    assert result.stream_bits <= result.limit_bits  # its loss is what it claims: only a decoder finds it out


def test_a_claim_of_less_loss_than_the_code_has_fails(model: Gpt) -> None:
    tokens = documents()
    encoded = encode(made(model, Flat()), tokens, LENGTHS)
    bits = 32 * len(encoded.words)
    assert compared(tokens, tokens, documents=8, stream_bits=bits, nats=encoded.nats, because="x").verdict == "passed"
    claimed = (bits - 65.0) * math.log(2.0) / 1.001
    result = compared(tokens, tokens, documents=8, stream_bits=bits, nats=claimed, because="x")
    assert result.identical and result.verdict == "failed" and result.limit_bits < bits


@pytest.mark.parametrize("vocab", [1024, 8192])
def test_the_code_is_within_its_limit_of_the_loss(vocab: int) -> None:
    source = torch.Generator().manual_seed(vocab)
    logits = 5.0 * torch.randn(800, vocab, generator=source)
    log_probs = logits.double().log_softmax(-1)
    drawn = torch.multinomial(log_probs.exp(), 1, generator=source)[:, 0]
    drawn[::50] = log_probs[::50].argmin(-1)  # the least likely of all must have a code too
    writer = Writer()
    for token, row in zip(drawn.tolist(), logits, strict=True):
        writer.put(token, row)
    bits = 32 * len(writer.words)
    loss = -float(log_probs.gather(1, drawn[:, None]).sum()) / math.log(2.0)
    assert bits <= loss * 1.001 + 64
    reader = Reader(writer.words)
    assert [reader.take(row) for row in logits] == drawn.tolist()
    reader.finish()


# ---- a bitstream that is not whole


def test_a_bitstream_is_read_as_it_was_written() -> None:
    stream = code_of(np.array([1, 2**32 - 1, 7], dtype=np.uint32))
    found = from_bytes(to_bytes(stream), "x")
    assert np.array_equal(found.words, stream.words)
    for name in ("artifact_sha256", "recipe_sha256", "seed", "vocab_size", "bos", "lengths"):
        assert getattr(found, name) == getattr(stream, name)
    assert (found.code_bits, found.length_bits) == (96, 32 * len(LENGTHS))


@pytest.mark.parametrize("place", [0, 8, 40, 76, 90, 110, -40, -1])
def test_a_damaged_bitstream_is_told_in_one_line(place: int) -> None:
    data = bytearray(to_bytes(code_of(np.arange(9, dtype=np.uint32))))
    data[place] ^= 1
    with pytest.raises(MalformedError, match=r"^x: .*(no bitstream|damaged)") as raised:
        from_bytes(bytes(data), "x")
    assert "\n" not in str(raised.value)
    for size in (0, 20, len(data) - 4):
        with pytest.raises(MalformedError, match="no bitstream|damaged"):
            from_bytes(bytes(data[:size]), "x")


@pytest.mark.parametrize("changes", [{"lengths": ()}, {"lengths": (1,)}, {"lengths": (5, 0)}, {"bos": VOCAB}])
def test_a_bitstream_that_no_encoder_writes_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match="^x: "):
        from_bytes(to_bytes(code_of(np.arange(9, dtype=np.uint32), **changes)), "x")


def test_numbers_of_documents_and_words_must_fill_the_file() -> None:
    content = bytearray(to_bytes(code_of(np.arange(9, dtype=np.uint32)))[:-32])
    content[88] += 1
    with pytest.raises(MalformedError, match=f"{len(LENGTHS) + 1} documents and 9 words take"):
        from_bytes(bytes(content) + hashlib.sha256(content).digest(), "x")


@pytest.mark.parametrize("change", ["first", "middle", "shorter", "longer"])
def test_other_words_never_give_the_documents_back(change: str, model: Gpt) -> None:
    tokens = documents()
    words = encode(made(model, Flat()), tokens, LENGTHS).words
    other = words.copy()
    if change in ("first", "middle"):
        other[0 if change == "first" else len(words) // 2] ^= 1 << 20
    other = (
        other[:-1] if change == "shorter" else np.append(other, 5).astype(np.uint32) if change == "longer" else other
    )
    try:
        assert not torch.equal(decode(made(model, Flat()), code_of(other)).tokens_N, tokens)
    except MalformedError as error:
        assert "\n" not in str(error)


# ---- what is encoded


SCORES = {repr(score): score for score in (load_recipe(name).recipe.score for name in recipe_names())}


@pytest.mark.parametrize("score", [each for each in SCORES.values() if not isinstance(each.method, AheadPasses)])
def test_every_recipe_has_an_excerpt_in_which_its_method_learns(score: ScoreSpec, model: Gpt) -> None:
    def plan(score: ScoreSpec, lengths: Sequence[int]) -> Any:
        return build_evaluator(model, score, score.method, seed=1, looped=True, ranks=ALONE, raw=model).plan(lengths)

    lengths = [60 + 37 * i % 120 for i in range(40)]
    found = excerpt(documents(lengths), lengths, score, plan, documents=32, forward_tokens=proof.FORWARD_TOKENS)
    steps = tuple(plan(found.score, found.lengths))
    check_plan(steps, found.lengths)
    assert {step.what for step in steps if isinstance(step, LearnStep)} == kinds_of(score)
    assert decoder_tokens(steps, found.lengths) == found.forward_tokens <= proof.FORWARD_TOKENS
    assert found.targets >= 300 and len(set(found.lengths)) > 1


def test_an_excerpt_is_of_beginnings(model: Gpt) -> None:
    lengths = [40, 3, 90, 1, 50]
    tokens = documents(lengths)

    def plan(score: ScoreSpec, cut: Sequence[int]) -> Any:
        return build_evaluator(model, score, score.method, seed=1, looped=True, ranks=ALONE).plan(cut)

    found = excerpt(tokens, lengths, spec_of(Flat()), plan, documents=9, forward_tokens=6000)
    starts, at = [0, 40, 43, 134], 0
    assert len(found.lengths) == 4 and found.forward_tokens <= 6000
    for start, size in zip(starts, found.lengths, strict=True):
        assert torch.equal(found.tokens_N[at : at + size], tokens[start : start + size])
        at += size
    with pytest.raises(DataError, match="0 documents of two tokens"):
        excerpt(documents([1, 1]), [1, 1], spec_of(Flat()), plan, documents=9, forward_tokens=6000)


def test_where_documents_are_too_short_for_an_update_there_is_none(model: Gpt) -> None:
    def plan(score: ScoreSpec, cut: Sequence[int]) -> Any:
        return build_evaluator(model, score, score.method, seed=1, looped=True, ranks=ALONE).plan(cut)

    lengths = [4, 3, 5, 4, 2]
    found = excerpt(documents(lengths), lengths, spec_of(LORA), plan, documents=9, forward_tokens=100)
    assert (found.lengths, found.updates) == (tuple(lengths), 0)


def test_only_what_stands_in_the_way_of_an_update_is_lowered() -> None:
    phased = METHODS["phased"]
    assert isinstance(phased, PhasedSgd)
    fits = spec_of(replace(phased, prefix_docs=24, phases=3))
    assert lowered(fits, documents=32) == fits
    low = lowered(spec_of(replace(phased, prefix_docs=2000, phases=3, lora=replace(LORA, batch_docs=64))), documents=32)
    assert isinstance(low.method, PhasedSgd)
    assert (low.method.lora.batch_docs, low.method.prefix_docs, low.method.phases) == (8, 24, 3)


# ---- a fresh process


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A recipe as small as a model can be, and its artifact."""
    pocket = load_recipe("pocket").recipe
    spec = tiny_spec(vocab_size=260)
    quant = replace(pocket.quant, rounding=Nearest(), rotation=NoRotation())
    method = METHODS["phased"]
    recipe: Recipe = replace(
        pocket, model=spec, quant=quant, score=spec_of(method), data=replace(pocket.data, vocab_size=260)
    )
    artifact = tmp_path_factory.mktemp("tiny") / "artifact.bin"
    artifact.write_bytes(pack(rotate_gptq(lively(spec), hessians_of(spec), quant), quant, {}))
    run = Run(recipe=recipe, recipe_sha256=digest(recipe), forecast_bytes=0, seed=3, code_sha256="", code_bytes=0)
    return run, artifact


def hessians_of(spec: ModelSpec) -> dict[str, Tensor]:
    tokens = torch.randint(spec.vocab_size, (4, 33), generator=torch.Generator().manual_seed(0))
    return collect(lively(spec), [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, ALONE, looped=True)


def test_a_fresh_process_decodes_what_it_never_held(tiny_run: tuple[Run, Path]) -> None:
    run, artifact = tiny_run
    lengths = [14, 9, 16, 12, 11, 8, 15, 10]
    result = decode_proof(run, artifact, documents(lengths, 260), lengths, documents=8, forward_tokens=20_000)
    assert result.verdict == "passed" and result.identical, result
    assert result.stream_bits <= result.limit_bits
    assert "same loss to the last bit" in result.because and " of sgd" in result.because
    assert ("walled in by" if find_walls().mechanism else "without walls") in result.because


def test_the_process_says_in_one_line_what_is_wrong(
    tiny_run: tuple[Run, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, artifact = tiny_run
    recipe = tmp_path / "recipe.json"
    write_resolved(Resolved(run.recipe, {}, run.recipe_sha256), recipe)
    words = np.arange(9, dtype=np.uint32)
    good = {"artifact_sha256": sha256_file(artifact), "recipe_sha256": run.recipe_sha256, "vocab_size": 260}
    files = {"artifact": artifact, "recipe": recipe, "tokens": tmp_path / "t", "report": tmp_path / "r"}
    for changes, words_of_it in (
        ({"artifact_sha256": "00" * 32}, "the bitstream is of the artifact with"),
        ({"recipe_sha256": "00" * 32}, "the bitstream is of the recipe with"),
        ({"vocab_size": 261}, "over 261 tokens"),
    ):
        bits = tmp_path / "bits"
        bits.write_bytes(to_bytes(code_of(words, **good | changes)))
        assert main([*(f"--{name}={path}" for name, path in files.items()), f"--bitstream={bits}", "--threads=1"]) == 2
        said = capsys.readouterr().err
        assert words_of_it in said and said.count("\n") == 1
    assert main([*(f"--{n}={p}" for n, p in files.items()), f"--bitstream={tmp_path / 'none'}", "--threads=1"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not files["tokens"].exists()


def test_a_method_that_learns_ahead_fails_without_a_try(tiny_run: tuple[Run, Path]) -> None:
    run, artifact = tiny_run
    method = AheadPasses(invalid=True, first=Pass(lr=0.1), stride=4)
    run = replace(run, recipe=replace(run.recipe, score=spec_of(method)))
    result = decode_proof(run, artifact, documents(), LENGTHS)
    assert result.verdict == "failed" and "before the first of them is scored" in result.because


def test_a_process_that_cannot_decode_fails_the_proof(
    tiny_run: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that another model wrote, as an encoder would that used what the artifact does not hold."""
    run, artifact = tiny_run
    real = proof.encode

    def elsewhere(method: Evaluator, tokens: Tensor, lengths: Sequence[int], **settings: Any) -> Any:
        return real(Peeking(method, tokens), tokens, lengths, **settings)

    monkeypatch.setattr(proof, "encode", elsewhere)
    lengths = [12, 9, 14, 8]
    result = decode_proof(run, artifact, documents(lengths, 260), lengths, documents=4, forward_tokens=5_000)
    assert result.verdict == "failed" and not result.identical
