"""Every probe on one artifact: the model and the method of a recipe, restored as for its evaluation."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fairway.bundle.build import build_readable
from fairway.errors import DataError, RecipeError
from fairway.main import Run, open_stage, restore_artifact, restore_artifact_pair, settle_attention, validation
from fairway.probes.methods import method_subject
from fairway.probes.result import DecodeResult, ProbeResult, StreamFacts
from fairway.probes.stream import Stream, first_documents, make_stream
from fairway.probes.suite import probe_all
from fairway.quant.artifact import read_artifact
from fairway.recipes.load import Resolved
from fairway.records.code import package_code
from fairway.records.layout import CODE, SOURCE
from fairway.runtime.files import sha256_file
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.spec.model import Loops
from fairway.spec.score import DocumentLora, PhasedSgd, ScoreSpec

LEAST_DOCUMENTS = 32
"""As many are probed at least, if there are as many."""
GROWTH = 1.5

Plan = Callable[[Sequence[int]], Iterable[PlanStep]]


def probe_run(
    run: Run,
    *,
    artifact: Path,
    val: Path,
    tokenizer: Path,
    events: Path,
    documents: int | None = None,
    decode: Callable[..., DecodeResult] | None = None,
) -> ProbeResult:
    """Probe the evaluation that a run's recipe names, on the artifact's weights and beginnings of validation documents.

    ``documents``: how many; as few as make the method learn if absent. ``decode`` is called as
    ``decode(run, artifact, tokens_N, lengths, device=device)`` with the whole validation stream. ``DataError`` for an
    artifact that is not this run's; events go to ``events``, one a probe.
    """
    with open_stage(run, "probe", events, alone=True) as stage:
        device = stage.ranks.device
        check_artifact(run, artifact)
        raw = None
        if run.recipe.score.logit_ensemble:
            model, raw = restore_artifact_pair(run, artifact, device)
        else:
            model = restore_artifact(run, artifact, device)
        if run.recipe.model.attention != "sdpa":
            settle_attention(model, stage)
        if raw is not None:
            raw.attention = model.attention
        tokens_N, bytes_N = validation(run, val, tokenizer)
        whole = make_stream(tokens_N, bytes_N, vocab_size=run.recipe.model.vocab_size)
        spec = run.recipe.score
        looped = isinstance(run.recipe.model.loops, Loops)
        subject = method_subject(model, spec, spec.method, seed=run.seed, looped=looped, raw=raw)
        stream = sample(whole, spec, subject.make().plan, documents)
        facts = StreamFacts(
            source="validation",
            tokens_sha256=stream.sha256,
            documents=len(stream.lengths),
            targets=stream.targets,
        )
        stage.log.emit("stream", documents=facts.documents, targets=facts.targets, method=spec.method.kind)
        probes = []
        for probe in probe_all(subject, stream, seed=run.seed, device=device.type):
            stage.log.emit(
                "probe",
                name=probe.name,
                verdict=probe.verdict,
                measured=probe.measured,
                limit=probe.limit,
                samples=probe.samples,
                seconds=round(stage.seconds, 1),
            )
            probes.append(probe)
        decoded = None
        if decode is not None:
            decoded = decode(run, artifact, whole.tokens_N, whole.lengths, device=device)
            stage.log.emit("decode", verdict=decoded.verdict, seconds=round(stage.seconds, 1))
        stage.log.emit("done", seconds=stage.seconds)
        return ProbeResult(
            recipe_sha256=run.recipe_sha256,
            code_sha256=run.code_sha256,
            artifact_sha256=sha256_file(artifact),
            seed=run.seed,
            method=dict(subject.settings),
            stream=facts,
            device=device.type,
            noise_floor=probes[0].measured,
            seconds=stage.seconds,
            probes=probes,
            decode=decoded,
        )


def check_artifact(run: Run, artifact: Path) -> None:
    """``DataError`` unless the artifact says that it is of this recipe and this seed."""
    try:
        extra = read_artifact(artifact.read_bytes()).extra
    except OSError as error:
        raise DataError(f"{artifact}: cannot be read: {error.strerror or error}") from error
    for key, wanted in (("recipe_sha256", run.recipe_sha256), ("seed", run.seed)):
        if extra.get(key) != wanted:
            raise DataError(f"{artifact}: its {key} is {extra.get(key)}, that of the run to probe is {wanted}")


def code_of(folder: Path, resolved: Resolved) -> tuple[str, int]:
    """SHA-256 and bytes of the program in ``folder``, if the modules that are probed are the ones it is made of.

    That they are is told by its readable form, which is made anew. Otherwise, and where there is no program, the
    digest is that of the modules themselves (``records.code.package_code``), which is that of no program.
    """
    program, source = folder / CODE, folder / SOURCE
    if program.is_file() and source.is_file() and source.read_text(encoding="utf-8") == build_readable(resolved):
        data = program.read_bytes()
        return hashlib.sha256(data).hexdigest(), len(data)
    return package_code()


def sample(whole: Stream, spec: ScoreSpec, plan: Plan, documents: int | None) -> Stream:
    """Beginnings of the first documents: of a chunk, of some chunks, and of more than a context.

    If ``documents`` is absent they are as few as let the method learn and score thereafter, but 32 at least.
    ``RecipeError`` if the method cannot be planned for so many documents.
    """
    lora = spec.method.lora if isinstance(spec.method, PhasedSgd) else spec.method
    unit = lora.chunk if isinstance(lora, DocumentLora) else max(1, spec.context // 4)
    caps = (unit + 1, 2 * unit + 2, 3 * unit, spec.context + unit)
    if documents is not None:
        if documents < 1:
            raise DataError(f"--documents must be 1 or more, got {documents}")
        stream = first_documents(whole, documents, tokens=caps)
        list(plan(stream.lengths))
        return stream
    for count in _counts(len(whole.lengths)):
        stream = first_documents(whole, count, tokens=caps)
        try:
            steps = list(plan(stream.lengths))
        except RecipeError:
            if count == len(whole.lengths):
                raise
            continue
        if _scores_after_learning(steps) or count == len(whole.lengths):
            return stream
        if not any(isinstance(step, LearnStep) for step in plan(whole.lengths)):
            return stream  # nothing is learned from the whole stream either
    raise AssertionError("the last count is that of all documents")


def _counts(most: int) -> Iterator[int]:
    count = LEAST_DOCUMENTS
    while count < most:
        yield count
        count = int(count * GROWTH)
    yield most


def _scores_after_learning(steps: Sequence[PlanStep]) -> bool:
    first = next((i for i, step in enumerate(steps) if isinstance(step, LearnStep)), len(steps))
    return any(isinstance(step, ScoreStep) for step in steps[first:])
