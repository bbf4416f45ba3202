"""The bill of materials of an image, read from its archive: sbom.py ARCHIVE.tar NAME [LOCK ...].

Which Python distributions and which of Debian's packages are in an image is asked of the image's own files, not of what
was meant to be installed: their metadata in the layers of the OCI archive. What is written is CycloneDX 1.6, in the
classes of cyclonedx-python-lib. A distribution that a lock names carries the lock's hashes of it.
"""

import json
import re
import sys
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import IO

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_DPKG = "var/lib/dpkg/status"
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
            elif member.isfile() and (path == _DPKG or _METADATA.fullmatch(path)):
                stream = layer.extractfile(member)
                assert stream is not None, "a regular file has content"
                found[path] = stream.read().decode("utf-8", errors="replace")
    return found


def lock_hashes(locks: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """(distribution, version) to the SHA-256 sums that the locks' texts allow."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in locks:
        for entry in lock.replace("\\\n", " ").splitlines():
            if named := re.match(r"([A-Za-z0-9_.-]+)==([^\s;]+)", entry):
                hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
                found.setdefault((_normal(named[1]), named[2]), []).extend(hashes)
    return found


def components(files: dict[str, str], allowed: dict[tuple[str, str], list[str]]) -> Iterator[Component]:
    """One component a distribution of Python and one a package of Debian, as the files of an image name them."""
    for path, text in files.items():
        if path == _DPKG:
            for paragraph in text.split("\n\n"):
                fields = HeaderParser().parsestr(paragraph)
                if fields["Status"] == "install ok installed":
                    version, machine = fields["Version"], fields["Architecture"]
                    purl = PackageURL("deb", "debian", fields["Package"], version, {"arch": machine})
                    yield Component(
                        type=ComponentType.APPLICATION, name=fields["Package"], version=version, purl=purl,
                        bom_ref=purl.to_string(),
                    )  # fmt: skip
            continue
        fields = HeaderParser().parsestr(text)
        name, version = _normal(fields["Name"]), fields["Version"]
        purl = PackageURL("pypi", None, name, version)
        sums = sorted(set(allowed.get((name, version), [])))
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=purl,
            bom_ref=f"{purl.to_string()}#{path}",
            description=fields["Summary"],
            # A lock may allow several files of one version (one a platform); a single one is the component's own hash.
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sums[0])] if len(sums) == 1 else None,
            properties=[
                Property(name="fairway:path", value=path),
                *(Property(name="fairway:lock:sha256", value=value) for value in sums),
            ],
        )


def write(archive: Path, name: str, locks: list[Path], when: int) -> Path:
    """Writes the SBOM of the image in ``archive`` beside it (``.cdx.json``), dated ``when``; its path."""
    repository, _, tag = name.partition(":")
    digest = digest_of(archive)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = datetime.fromtimestamp(when, UTC)
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER,
        name=repository,
        version=tag,
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
    )
    allowed = lock_hashes(lock.read_text(encoding="utf-8") for lock in locks)
    inside = list(components(contents(layers(archive)), allowed))
    bom.components.update(inside)
    bom.register_dependency(bom.metadata.component, inside)
    target = archive.with_suffix(".cdx.json")
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n", encoding="utf-8")
    return target


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]), sys.argv[2], [Path(lock) for lock in sys.argv[3:]], 0)}\n")
