"""What an OCI archive says of the image in it: its digest, and the package metadata among its files."""

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

DPKG = "var/lib/dpkg/status"
OS_RELEASE = "usr/lib/os-release"
_METADATA = re.compile(r"(.*/)?[^/]+\.dist-info/METADATA")
_WHITEOUT = ".wh."


def _blob(tar: tarfile.TarFile, digest: str) -> IO[bytes]:
    stream = tar.extractfile("blobs/" + digest.replace(":", "/"))
    assert stream is not None, "a blob of an OCI archive is a regular file"
    return stream


def digest_of(archive: Path) -> str:
    """``sha256:...`` of the manifest of the one image in an OCI archive."""
    with tarfile.open(archive) as tar:
        index = tar.extractfile("index.json")
        assert index is not None, "a file of an OCI archive is a regular one"
        (manifest,) = json.load(index)["manifests"]
    return str(manifest["digest"])


def layers(archive: Path) -> Iterator[tarfile.TarFile]:
    """The layers of the one image in an OCI archive, lowest first, each open for as long as it is looked at."""
    digest = digest_of(archive)
    with tarfile.open(archive) as tar:
        for layer in json.load(_blob(tar, digest))["layers"]:
            with tarfile.open(fileobj=_blob(tar, layer["digest"])) as files:
                yield files


def contents(stack: Iterable[tarfile.TarFile]) -> dict[str, str]:
    """Path to text of every file of package metadata that the image ends up with; a whiteout removes what is below."""
    found: dict[str, str] = {}
    for layer in stack:
        for member in layer:
            path = member.name.removeprefix("./")
            folder, _, name = path.rpartition("/")
            if name.startswith(_WHITEOUT):
                gone = folder if name == ".wh..wh..opq" else f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
                found = {kept: text for kept, text in found.items() if not f"{kept}/".startswith(f"{gone}/")}
            elif member.isfile() and (path in (DPKG, OS_RELEASE) or _METADATA.fullmatch(path)):
                stream = layer.extractfile(member)
                assert stream is not None, "a regular file has content"
                found[path] = stream.read().decode("utf-8", errors="replace")
    return found


def distribution(files: dict[str, str]) -> str:
    """``debian``, ``ubuntu``: what the image calls the system that it holds."""
    named = re.search(r'^ID="?([a-z]+)"?$', files.get(OS_RELEASE, ""), flags=re.MULTILINE)
    assert named is not None, "an image of a system has an os-release"
    return named[1]


def lock_hashes(locks: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """(distribution, version) to the SHA-256 sums that the locks' texts allow."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in locks:
        for entry in lock.replace("\\\n", " ").splitlines():
            if named := re.match(r"([A-Za-z0-9_.-]+)==([^\s;]+)", entry):
                hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
                found.setdefault((normal(named[1]), named[2]), []).extend(hashes)
    return found


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
