"""From a ``DataSpec`` to a folder that training and evaluation read, complete or not at all.

    manifest.json  tokenizer.model  documents.tsv          (no documents.tsv for published exports)
    train/fineweb_train_000000.bin ...
    val/fineweb_val_000000.bin ...                         (CaseOps: and fineweb_val_bytes_000000.bin ...)

Training and validation lie in two folders, so that evaluation can be given the second alone.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from fairway.data.byte_counts import ByteTable, has_sidecars, load_tokenizer, target_bytes
from fairway.data.caseops import CaseTable
from fairway.data.documents import document_lengths
from fairway.data.shards import Split, load_shards, load_tokens, read_header, sidecar_files, split_files
from fairway.errors import DataError
from fairway.fetch.embedded import DOCUMENTS_SHA256, SOURCE, embedded_documents
from fairway.fetch.hub import EXPORTS, download_export
from fairway.fetch.local import local_documents
from fairway.fetch.sidecar import check_sidecar
from fairway.prepare import DocumentRow, tokenize_to_shards, train_tokenizer
from fairway.runtime.files import sha256_file, write_text_atomic
from fairway.spec.data import DataSpec, EmbeddedCorpus, HubCorpus, LocalCorpus

FORMAT = "fairway-dataset"
VERSION = 1

_REQUEST = "request.json"
_PARTS = frozenset({"manifest.json", "tokenizer.model", "documents.tsv", "train", "val"})
_SPLITS: tuple[Split, ...] = ("train", "val")

Manifest = dict[str, Any]
Progress = Callable[[str], None]


def fetch_dataset(
    spec: DataSpec, folder: Path, *, endpoint: str | None = None, progress: Progress | None = None
) -> Manifest:
    """Build the dataset of a recipe in ``folder`` and return its manifest.

    It is built in a hidden folder beside and renamed at the end, so what is there is whole; a dataset that lies there
    already is replaced. A download that was interrupted goes on. ``DataError`` for everything the user can put right.
    """
    report = progress or _silent
    if folder.exists() and not _replaceable(folder):
        raise DataError(f"{folder}: exists and is no dataset; name a new folder")
    building = folder.with_name(f".{folder.name}.part")
    try:
        _start(building, spec, endpoint)
        corpus = spec.corpus
        if isinstance(corpus, HubCorpus):
            manifest = _fetch_export(spec, corpus, building, endpoint, report)
        else:
            manifest = _tokenize_documents(spec, corpus, building, report)
        (building / _REQUEST).unlink()
        write_text_atomic(building / "manifest.json", json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return manifest


def _replaceable(folder: Path) -> bool:
    """A dataset, or what a workflow that took its outputs back has left of one, may be replaced."""
    if not folder.is_dir():
        return False
    return (folder / "manifest.json").exists() or {path.name for path in folder.iterdir()} <= _PARTS


def verify_dataset(folder: Path) -> Manifest:
    """Check every file of a dataset against its manifest and return that; ``DataError`` names the file."""
    manifest = read_manifest(folder)
    for entry in (
        *manifest["shards"],
        manifest["tokenizer"],
        *([manifest["documents"]] if manifest["documents"] else []),
    ):
        path = folder / entry["file"]
        if "size_bytes" in entry and path.is_file() and path.stat().st_size != entry["size_bytes"]:
            raise DataError(f"{path}: has {path.stat().st_size} bytes, the manifest says {entry['size_bytes']}")
        if (digest := sha256_file(path)) != entry["sha256"]:
            raise DataError(f"{path}: has SHA-256 {digest}, the manifest says {entry['sha256']}")
        if "tokens" in entry and (tokens := read_header(path)) != entry["tokens"]:
            raise DataError(f"{path}: has {tokens} tokens, the manifest says {entry['tokens']}")
    listed = {entry["file"] for entry in manifest["shards"]}
    files = (path for split in _SPLITS for path in (folder / split).iterdir())
    # A workflow leaves hidden marks of its own in folders that it made; no reader takes them for shards.
    present = {f"{path.parent.name}/{path.name}" for path in files if not path.name.startswith(".")}
    if stray := sorted(present - listed):
        raise DataError(f"{folder / stray[0]}: is not in the manifest")
    if manifest["documents"]:
        prove_disjoint(read_rows(folder / manifest["documents"]["file"]))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a dataset folder; ``DataError`` if there is none or it is of another format."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; fetch the dataset first") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON") from error
    if not isinstance(manifest, dict) or (manifest.get("format"), manifest.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{path}: is no {FORMAT} of version {VERSION}")
    return manifest


def drop_duplicates(documents: Sequence[str]) -> list[str]:
    """Keep the first of documents that are equal byte for byte, so that none can stand on both sides of the split."""
    return list(dict.fromkeys(documents))


def shuffled(documents: Sequence[str], seed: int) -> list[str]:
    """Documents in an order that depends on the seed and their texts, not on the order they came in.

    Sorted by the SHA-256 of seed and text's SHA-256: no random generator whose stream a new version could change.
    """
    return sorted(documents, key=lambda text: hashlib.sha256(f"{seed}:{_sha256(text)}".encode()).digest())


def prove_disjoint(rows: Sequence[DocumentRow]) -> None:
    """Raise ``DataError`` if a document, told by the hash of its text, is both training and validation."""
    train = {row.sha256 for row in rows if row.split == "train"}
    val = {row.sha256 for row in rows if row.split == "val"}
    if both := train & val:
        raise DataError(f"{len(both)} documents are both training and validation, e.g. SHA-256 {min(both)}")


def write_rows(path: Path, rows: Sequence[DocumentRow]) -> None:
    """Write ``split, sha256, tokens, text bytes`` of each document, tab separated, one line each, in stream order."""
    write_text_atomic(path, "".join(f"{row.split}\t{row.sha256}\t{row.tokens}\t{row.text_bytes}\n" for row in rows))


def read_rows(path: Path) -> list[DocumentRow]:
    """Read what ``write_rows`` wrote; ``DataError`` names the first line that is otherwise."""
    rows: list[DocumentRow] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table of documents") from error
    for number, line in enumerate(lines, start=1):
        match line.split("\t"):
            case [("train" | "val") as split, sha256, tokens, text_bytes] if tokens.isdigit() and text_bytes.isdigit():
                rows.append(DocumentRow(split, sha256, int(tokens), int(text_bytes)))
            case _:
                raise DataError(f"{path}:{number}: should read split, sha256, tokens, text bytes, got {line[:80]!r}")
    return rows


def _start(building: Path, spec: DataSpec, endpoint: str | None) -> None:
    """Keep what an interrupted call for the same thing left; begin anew otherwise."""
    request = json.dumps({"spec": dataclasses.asdict(spec), "endpoint": endpoint}, sort_keys=True)
    marker = building / _REQUEST
    if marker.is_file() and marker.read_text(encoding="utf-8") == request and isinstance(spec.corpus, HubCorpus):
        return
    if building.exists():
        shutil.rmtree(building)
    building.mkdir(parents=True)
    write_text_atomic(marker, request)


def _tokenize_documents(
    spec: DataSpec, corpus: EmbeddedCorpus | LocalCorpus, building: Path, report: Progress
) -> Manifest:
    if isinstance(corpus, LocalCorpus):
        source = Path(corpus.path)
        documents = local_documents(source)
        origin = {"kind": "local", "source": source.name, "sha256": sha256_file(source)}
    else:
        documents = embedded_documents()
        origin = {"kind": "embedded", "source": SOURCE, "sha256": DOCUMENTS_SHA256}
    distinct = shuffled(drop_duplicates(documents), spec.shuffle_seed)
    if spec.val_docs >= len(distinct):
        raise DataError(f"val_docs is {spec.val_docs}, but there are {len(distinct)} distinct documents in all")
    texts: dict[Split, list[str]] = {"train": distinct[spec.val_docs :], "val": distinct[: spec.val_docs]}
    report(f"{len(texts['train'])} training and {len(texts['val'])} validation documents")

    tokenizer = building / "tokenizer.model"
    # On training documents alone: what is held out must not shape the vocabulary either.
    train_tokenizer(texts["train"], tokenizer, spec.vocab_size, transform=spec.transform)
    report(f"tokenizer of {spec.vocab_size} pieces")
    rows: list[DocumentRow] = []
    for split in _SPLITS:
        rows += tokenize_to_shards(
            texts[split], tokenizer, building / split, split, spec.shard_tokens, transform=spec.transform
        )
    prove_disjoint(rows)
    table = building / "documents.tsv"
    write_rows(table, rows)

    text_bytes = {split: sum(row.text_bytes for row in rows if row.split == split) for split in _SPLITS}
    manifest = _manifest(
        spec,
        building,
        corpus={
            **origin,
            "documents": len(documents),
            "duplicates_dropped": len(documents) - len(distinct),
            "shuffle_seed": spec.shuffle_seed,
        },
        documents={
            "file": table.name,
            "sha256": sha256_file(table),
            **{split: len(texts[split]) for split in _SPLITS},
            **{f"{split}_text_bytes": text_bytes[split] for split in _SPLITS},
            "overlap": 0,
        },
    )
    for split in _SPLITS:
        tokens_N = load_tokens(building / split, split)
        if spec.transform == "caseops":
            counted = int(CaseTable.from_tokenizer(tokenizer).of_tokens(tokens_N).sum(dtype=torch.float64))
        else:
            counted = ByteTable.from_tokenizer(tokenizer).total(tokens_N)
        if counted != text_bytes[split]:
            raise DataError(f"{split}: the tokenizer counts {counted} bytes, the text has {text_bytes[split]}")
    if manifest["val"]["bytes"] != text_bytes["val"]:
        raise DataError(f"val: {manifest['val']['bytes']} bytes are counted, the text has {text_bytes['val']}")
    report(f"{manifest['val']['tokens']} validation tokens for {manifest['val']['bytes']} bytes")
    return manifest


def _fetch_export(
    spec: DataSpec, corpus: HubCorpus, building: Path, endpoint: str | None, report: Progress
) -> Manifest:
    export = EXPORTS[corpus.variant]
    if spec.vocab_size != export.vocab_size:
        raise DataError(f"vocab_size is {spec.vocab_size}, the tokenizer of {corpus.variant} has {export.vocab_size}")
    downloads = building / "download"
    got = download_export(corpus.variant, corpus.train_shards, downloads, endpoint=endpoint, progress=report)
    pieces = load_tokenizer(got.tokenizer).get_piece_size()
    if pieces != spec.vocab_size:
        raise DataError(f"{export.repo}: {export.tokenizer} has {pieces} pieces, should have {spec.vocab_size}")
    tokens_N = load_shards(got.val)
    documents = len(document_lengths(tokens_N))
    for held_out, what in ((documents, "the validation shards hold"), (spec.val_docs, "val_docs is")):
        if held_out != export.val_docs:
            # Another number means another split: documents that others hold out may be among these training shards.
            # A published script for CaseOps shards holds out 10,000 unless told otherwise (recipes G.7).
            raise DataError(f"{export.repo}: {what} {held_out}, the competition holds out {export.val_docs} documents")
    if spec.transform == "caseops":
        check_sidecar(load_shards(got.sidecars), tokens_N, CaseTable.from_tokenizer(got.tokenizer))
    # Nothing moves before all is checked, so that an interrupted or refused fetch finds its downloads again.
    for split, files in (("train", got.train), ("val", [*got.val, *got.sidecars])):
        if (building / split).exists():
            shutil.rmtree(building / split)
        (building / split).mkdir()
        for file in files:
            file.replace(building / split / file.name)
    got.tokenizer.replace(building / "tokenizer.model")
    manifest = _manifest(
        spec,
        building,
        corpus={
            "kind": "hub",
            "source": export.repo,
            "commit": got.commit,
            "dataset": export.dataset,
            "variant": corpus.variant,
            "val_documents": documents,
        },
        documents=None,
    )
    shutil.rmtree(downloads)
    return manifest


def _manifest(spec: DataSpec, folder: Path, *, corpus: dict[str, Any], documents: dict[str, Any] | None) -> Manifest:
    tokenizer = folder / "tokenizer.model"
    tokens = load_tokens(folder / "val", "val")
    counted = int(target_bytes(folder / "val", tokens, tokenizer).sum(dtype=torch.float64))
    if spec.transform != "none":
        corpus = {**corpus, "transform": spec.transform}
    files = [("train", path) for path in split_files(folder / "train", "train")]
    files += [("val", path) for path in split_files(folder / "val", "val")]
    if has_sidecars(folder / "val"):
        files += [("val", path) for path in sidecar_files(folder / "val")]
    return {
        "format": FORMAT,
        "version": VERSION,
        "corpus": corpus,
        "tokenizer": {"file": tokenizer.name, "sha256": sha256_file(tokenizer), "vocab_size": spec.vocab_size},
        "shards": [
            {
                "file": f"{split}/{path.name}",
                "split": split,
                "tokens": read_header(path),
                "size_bytes": path.stat().st_size,
                "sha256": sha256_file(path),
            }
            for split, path in files
        ],
        "documents": documents,
        "val": {"tokens": len(tokens), "targets": len(tokens) - 1, "bytes": counted},
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _silent(line: str) -> None:
    """Tell nobody."""
