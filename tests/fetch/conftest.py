"""A hub on this machine: the part of the hub's protocol that its client uses to list and download a dataset."""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from fairway.data.byte_counts import load_tokenizer
from fairway.data.caseops import encode_case
from fairway.data.shards import write_shard
from fairway.fetch.hub import EXPORTS
from fairway.prepare import train_tokenizer

SENTENCES = [
    "The ship left the harbour at dawn, and nobody saw it again.",
    "In 1984 there were three of them; by 2024 more than a thousand!",
    "Café crème and naïve façades stood along the promenade.",
    "What the captain wrote that night was found much later.",
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Files of repositories, what goes wrong with them, and what was asked."""

    endpoint: str = ""
    commit: str = COMMIT
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository to path to content."""
    listed_sha256: dict[str, str] = field(default_factory=dict)
    """Path to a digest that the hub lists instead of the true one."""
    listed_size: dict[str, int] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    """Path to bytes after which the connection breaks."""
    broken: set[str] = field(default_factory=set)
    """Paths whose content cannot be had, once the connection has broken if it is to break."""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each download."""
    tokens_seen: set[str | None] = field(default_factory=set)

    @staticmethod
    def sentence(number: int) -> str:
        """Text of the document with this number."""
        return f"{number} {SENTENCES[number % 4]}"

    def downloads_of(self, name: str) -> list[str | None]:
        """Range headers of the downloads of files with this name."""
        return [wanted for path, wanted in self.gets if path.endswith("/" + name)]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            hub.tokens_seen.add(self.headers.get("Authorization"))
            url = self.path.partition("?")[0]
            if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(/revision/[^/]+)?", url):
                self._list(match[1])
            elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url):
                assert match[2] == COMMIT, "downloads name the commit that was listed"
                self._file(match[1], match[3], body)
            else:
                self._send(404, b"", {})

        def _list(self, repo: str) -> None:
            if repo not in hub.files:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            siblings = []
            for path, data in hub.files[repo].items():
                size = hub.listed_size.get(path, len(data))
                entry: dict[str, object] = {"rfilename": path, "size": size, "blobId": "0" * 40}
                if not path.endswith(".json"):
                    sha256 = hub.listed_sha256.get(path, hashlib.sha256(data).hexdigest())
                    entry["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
                siblings.append(entry)
            answer = {"id": repo, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings}
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _file(self, repo: str, path: str, body: bool) -> None:
            data = hub.files[repo].get(path)
            if data is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            wanted = self.headers.get("Range")
            headers = {
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
                "Accept-Ranges": "bytes",
            }
            if body:
                hub.gets.append((path, wanted))
                if path in hub.broken and path not in hub.cut_after:
                    self._send(403, b"", {})
                    return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            part = data[start:]
            if body and path in hub.cut_after:
                self._send(206 if start else 200, part[: hub.cut_after.pop(path)], headers, len(part))
                self.close_connection = True
            else:
                self._send(206 if start else 200, part if body else b"", headers, len(part))

        def _send(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            self.end_headers()
            self.wfile.write(data)

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Small blocks, so that a connection that breaks has already left something to go on from.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 64)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(SENTENCES * 5, path, 340)
    return path


@pytest.fixture(scope="session")
def case_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "caseops.model"
    train_tokenizer(SENTENCES * 5, path, 340, transform="caseops")
    return path


@pytest.fixture
def publish(
    hub: Hub,
    small_tokenizer: Path,
    case_tokenizer: Path,
    shard_bytes: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[str, bytes]]:
    """Lay out an export as published, with a small tokenizer, and return its files, which may still be changed."""

    def lay_out(variant: str, train: int = 3, val: int = 2) -> dict[str, bytes]:
        export = replace(EXPORTS[variant], vocab_size=340, val_docs=2 * val)
        monkeypatch.setitem(EXPORTS, variant, export)
        files = hub.files.setdefault(export.repo, {})
        for index in range(train):
            files[f"{export.folder}/fineweb_train_{index:06d}.bin"] = shard_bytes(100 + 2 * index, export.sidecars)
        for index in range(val):
            shard = files[f"{export.folder}/fineweb_val_{index:06d}.bin"] = shard_bytes(2 * index, export.sidecars)
            if export.sidecars:
                counts = piece_bytes(case_tokenizer, shard[1024:])
                files[f"{export.folder}/fineweb_val_bytes_{index:06d}.bin"] = shard[:1024] + counts
        tokenizer = case_tokenizer if export.sidecars else small_tokenizer
        files[f"datasets/tokenizers/{export.tokenizer}"] = tokenizer.read_bytes()
        manifest = {
            "datasets": [
                {"name": "fineweb10B_other", "tokenizer_name": "other"},
                {"name": export.dataset, "tokenizer_name": "sp", "stats": {"files_train": train, "files_val": val}},
            ],
            "tokenizers": [{"name": "sp", "model_path": f"tokenizers/{export.tokenizer}"}],
        }
        files["datasets/manifest.json"] = json.dumps(manifest).encode()
        return files

    return lay_out


def piece_bytes(tokenizer: Path, shard: bytes) -> bytes:
    """Byte counts of a shard's tokens by their spelling; the sentences hold no operator of their own."""
    processor = load_tokenizer(tokenizer)
    counts = []
    for token in struct.unpack(f"<{len(shard) // 2}H", shard):
        piece = processor.id_to_piece(token)
        silent = token == 1 or piece in "\ue001\ue002\ue003\ue004"
        counts.append(0 if silent else 1 if processor.is_byte(token) else len(piece.replace("\u2581", " ").encode()))
    return struct.pack(f"<{len(counts)}H", *counts)


@pytest.fixture(scope="session")
def shard_bytes(
    small_tokenizer: Path, case_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., bytes]:
    folder = tmp_path_factory.mktemp("shards")
    plain, cased = load_tokenizer(small_tokenizer), load_tokenizer(case_tokenizer)

    def make(first: int, caseops: bool) -> bytes:
        """Return a shard of two documents that differ by ``first``."""
        tokens: list[int] = []
        for number in (first, first + 1):
            text = Hub.sentence(number)
            tokens += [1, *(cased.encode(encode_case(text)) if caseops else plain.encode(text))]
        write_shard(folder / "shard.bin", np.array(tokens, dtype=np.uint16))
        return (folder / "shard.bin").read_bytes()

    return make
