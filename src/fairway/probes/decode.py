"""The decode proof: documents into a real bitstream by the evaluator's own predictions, and back in a fresh process.

A loss of so many nats is the claim that an encoder with these predictions needs so many bits, and a decoder with the
same artifact gets the documents back. Here that is done. Scoring writes the code, one target after another in the
order in which a decoder can come by them (``rangecode``); another process, which holds artifact, recipe and bitstream
and is walled off from everything else, reads it (``decoder``). The proof holds if every token comes back and the code
is no longer than the loss by more than 0.1 % and 64 bits: a prediction that used what a decoder cannot know gives
garbage, and one that does not sum to one a longer code than it claims.

Both score with the same shapes, so their predictions agree bit for bit on the CPU, where the proof runs unless told
otherwise. Document lengths and BOS are told beside the code (``bitstream``), whose size is told apart from it. What
is compared are token ids: the text, and its bytes, are a function of them and of the tokenizer.
"""

import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import fairway
from fairway.errors import FairwayError
from fairway.machine.limits import Limits
from fairway.machine.watch import Task, Watched, watch
from fairway.main import Run
from fairway.probes.bitstream import Bitstream, Words, to_bytes
from fairway.probes.decoder import evaluator_of, restore
from fairway.probes.excerpt import differences, excerpt
from fairway.probes.rangecode import Writer, known_at_first, rounds
from fairway.probes.result import DecodeResult
from fairway.recipes.load import Resolved, digest, write_resolved
from fairway.runtime.events import EventLog
from fairway.runtime.files import sha256_file, write_bytes_atomic
from fairway.score.budget import Watch
from fairway.score.ledger import Ledger
from fairway.score.referee import Evaluator, Referee
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.spec.data import BOS
from fairway.spec.recipe import Recipe
from fairway.spec.score import AheadPasses, ScoreSpec

SHARE = 0.001
"""By so much of the ledger's bits the code may be longer,"""
SLACK_BITS = 64
"""and by so many more."""
DOCUMENTS = 32
FORWARD_TOKENS = 300_000
"""Inputs of a decoder's forwards, unless told otherwise."""
TIMEOUT_S = 3600.0
UNLIMITED_S = 1e9
_PACKAGE = Path(fairway.__file__).resolve().parent
_PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "TRITON_INTERPRET")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Documents as code, and what the referee's ledger says of them."""

    words: Words
    nats: float
    updates: int


class _Encoding:
    """The method that it is given, whose predictions write the code as they are made."""

    def __init__(self, method: Evaluator, tokens_N: Int[Tensor, " N"], lengths: Sequence[int]) -> None:
        self._method = method
        self._tokens = tokens_N.tolist()
        self._known = known_at_first(lengths)
        self.writer = Writer()
        self.updates = 0

    def plan(self, lengths: Sequence[int]) -> Sequence[PlanStep]:
        """The method's."""
        return tuple(self._method.plan(lengths))

    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """The method's, and the step's targets are coded by them."""
        logits = self._method.predict(step, inputs)
        for index, row, position in (place for places in rounds(step, self._known) for place in places):
            self.writer.put(self._tokens[position], logits[index][row])
        return logits

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """The method's."""
        self._method.update(step, inputs, targets)
        self.updates += 1


def encode(
    method: Evaluator, tokens_N: Int[Tensor, " N"], lengths: Sequence[int], *, device: torch.device | None = None
) -> Encoded:
    """Score documents by the referee and write their code; ``RefereeError`` for a method that it refuses."""
    encoding = _Encoding(method, tokens_N, lengths)
    referee = Referee(tokens_N.to(device), torch.ones_like(tokens_N, device="cpu"), lengths)
    with Ledger(None) as ledger, EventLog(None, stage="probe") as events:
        tally = referee.run(encoding, ledger, settings={}, artifact_sha256="0" * 64, watch=Watch(UNLIMITED_S, events))
    return Encoded(words=encoding.writer.words, nats=tally.nats, updates=encoding.updates)


def compared(
    tokens_N: Int[Tensor, " N"],
    decoded_N: Int[Tensor, " N"] | None,
    *,
    documents: int,
    stream_bits: int,
    nats: float,
    because: str,
) -> DecodeResult:
    """Passed if every token came back and the code is within its limit of the ``nats`` that the ledger claims.

    ``because`` is what else there is to say; what was found comes before it.
    """
    ledger_bits = nats / math.log(2.0)
    limit_bits = ledger_bits * (1.0 + SHARE) + SLACK_BITS
    identical = decoded_N is not None and torch.equal(tokens_N.cpu().long(), decoded_N.cpu().long())
    if decoded_N is None:
        found = f"nothing came back of {documents} documents with {tokens_N.numel() - 1} targets"
    elif identical:
        found = f"{documents} documents with {tokens_N.numel() - 1} targets came back token for token"
    else:
        same = sum(a == b for a, b in zip(tokens_N.tolist(), decoded_N.tolist(), strict=False))
        found = f"only {same} of {tokens_N.numel()} tokens came back as they were"
    over = 100.0 * (stream_bits / ledger_bits - 1.0) if ledger_bits else 0.0
    return DecodeResult(
        verdict="passed" if identical and stream_bits <= limit_bits else "failed",
        documents=documents,
        targets=tokens_N.numel() - 1,
        stream_bits=stream_bits,
        ledger_bits=ledger_bits,
        limit_bits=limit_bits,
        identical=identical,
        because=f"{found}; {stream_bits} bits of code for {ledger_bits:.1f} bits of loss ({over:+.3f} %); {because}",
    )


def decode_proof(
    run: Run,
    artifact: Path,
    tokens_N: Int[Tensor, " N"],
    lengths: Sequence[int],
    *,
    documents: int = DOCUMENTS,
    forward_tokens: int = FORWARD_TOKENS,
    device: torch.device | None = None,
    timeout_s: float = TIMEOUT_S,
) -> DecodeResult:
    """Encode beginnings of the stream's documents with the run's method, decode them elsewhere, compare.

    ``tokens_N`` and ``lengths`` are the validation stream, of which at most ``documents`` are taken. The process that
    decodes works with as many threads as this one. ``FairwayError`` where it cannot be carried out at all.
    """
    device = device or torch.device("cpu")
    if isinstance(run.recipe.score.method, AheadPasses):
        return DecodeResult(
            verdict="failed",
            documents=0,
            targets=0,
            stream_bits=0,
            ledger_bits=0.0,
            limit_bits=float(SLACK_BITS),
            identical=False,
            because="the method learns from the documents before the first of them is scored, which no decoder can do",
        )

    models = restore(run.recipe, artifact, device)

    def plan(score: ScoreSpec, cut: Sequence[int]) -> Iterable[PlanStep]:
        return evaluator_of(models, replace(run.recipe, score=score), seed=run.seed).plan(cut)

    chosen = excerpt(tokens_N, lengths, run.recipe.score, plan, documents=documents, forward_tokens=forward_tokens)
    recipe = replace(run.recipe, score=chosen.score)
    encoded = encode(evaluator_of(models, recipe, seed=run.seed), chosen.tokens_N, chosen.lengths, device=device)
    bitstream = Bitstream(
        artifact_sha256=sha256_file(artifact),
        recipe_sha256=digest(recipe),
        seed=run.seed,
        vocab_size=recipe.model.vocab_size,
        bos=BOS,
        lengths=chosen.lengths,
        words=encoded.words,
    )
    decoded_N, told = _elsewhere(recipe, artifact, bitstream, encoded.nats, device=device, timeout_s=timeout_s)
    lowered = differences(asdict(run.recipe.score), asdict(chosen.score))
    remarks = [
        f"{encoded.updates} updates among the targets, {_counts(plan(chosen.score, chosen.lengths))}",
        told,
        f"their lengths take {bitstream.length_bits} bits beside the code",
        *([f"for so short a sample, {', '.join(lowered)}"] if lowered else []),
    ]
    return compared(
        chosen.tokens_N,
        decoded_N,
        documents=len(chosen.lengths),
        stream_bits=bitstream.code_bits,
        nats=encoded.nats,
        because="; ".join(remarks),
    )


def _counts(steps: Iterable[PlanStep]) -> str:
    kinds = Counter(step.what for step in steps if isinstance(step, LearnStep))
    return " and ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items())) or "for the method has none"


def _elsewhere(
    recipe: Recipe, artifact: Path, bitstream: Bitstream, nats: float, *, device: torch.device, timeout_s: float
) -> tuple[Tensor | None, str]:
    """What a fresh process decodes, and what there is to tell of it."""
    with tempfile.TemporaryDirectory(prefix="decode.") as place:
        held, out = Path(place, "held"), Path(place, "out")
        held.mkdir()
        files = {"artifact": artifact.resolve(), "recipe": held / "recipe.json", "bitstream": held / "documents.bits"}
        outputs = {"tokens": out / "tokens.bin", "report": out / "report.json"}
        write_resolved(Resolved(recipe, {}, bitstream.recipe_sha256), files["recipe"])
        write_bytes_atomic(files["bitstream"], to_bytes(bitstream))
        threads = torch.get_num_threads()
        log = Path(place, "log")
        watched = watch(
            Task(
                command=[
                    *("/usr/bin/env", "-i", *(f"{name}={value}" for name, value in _variables(threads).items())),
                    *(sys.executable, "-m", "fairway.probes.decoder"),
                    *(f"--{name}={path}" for name, path in {**files, **outputs}.items()),
                    *(f"--threads={threads}", f"--device={device}"),
                ],
                reads=[*files.values(), _PACKAGE],
                outputs=list(outputs.values()),
                log=log,
                limits=Limits(seconds=timeout_s),
                walls=True,
            ),
            folder=held,
        )
        last = (log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"])[-1]
        where = _told(watched)
        if watched.ended_by == "time":
            return None, f"the process that decodes ({where}) was ended after {timeout_s:g} s"
        if watched.status == 2:
            return None, f"the process that decodes ({where}) says: {last}"
        if not watched.is_well:
            raise FairwayError(f"the process that decodes ended with status {watched.status}: {last}")
        report = json.loads(outputs["report"].read_text(encoding="utf-8"))
        raw = outputs["tokens"].read_bytes()
        decoded_N = torch.from_numpy(np.frombuffer(raw, "<u2").astype(np.int64))
        loss = (
            "the same loss to the last bit" if report["nats"] == nats else f"{report['nats'] - nats:+.3g} nats of loss"
        )
        return decoded_N, (
            f"decoded in a fresh process ({where}) by {report['forwards']} forwards and {report['updates']} updates,"
            f" with {loss}"
        )


def _variables(threads: int) -> dict[str, str]:
    """All that the fresh process finds in its environment."""
    passed = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    own = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
    return {
        **passed,
        **own,
        "PYTHONPATH": str(_PACKAGE.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads),
    }


def _told(watched: Watched) -> str:
    isolation = watched.isolation
    if isolation["state"] == "enforced":
        return f"walled in by {isolation['mechanism']}"
    return f"its environment cleared, but without walls: {isolation['reason']}"
