"""The numbers of a run, read from its files; what is missing or contradicts itself is an error that names the file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens
from fairway.errors import ArtifactError, FairwayError
from fairway.quant.describe import CONTAINER_ROLE, describe
from fairway.recipes.load import Change, read_resolved
from fairway.records.layout import ARTIFACT, CODE, DOCUMENTS, LEDGER, SOURCE, STAGES, seed_folder, stage_events
from fairway.records.ledgers import Ledger, read_ledger
from fairway.records.probes import Probed, read_probes
from fairway.records.stage_log import Entry, StageLog, read_stage
from fairway.runtime.files import sha256_file
from fairway.spec.recipe import Recipe
from fairway.verify.unpack import CannotUnpack, repacked, unpack

DATA_MANIFEST = "manifest.json"
"""What describes a folder of data, inside that folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What trained a seed."""

    python: str
    torch: str
    platform: str
    device: str
    threads: int
    world: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One evaluation of all validation targets."""

    loss_nats: float
    bpb: float
    tokens: int
    bytes: int
    seconds: float
    compile_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Training loss as it was logged."""

    steps: tuple[int, ...]
    loss_nats: tuple[float, ...]
    train_s: tuple[float, ...]
    loops_on_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """tr(E H E^T) / tr(W H W^T) of one matrix: rounded or GPTQ, rotated or not; None where that was not measured."""

    name: str
    role: str
    nearest: float
    gptq: float | None
    nearest_unrotated: float | None
    gptq_unrotated: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSize:
    """What one tensor takes in the artifact; ``entropy_bytes`` is the order-0 bound of its symbols."""

    name: str
    role: str
    bits: int
    count: int
    size_bytes: float
    entropy_bytes: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedFacts:
    """One seed from training to score."""

    seed: int
    folder: Path
    logs: Mapping[str, StageLog]
    environment: Environment
    parameters: int
    steps: int
    tokens: int
    train_s: float
    stop_reason: str
    stage_s: Mapping[str, float]
    """Wall-clock seconds of each stage, start-up and diagnostics included."""
    calibrate_s: float
    curve: Curve
    errors: tuple[TensorError, ...]
    sizes: tuple[TensorSize, ...]
    codec: str | None
    """Name of the entropy coder, None where each stream has its own."""
    artifact_bytes: int
    artifact_sha256: str
    forecast_bytes: int
    load_s: float
    floating: Scored
    quantized: Scored
    final: Scored
    ledger: Ledger

    @property
    def train_data_s(self) -> float:
        """Seconds in which training tokens were used: the training clock, then calibration."""
        return self.train_s + self.calibrate_s

    @property
    def eval_s(self) -> float:
        """Seconds from opening the artifact to the final score, the diagnostic passes left out."""
        return self.load_s + self.final.seconds + self.final.compile_s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFacts:
    """A recipe, all its seeds, and the data they share."""

    recipe: Recipe
    origin: Mapping[str, str]
    recipe_sha256: str
    changes: Mapping[str, Change] | None
    """Where the recipe differs from its parent; None for a root, and where the parent is not known."""
    folder: Path
    """Where the file that ran and its readable source lie."""
    code_sha256: str
    code_bytes: int
    """Size of the file that ran."""
    source_bytes: int
    repacked_bytes: int | None
    """Smallest known size of a file that runs the same program; None where it cannot be unpacked."""
    seeds: tuple[SeedFacts, ...]
    manifest: Mapping[str, Any]
    document_tokens: tuple[int, ...]
    """Length in tokens of each validation document, its BOS included, in stream order."""
    probes: Mapping[int, Mapping[str, Any]]
    """By seed, what ``fairway probe`` found (``schemas/probe.schema.json``); empty where nothing was probed."""


def read_run(recipe_json: Path, results: Path, data: Path, *, with_probes: bool = True) -> RunFacts:
    """Everything that a record says of a run; figures, which may be drawn while seeds are probed, do without probes.

    ``results`` holds ``seed<N>/`` for each seed of the recipe, ``data`` the folder of shards with its manifest.
    ``FairwayError`` names the file that is missing, damaged, or of another run than the rest.
    """
    resolved = read_resolved(recipe_json)
    seeds = tuple(read_seed(results / seed_folder(seed), seed) for seed in resolved.recipe.seeds)
    code_sha256, code_bytes = _same_code(seeds, resolved.sha256)
    code, source = (_read_code(results / name) for name in (CODE, SOURCE))
    if (hashlib.sha256(code).hexdigest(), len(code)) != (code_sha256, code_bytes):
        raise FairwayError(
            f"{seeds[0].logs['train'].path}: ran code {code_sha256[:12]} ({code_bytes:,} bytes), {results / CODE} is"
            f" {hashlib.sha256(code).hexdigest()[:12]} ({len(code):,} bytes); a record ships the code that ran, run the"
            " recipe again"
        )
    manifest = read_manifest(data)
    lengths = read_document_tokens(data, manifest)
    for seed in seeds:
        _covers(seed.ledger, sum(lengths) - 1)
    probed = [Probed(seed=seed.seed, folder=seed.folder, artifact_sha256=seed.artifact_sha256) for seed in seeds]
    return RunFacts(
        recipe=resolved.recipe,
        origin=resolved.origin,
        recipe_sha256=resolved.sha256,
        changes=resolved.changes,
        folder=results,
        code_sha256=code_sha256,
        code_bytes=code_bytes,
        source_bytes=len(source),
        repacked_bytes=_repacked_bytes(code),
        seeds=seeds,
        manifest=manifest,
        document_tokens=lengths,
        probes=read_probes(probed, recipe_sha256=resolved.sha256, code_sha256=code_sha256) if with_probes else {},
    )


def _read_code(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FairwayError(f"{path}: cannot be read: {error.strerror or error}; `fairway bundle` writes it") from error


def _repacked_bytes(code: bytes) -> int | None:
    try:
        return min(len(code), len(repacked(unpack(code).text)))
    except CannotUnpack:
        return None


def read_seed(folder: Path, seed: int) -> SeedFacts:
    """One seed; its artifact must be the one that was written, scored and put on the ledger."""
    if not folder.is_dir():
        raise FairwayError(f"{folder}: no such folder; the recipe names seed {seed}, so its run must lie there")
    logs = {stage: read_stage(stage_events(folder, stage), stage) for stage in STAGES}
    train, calibrate, compress, evaluate = (logs[stage] for stage in ("train", "calibrate", "compress", "evaluate"))
    trained, compressed = train.only("done"), compress.only("done")
    artifact = folder / ARTIFACT
    if not artifact.is_file():
        raise FairwayError(f"{artifact}: no such file; the stage compress writes it")
    facts = SeedFacts(
        seed=seed,
        folder=folder,
        logs=logs,
        environment=_environment(train),
        parameters=train.count(train.only("start"), "parameters"),
        steps=train.count(trained, "steps"),
        tokens=train.count(trained, "tokens"),
        train_s=train.number(trained, "train_s"),
        stop_reason=train.text(trained, "reason"),
        stage_s={stage: log.number(log.only("done"), "t_s") for stage, log in logs.items()},
        calibrate_s=calibrate.number(calibrate.only("done"), "seconds"),
        curve=_curve(train),
        errors=tuple(_tensor_error(logs["rotate_gptq"], entry) for entry in logs["rotate_gptq"].all("tensor")),
        sizes=(),
        codec=compress.text(compressed, "codec") if "codec" in compressed else None,
        artifact_bytes=artifact.stat().st_size,
        artifact_sha256=sha256_file(artifact),
        forecast_bytes=round(compress.number(compressed, "forecast_bytes")),
        load_s=evaluate.number(evaluate.only("load"), "seconds"),
        floating=_scored(logs["float"], "float"),
        quantized=_scored(evaluate, "quantized"),
        final=_scored(evaluate, "final"),
        ledger=read_ledger(folder / LEDGER),
    )
    _same_artifact(facts, artifact)
    return replace(facts, sizes=_tensor_sizes(artifact))


def read_manifest(data: Path) -> Mapping[str, Any]:
    """What the data folder says of itself."""
    path = data / DATA_MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FairwayError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(manifest, dict) or not {"tokenizer", "shards", "documents", "val"} <= manifest.keys():
        raise FairwayError(f"{path}: must be an object with tokenizer, shards, documents and val")
    return manifest


def read_document_tokens(data: Path, manifest: Mapping[str, Any]) -> tuple[int, ...]:
    """Tokens of each validation document, from the list of documents where the data has one, else from its shards."""
    if manifest["documents"] is None:
        lengths = document_lengths(load_tokens(data / "val", "val"))
    else:
        lengths = _listed_lengths(data / DOCUMENTS)
    if sum(lengths) != manifest["val"]["tokens"]:
        raise FairwayError(
            f"{data / DATA_MANIFEST}: says {manifest['val']['tokens']} validation tokens,"
            f" the documents have {sum(lengths)}"
        )
    return tuple(lengths)


def _listed_lengths(path: Path) -> list[int]:
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return [int(tokens) for split, _, tokens, _ in rows if split == "val"]
    except OSError as error:
        raise FairwayError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FairwayError(f"{path}: each line must be split, sha256, tokens and text_bytes: {error}") from error


def _environment(log: StageLog) -> Environment:
    entry = log.only("environment")
    return Environment(
        python=log.text(entry, "python"),
        torch=log.text(entry, "torch"),
        platform=log.text(entry, "platform"),
        device=log.text(entry, "device"),
        threads=log.count(entry, "threads"),
        world=log.count(entry, "world"),
    )


def _scored(log: StageLog, name: str) -> Scored:
    entry = log.only("score", name=name)
    return Scored(
        loss_nats=log.number(entry, "val_loss"),
        bpb=log.number(entry, "val_bpb"),
        tokens=log.count(entry, "tokens"),
        bytes=round(log.number(entry, "bytes")),
        seconds=log.number(entry, "seconds"),
        compile_s=log.number(entry, "compile_s"),
    )


def _curve(train: StageLog) -> Curve:
    entries = train.all("step")
    if not entries:
        raise FairwayError(f"{train.path}: holds no event 'step', so there is no loss to show")
    loops = train.all("loops_on")
    return Curve(
        steps=tuple(train.count(entry, "step") for entry in entries),
        loss_nats=tuple(train.number(entry, "loss_nats") for entry in entries),
        train_s=tuple(train.number(entry, "train_s") for entry in entries),
        loops_on_step=train.count(loops[0], "step") if loops else None,
    )


def _tensor_error(log: StageLog, entry: Entry) -> TensorError:
    return TensorError(
        name=log.text(entry, "name"),
        role=log.text(entry, "role"),
        nearest=log.number(entry, "error_nearest"),
        gptq=log.number_or_none(entry, "error_gptq"),
        nearest_unrotated=log.number_or_none(entry, "error_nearest_unrotated"),
        gptq_unrotated=log.number_or_none(entry, "error_gptq_unrotated"),
    )


def _tensor_sizes(artifact: Path) -> tuple[TensorSize, ...]:
    """What each tensor takes, measured on the artifact itself; the container's own bytes are no tensor's."""
    try:
        rows = describe(artifact.read_bytes())
    except ArtifactError as error:
        raise FairwayError(f"{artifact}: {error}") from error
    return tuple(
        TensorSize(
            name=row.name,
            role=row.role,
            bits=row.bits,
            count=row.count,
            size_bytes=float(row.size_bytes),
            entropy_bytes=row.entropy_bytes,
        )
        for row in rows
        if row.role != CONTAINER_ROLE
    )


def _same_artifact(facts: SeedFacts, artifact: Path) -> None:
    """The file on disk is what was packed, what was loaded for scoring, and what the ledger was opened for."""
    compress, evaluate = facts.logs["compress"], facts.logs["evaluate"]
    witnesses = {
        compress.path: compress.text(compress.only("done"), "artifact_sha256"),
        evaluate.path: evaluate.text(evaluate.only("load"), "artifact_sha256"),
        facts.ledger.path: facts.ledger.artifact_sha256,
    }
    for path, sha256 in witnesses.items():
        if sha256 != facts.artifact_sha256:
            raise FairwayError(
                f"{artifact}: has sha256 {facts.artifact_sha256[:12]}, but {path} speaks of {sha256[:12]};"
                " run the seed again"
            )


def _same_code(seeds: Sequence[SeedFacts], recipe_sha256: str) -> tuple[str, int]:
    """Digest and size of the one code that ran every stage of every seed, for this recipe."""
    codes: dict[tuple[str, int], Path] = {}
    for facts in seeds:
        for log in facts.logs.values():
            entry = log.only("code")
            if log.count(entry, "seed") != facts.seed:
                raise FairwayError(f"{log.path}: is of seed {entry['seed']}, must be of seed {facts.seed}")
            if log.text(entry, "recipe_sha256") != recipe_sha256:
                raise FairwayError(
                    f"{log.path}: ran recipe {entry['recipe_sha256'][:12]}, must be {recipe_sha256[:12]}; run it again"
                )
            codes.setdefault((log.text(entry, "sha256"), log.count(entry, "size_bytes")), log.path)
    if len(codes) != 1:
        (first, where), (second, there) = list(codes.items())[:2]
        raise FairwayError(
            f"{there}: ran code {second[0][:12]}, but {where} ran {first[0][:12]};"
            " one record is one code, run them again"
        )
    return next(iter(codes))


def _covers(ledger: Ledger, targets: int) -> None:
    scored = int((ledger.stops - ledger.starts).sum())
    if scored != targets:
        raise FairwayError(f"{ledger.path}: scores {scored} targets, the validation documents have {targets}")
