"""A folder to facts, each with the file and line it stands on. Nothing of the folder is run.

Two kinds of folder are read: a *record* (one folder with all seeds) and a *run folder* of one seed. What cannot be
read is a defect, never an exception: the rule ``complete`` reports defects, and the rules that would need the missing
part say UNVERIFIABLE. The one error raised is ``DataError`` where there is no folder to read.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from fairway.errors import DataError
from fairway.verify import strict_json
from fairway.verify.artifact import ArtifactHeader, read_artifact
from fairway.verify.documents import Documents, read_documents
from fairway.verify.leaderboard import Leaderboard
from fairway.verify.ledger import Closing, LedgerFacts, Opening, read_ledger
from fairway.verify.tracks import Track
from fairway.verify.unpack import SOURCE_LIMIT_BYTES, CannotUnpack, NotPython, Program, repacked, unpack

Scope = Literal["seed", "record"]

README = "README.md"
SUBMISSION = "submission.json"
REQUIREMENTS = "requirements.txt"
RECIPE = "recipe.json"
MANIFEST = "data_manifest.json"
DOCUMENTS = "documents.tsv"
CODE = "train_gpt.py"
SOURCE = "train_gpt_source.py"
CHECKSUMS = "SHA256SUMS"
VERDICT = "verdict.json"
ARTIFACT = "artifact.bin"
LEDGER = "ledger.jsonl"
EVENTS = "events.jsonl"
PROBE = "probe.json"
ENVIRONMENT = "environment.json"
STATEMENT = "provenance.json"
ENVELOPE = "provenance.intoto.jsonl"
ROCRATE = "ro-crate-metadata.json"
UNSUMMED = frozenset({CHECKSUMS, VERDICT, STATEMENT, ENVELOPE, ROCRATE})
"""Files that are written after SHA256SUMS, and that it does not list."""

STAGES = ("train", "calibrate", "rotate_gptq", "compress", "float", "evaluate")
"""The stages of a seed, in the order in which they run."""

DATASET_MANIFEST = "manifest.json"
"""What the data manifest is called in the folder of a dataset."""

CODE_SUFFIXES = (".py", ".pyx", ".pyi", ".pyc", ".so", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".sh", ".triton")
"""How the names of files end that hold code; the reading of the size rule that counts all of it goes by these."""

MOST_FILES = 10_000
JSON_LIMIT_BYTES = 64_000_000
TEXT_LIMIT_BYTES = 64_000_000
_SEED_FOLDER = re.compile(r"seed(0|[1-9][0-9]*)")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_CHUNK_BYTES = 1 << 20

_Read = TypeVar("_Read")


class NoEvidence(Exception):
    """What a rule needs is not in the folder; the rule's finding is then UNVERIFIABLE."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is not what a file of its name must be."""

    message: str
    file: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file of the folder."""

    path: str
    """Inside the folder, with forward slashes."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """The file that ran, and what it unpacks to; nothing of it is run."""

    file: FileFact
    program: Program | None
    """What the file runs in the end; None where decoding does not lead there."""
    hidden: str
    """Why there is no program to be seen; empty where there is."""
    is_python: bool
    """Whether the file can be parsed; nothing that cannot can have run."""
    repacked_bytes: int | None
    """Size of the smallest file of that program that the judge has seen or made: this one, or one packed better."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log."""

    stage: str
    name: str
    t_s: float
    """Seconds since the stage began, by the log's own clock."""
    fields: Mapping[str, Any]
    file: str
    line: int

    def number(self, key: str) -> float:
        """A field that must be a number."""
        value = self.fields.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise NoEvidence(f"event {self.name} of stage {self.stage} has no number {key}", self.file, self.line)
        return float(value)

    def count(self, key: str) -> int:
        """A field that must be a whole number, 0 or more."""
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise NoEvidence(f"event {self.name} of stage {self.stage} has no count {key}", self.file, self.line)
        return value

    def text(self, key: str) -> str:
        """A field that must be a string."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise NoEvidence(f"event {self.name} of stage {self.stage} has no text {key}", self.file, self.line)
        return value


@dataclass(frozen=True, slots=True)
class SeedFacts:
    """What one seed left behind."""

    seed: int
    folder: str
    """Prefix of its files, empty in a run folder, else ending in a slash."""
    events_file: str
    events: tuple[Event, ...]
    artifact: FileFact | None
    header: ArtifactHeader | None
    """None where there is no artifact, or it cannot be read."""
    ledger: LedgerFacts | None
    probe: Mapping[str, Any] | None
    """What trials of its evaluation showed; None where it was not probed, and in a run folder."""

    def of(self, stage: str, event: str | None = None, /, **fields: object) -> tuple[Event, ...]:
        """The events of a stage, of one name and with these fields where given."""
        return tuple(
            one
            for one in self.events
            if one.stage == stage
            and event in (None, one.name)
            and all(one.fields.get(key) == value for key, value in fields.items())
        )

    def only(self, stage: str, event: str, /, **fields: object) -> Event:
        """The one event of its kind; two contradict each other, none says nothing."""
        found = self.of(stage, event, **fields)
        if len(found) != 1:
            wanted = " ".join([f"event {event} of stage {stage}", *(f"{key}={value}" for key, value in fields.items())])
            line = found[1].line if found else None
            raise NoEvidence(f"seed {self.seed}: {len(found)} of {wanted}, must be one", self.events_file, line)
        return found[0]

    def need_artifact(self) -> FileFact:
        """The artifact as a file."""
        if self.artifact is None:
            raise NoEvidence(f"seed {self.seed}: there is no artifact", self.folder + ARTIFACT)
        return self.artifact

    def need_ledger(self) -> LedgerFacts:
        """The ledger, whole or broken."""
        if self.ledger is None:
            raise NoEvidence(f"seed {self.seed}: there is no ledger", self.folder + LEDGER)
        return self.ledger

    def whole_ledger(self) -> tuple[LedgerFacts, Opening, Closing]:
        """The ledger with its first and last entry, if its chain holds."""
        ledger = self.need_ledger()
        if ledger.breaks or ledger.opening is None or ledger.closing is None:
            line = ledger.breaks[0].line if ledger.breaks else None
            raise NoEvidence(f"seed {self.seed}: the ledger's chain is broken", ledger.file, line)
        return ledger, ledger.opening, ledger.closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that rules may look at."""

    folder: str
    """Name of the folder."""
    scope: Scope
    track: Track
    files: Mapping[str, FileFact]
    defects: tuple[Defect, ...]
    seeds: Mapping[int, SeedFacts]
    listed: Mapping[str, tuple[str, int]] | None
    """Path to SHA-256 and line of SHA256SUMS; None where there is no such file."""
    submission: Mapping[str, Any] | None
    recipe: Mapping[str, Any] | None
    manifest: Mapping[str, Any] | None
    documents: Documents | None
    environment: Mapping[str, Any] | None
    """What a watcher outside saw of the stages, and of the machines they ran on."""
    requirements: str | None
    statement: Mapping[str, Any] | None
    """What is said of where the record comes from."""
    statement_text: str | None
    envelope: str | None
    """The signed statement."""
    public_key: bytes | None
    """In PEM: whose signature the caller wants to see."""
    code: CodeFacts | None
    """The file that ran: a record's own, or the one beside the run folders."""
    source: str | None
    """Text of the file that is said to be readable source of what ran."""
    readme: str | None
    logs: Mapping[int, tuple[str, str]]
    """Name and text of the log for people, by seed."""
    verdict_text: str | None
    val_payload_sha256: str | None
    """SHA-256 of the tokens of the validation shards, where these are at hand (a run folder with its data)."""
    leaderboard: Leaderboard | None

    def need_submission(self) -> Mapping[str, Any]:
        """submission.json."""
        return _need(self.submission, SUBMISSION)

    def need_recipe(self) -> Mapping[str, Any]:
        """recipe.json."""
        return _need(self.recipe, RECIPE)

    def need_manifest(self) -> Mapping[str, Any]:
        """data_manifest.json."""
        return _need(self.manifest, MANIFEST)

    def need_documents(self) -> Documents:
        """documents.tsv."""
        if self.documents is None:
            raise NoEvidence("there is no table of documents, so text and split cannot be recounted", DOCUMENTS)
        return self.documents

    def need_code(self) -> CodeFacts:
        """The file that ran."""
        if self.code is None:
            raise NoEvidence("there is no code to look at", CODE)
        return self.code

    def code_files(self) -> Mapping[str, int]:
        """Every file of code in the folder and its size: what runs, what is said to be its source, and any helper."""
        ends = tuple(CODE_SUFFIXES)
        return {path: fact.size_bytes for path, fact in self.files.items() if path.lower().endswith(ends)}


def read_record(
    folder: Path, track: Track, *, leaderboard: Leaderboard | None = None, public_key: bytes | None = None
) -> Facts:
    """The facts of a record's folder."""
    _must_be_folder(folder)
    defects: list[Defect] = []
    files = _files(folder, defects)
    seeds: dict[int, SeedFacts] = {}
    for prefix in sorted({path.split("/", 1)[0] for path in files if "/" in path}):
        match = _SEED_FOLDER.fullmatch(prefix)
        if match is not None and len(match[1]) <= 18:
            seed = int(match[1])
            events_file = f"{prefix}/{EVENTS}"
            events = _events(folder / events_file, events_file, defects) if events_file in files else ()
            seeds[seed] = _seed(folder, seed, f"{prefix}/", files, events_file, events, defects)
    return Facts(
        folder=folder.resolve().name,
        scope="record",
        track=track,
        files=files,
        seeds=dict(sorted(seeds.items())),
        listed=_if_there(folder, CHECKSUMS, files, defects, _sums),
        submission=_if_there(folder, SUBMISSION, files, defects, _json_object),
        recipe=_if_there(folder, RECIPE, files, defects, _json_object),
        manifest=_if_there(folder, MANIFEST, files, defects, _json_object),
        documents=_if_there(folder, DOCUMENTS, files, defects, read_documents),
        environment=_if_there(folder, ENVIRONMENT, files, defects, _json_object),
        requirements=_if_there(folder, REQUIREMENTS, files, defects, _text),
        statement=_if_there(folder, STATEMENT, files, defects, _json_object),
        statement_text=_if_there(folder, STATEMENT, files, [], _text),
        envelope=_if_there(folder, ENVELOPE, files, defects, _text),
        public_key=public_key,
        code=_code(folder / CODE, files[CODE]) if CODE in files else None,
        source=_if_there(folder, SOURCE, files, defects, _text),
        readme=_if_there(folder, README, files, defects, _text),
        logs=_logs(folder, seeds, files, defects),
        verdict_text=_if_there(folder, VERDICT, files, defects, _text),
        val_payload_sha256=None,
        leaderboard=leaderboard,
        # Last: what is read above adds to it.
        defects=tuple(defects),
    )


def read_seed(folder: Path, track: Track, *, recipe: Path, data: Path, code: Path) -> Facts:
    """The facts of a run folder of one seed, named ``seed<N>``; recipe, data and the file that ran lie elsewhere."""
    _must_be_folder(folder)
    name = folder.resolve().name
    match = _SEED_FOLDER.fullmatch(name)
    if match is None:
        raise DataError(f"{folder}: a run folder is named seed<N>, got {name!r}")
    seed = int(match[1])
    defects: list[Defect] = []
    files = _files(folder, defects)
    events: list[Event] = []
    for stage in STAGES:
        path = f"{stage}.events.jsonl"
        if path in files:
            events.extend(_events(folder / path, path, defects))
    manifest = _elsewhere(data / DATASET_MANIFEST, MANIFEST, defects, _json_object)
    has_documents = (data / DOCUMENTS).is_file()
    return Facts(
        folder=name,
        scope="seed",
        track=track,
        files=files,
        seeds={seed: _seed(folder, seed, "", files, "train.events.jsonl", tuple(events), defects)},
        listed=None,
        submission=None,
        recipe=_elsewhere(recipe, RECIPE, defects, _json_object),
        manifest=manifest,
        documents=_elsewhere(data / DOCUMENTS, DOCUMENTS, defects, read_documents) if has_documents else None,
        environment=None,
        requirements=None,
        statement=None,
        statement_text=None,
        envelope=None,
        public_key=None,
        code=_code_elsewhere(code, defects),
        source=None,
        readme=None,
        logs={},
        verdict_text=None,
        val_payload_sha256=_payload_sha256(data, manifest),
        leaderboard=None,
        defects=tuple(defects),
    )


def _need(value: Mapping[str, Any] | None, file: str) -> Mapping[str, Any]:
    if value is None:
        raise NoEvidence(f"{file} is missing or cannot be read", file)
    return value


def _must_be_folder(folder: Path) -> None:
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file, must be a folder")


def _seed(
    folder: Path,
    seed: int,
    prefix: str,
    files: Mapping[str, FileFact],
    events_file: str,
    events: Sequence[Event],
    defects: list[Defect],
) -> SeedFacts:
    ledger = f"{prefix}{LEDGER}"
    return SeedFacts(
        seed=seed,
        folder=prefix,
        events_file=events_file,
        events=tuple(events),
        artifact=files.get(f"{prefix}{ARTIFACT}"),
        header=_if_there(folder, f"{prefix}{ARTIFACT}", files, defects, read_artifact),
        ledger=read_ledger(folder / ledger, ledger) if ledger in files else None,
        # Probes run beside the judgement of a run folder, so that they are none of its evidence.
        probe=_if_there(folder, f"{prefix}{PROBE}", files, defects, _json_object) if prefix else None,
    )


def log_name(seed: int) -> str:
    """The log of one seed for people."""
    return f"train_seed{seed}.log"


def _logs(
    folder: Path, seeds: Mapping[int, SeedFacts], files: Mapping[str, FileFact], defects: list[Defect]
) -> dict[int, tuple[str, str]]:
    logs = {}
    for seed in seeds:
        text = _if_there(folder, log_name(seed), files, defects, _text)
        if text is not None:
            logs[seed] = (log_name(seed), text)
    return logs


def _files(folder: Path, defects: list[Defect]) -> dict[str, FileFact]:
    """Every regular file below the folder; links are not followed, and what is no file is a defect."""
    found: dict[str, FileFact] = {}

    def refused(error: OSError) -> None:
        defects.append(Defect(f"cannot be listed: {error.strerror or type(error).__name__}", str(error.filename)))

    for root, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        for name in sorted([*names, *(each for each in folders if (Path(root) / each).is_symlink())]):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if len(found) == MOST_FILES:
                defects.append(Defect(f"the folder holds more than {MOST_FILES} files", relative))
                return found
            try:
                relative.encode("utf-8")
                fact = _file(path, relative)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                defects.append(Defect(f"cannot be read: {reason}", relative.encode("utf-8", "replace").decode("utf-8")))
            else:
                found[relative] = fact
    return found


def _file(path: Path, relative: str) -> FileFact:
    kind = path.lstat().st_mode
    if stat.S_ISLNK(kind):
        raise ValueError("a symbolic link")
    if not stat.S_ISREG(kind):
        raise ValueError("not a regular file")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileFact(relative, size, digest.hexdigest())


def _if_there(
    folder: Path,
    file: str,
    files: Mapping[str, FileFact],
    defects: list[Defect],
    read: Callable[[Path, str], _Read],
) -> _Read | None:
    return _elsewhere(folder / file, file, defects, read) if file in files else None


def _elsewhere(path: Path, file: str, defects: list[Defect], read: Callable[[Path, str], _Read]) -> _Read | None:
    try:
        return read(path, file)
    except ValueError as error:
        message = str(error)
        match = re.match(r"line ([0-9]+): ", message)
        line = int(match[1]) if match is not None else None
        defects.append(Defect(message if match is None else message[match.end() :], file, line))
        return None


def _code(path: Path, fact: FileFact) -> CodeFacts:
    try:
        data = path.read_bytes() if fact.size_bytes <= SOURCE_LIMIT_BYTES else None
        if data is None:
            raise CannotUnpack(f"has {fact.size_bytes} bytes, no program has more than {SOURCE_LIMIT_BYTES}")
        program = unpack(data)
    except (CannotUnpack, OSError) as error:
        return CodeFacts(fact, None, str(error), not isinstance(error, NotPython), None)
    return CodeFacts(fact, program, "", True, min(fact.size_bytes, len(repacked(program.text))))


def _code_elsewhere(path: Path, defects: list[Defect]) -> CodeFacts | None:
    try:
        return _code(path, _file(path, CODE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        defects.append(Defect(f"cannot be read: {error}", CODE))
        return None


def _json_object(path: Path, file: str) -> Mapping[str, Any]:
    value = strict_json.parse(strict_json.read_text(path, JSON_LIMIT_BYTES))
    if not isinstance(value, dict):
        raise ValueError(f"must hold a JSON object, holds a {type(value).__name__}")
    return value


def _text(path: Path, file: str) -> str:
    return strict_json.read_text(path, TEXT_LIMIT_BYTES)


def _sums(path: Path, file: str) -> Mapping[str, tuple[str, int]]:
    listed: dict[str, tuple[str, int]] = {}
    lines = strict_json.read_text(path, TEXT_LIMIT_BYTES).split("\n")
    if lines.pop() != "":
        raise ValueError(f"line {len(lines) + 1}: has no line feed: truncated")
    for number, line in enumerate(lines, start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: not a SHA-256, two blanks and a path: {line[:80]!r}")
        if match[2] in listed:
            raise ValueError(f"line {number}: {match[2]} is listed twice")
        listed[match[2]] = (match[1], number)
    return listed


def _events(path: Path, file: str, defects: list[Defect]) -> tuple[Event, ...]:
    events = []
    try:
        lines = strict_json.read_text(path, JSON_LIMIT_BYTES).split("\n")
    except ValueError as error:
        defects.append(Defect(str(error), file))
        return ()
    if lines.pop() != "":
        defects.append(Defect("the last line has no line feed: truncated", file, len(lines) + 1))
    for number, line in enumerate(lines, start=1):
        try:
            events.append(_event(strict_json.parse(line), file, number))
        except ValueError as error:
            defects.append(Defect(str(error), file, number))
    return tuple(events)


def _event(value: Any, file: str, line: int) -> Event:
    if not isinstance(value, dict):
        raise ValueError("an event is a JSON object")
    stage, name, t_s = value.get("stage"), value.get("event"), value.get("t_s")
    if not isinstance(stage, str) or not isinstance(name, str) or not isinstance(t_s, (int, float)):
        raise ValueError("an event has stage, event and t_s")
    fields = {key: content for key, content in value.items() if key not in ("stage", "event", "t_s")}
    return Event(stage, name, float(t_s), fields, file, line)


SHARD_HEADER_BYTES = 1024
"""256 little-endian int32 before the tokens of an official shard; the same number stands in ``data``."""


def _payload_sha256(data: Path, manifest: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of the tokens of all validation shards, as the ledger states it; None where they are not all there."""
    digest = hashlib.sha256()
    paths = list(_val_shards(data, manifest))
    if not paths:
        return None
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(SHARD_HEADER_BYTES)
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError:
            return None
    return digest.hexdigest()


def _val_shards(data: Path, manifest: Mapping[str, Any] | None) -> Iterator[Path]:
    shards = manifest.get("shards") if manifest is not None else None
    for shard in shards if isinstance(shards, list) else ():
        if isinstance(shard, dict) and shard.get("split") == "val" and isinstance(shard.get("file"), str):
            if "_bytes_" not in shard["file"]:
                yield data / shard["file"]
