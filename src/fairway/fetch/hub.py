"""The published FineWeb exports, already tokenized (recipes A.2), through the hub's own client.

What is asked for is decided from the repository's list of files at one commit; what arrives is checked against that
list (size, SHA-256) and against its own header. A connection that breaks is taken up at the byte where it broke; a
fetch that was killed keeps the files it had finished.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, hf_hub_download

from fairway.data.shards import read_header
from fairway.errors import DataError
from fairway.runtime.files import sha256_file

Variant = Literal["sp1024", "sp4096", "sp8192", "sp8192_caseops"]
Kind = Literal["train", "val", "sidecar"]


@dataclass(frozen=True, slots=True)
class Export:
    """Where one published export lies."""

    repo: str
    dataset: str
    tokenizer: str
    vocab_size: int
    sidecars: bool = False
    val_docs: int = 50_000
    """Documents that the competition holds out, the first of its list (recipes A.2)."""
    root: str = "datasets"

    @property
    def folder(self) -> str:
        """Folder of the shards inside the repository."""
        return f"{self.root}/datasets/{self.dataset}"


EXPORTS: dict[str, Export] = {
    "sp1024": Export("willdepueoai/parameter-golf", "fineweb10B_sp1024", "fineweb_1024_bpe.model", 1024),
    "sp4096": Export("kevclark/parameter-golf", "fineweb10B_sp4096", "fineweb_4096_bpe.model", 4096),
    "sp8192": Export("kevclark/parameter-golf", "fineweb10B_sp8192", "fineweb_8192_bpe.model", 8192),
    "sp8192_caseops": Export(
        "romeerp/parameter-golf-caseops-v1",
        "fineweb10B_sp8192_lossless_caps_caseops_v1_reserved",
        "fineweb_8192_bpe_lossless_caps_caseops_v1_reserved.model",
        8192,
        sidecars=True,
    ),
}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository at one commit."""

    path: str
    size_bytes: int | None
    sha256: str | None
    """Known for files in large-file storage, which all shards are."""


@dataclass(frozen=True, slots=True)
class Download:
    """Files of an export on this machine, checked."""

    commit: str
    tokenizer: Path
    train: list[Path]
    val: list[Path]
    sidecars: list[Path]


_KINDS: dict[Kind, re.Pattern[str]] = {
    "train": re.compile(r"fineweb_train_(\d{6,})\.bin"),
    "val": re.compile(r"fineweb_val_(\d{6,})\.bin"),
    "sidecar": re.compile(r"fineweb_val_bytes_(\d{6,})\.bin"),
}


def kind_of(name: str) -> Kind | None:
    """Tell by its whole name what a file of an export is: a byte sidecar also begins like a validation shard."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(name):
            return kind
    return None


def download_export(
    variant: Variant,
    train_shards: int,
    folder: Path,
    *,
    endpoint: str | None = None,
    progress: Callable[[str], None],
) -> Download:
    """Fetch the whole validation split, the first training shards and the tokenizer of an export into ``folder``.

    ``DataError`` for an export that lacks them, an unreachable hub, or a file that is not what was published; a bad
    file is taken away, so the next call fetches only that one again.
    """
    # The client names unfinished files anew each time, so those that a killed process left are of no use to it.
    for unfinished in folder.rglob("*.incomplete"):
        unfinished.unlink()
    export = EXPORTS[variant]
    commit, files = list_files(export, endpoint=endpoint)
    chosen = {kind: _choose(export, files, kind) for kind in ("val", "train")}
    if not 1 <= train_shards <= len(chosen["train"]):
        raise DataError(
            f"{export.repo}: {export.dataset} has {len(chosen['train'])} training shards, train_shards={train_shards}"
        )
    sidecars = _choose(export, files, "sidecar") if export.sidecars else []
    if export.sidecars and len(sidecars) != len(chosen["val"]):
        raise DataError(
            f"{export.repo}: {export.dataset} has {len(chosen['val'])} validation shards, {len(sidecars)} byte sidecars"
        )

    def get(remote: RemoteFile) -> Path:
        progress(f"{export.repo} {remote.path}")
        return fetch_file(export.repo, commit, remote, folder, endpoint=endpoint)

    tokenizer = get(_only(export, files, _tokenizer_path(export, files, get)))
    return Download(
        commit,
        tokenizer,
        train=[get(remote) for remote in chosen["train"][:train_shards]],
        val=[get(remote) for remote in chosen["val"]],
        sidecars=[get(remote) for remote in sidecars],
    )


def list_files(export: Export, *, endpoint: str | None) -> tuple[str, dict[str, RemoteFile]]:
    """Return the newest commit of the repository and its files by path."""
    try:
        info = HfApi(endpoint=endpoint, token=_token(endpoint)).dataset_info(export.repo, files_metadata=True)
    except (httpx2.HTTPError, OSError) as error:
        raise DataError(f"{export.repo}: the hub cannot be asked for its files: {_one_line(error)}") from error
    if not info.sha:
        raise DataError(f"{export.repo}: the hub names no commit")
    files = {
        sibling.rfilename: RemoteFile(sibling.rfilename, sibling.size, sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or []
    }
    return info.sha, files


def fetch_file(repo: str, commit: str, remote: RemoteFile, folder: Path, *, endpoint: str | None) -> Path:
    """Download one file, or what is missing of it, and check it; ``DataError`` names what is wrong."""
    try:
        path = Path(
            hf_hub_download(
                repo,
                remote.path,
                repo_type="dataset",
                revision=commit,
                local_dir=folder,
                endpoint=endpoint,
                token=_token(endpoint),
            )
        )
    except (httpx2.HTTPError, OSError) as error:
        raise DataError(f"{repo}: {remote.path} cannot be downloaded: {_one_line(error)}") from error
    try:
        check_file(path, remote)
    except DataError as error:
        # The client takes a file that is there for a good one; only without it will the next call ask again.
        path.unlink()
        raise DataError(f"{repo}: {error}") from error
    return path


def check_file(path: Path, remote: RemoteFile) -> None:
    """Compare a downloaded file with what the hub lists and, if it is a shard, with its own header."""
    size_bytes = path.stat().st_size
    if remote.size_bytes is not None and size_bytes != remote.size_bytes:
        raise DataError(f"{remote.path} has {size_bytes} bytes, the hub lists {remote.size_bytes}")
    if remote.sha256 is not None and (digest := sha256_file(path)) != remote.sha256:
        raise DataError(f"{remote.path} has SHA-256 {digest}, the hub lists {remote.sha256}")
    if kind_of(path.name):
        read_header(path)


def _choose(export: Export, files: dict[str, RemoteFile], kind: Kind) -> list[RemoteFile]:
    found: dict[int, RemoteFile] = {}
    for path, remote in files.items():
        folder, _, name = path.rpartition("/")
        if folder == export.folder and kind_of(name) == kind:
            match = _KINDS[kind].fullmatch(name)
            assert match is not None
            found[int(match[1])] = remote
    if not found:
        raise DataError(f"{export.repo}: no {kind} files under {export.folder}")
    first = min(found)
    if missing := sorted(set(range(first, first + len(found))) - set(found)):
        raise DataError(f"{export.repo}: {kind} file {missing[0]} of {export.folder} is missing")
    return [found[index] for index in sorted(found)]


def _tokenizer_path(export: Export, files: dict[str, RemoteFile], get: Callable[[RemoteFile], Path]) -> str:
    """Path of the tokenizer by the repository's own manifest, which must know the export."""
    path = get(_only(export, files, f"{export.root}/manifest.json"))
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        datasets = {entry["name"]: entry for entry in manifest["datasets"]}
        tokenizers = {entry["name"]: entry for entry in manifest["tokenizers"]}
        dataset = datasets.get(export.dataset)
        if dataset is None:
            raise DataError(f"{export.repo}: its manifest does not know {export.dataset}, only {', '.join(datasets)}")
        named = str(tokenizers[dataset["tokenizer_name"]]["model_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{export.repo}: its manifest.json does not name the tokenizer of {export.dataset}") from error
    if named.rpartition("/")[2] != export.tokenizer:
        raise DataError(f"{export.repo}: {export.dataset} should go with {export.tokenizer}, its manifest says {named}")
    return f"{export.root}/tokenizers/{export.tokenizer}"


def _only(export: Export, files: dict[str, RemoteFile], path: str) -> RemoteFile:
    if path not in files:
        raise DataError(f"{export.repo}: {path} is missing")
    return files[path]


def _token(endpoint: str | None) -> bool | None:
    # The exports are public; a mirror has no business with the user's token.
    return None if endpoint is None else False


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
