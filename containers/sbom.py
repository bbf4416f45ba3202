"""The bill of materials of an image, read from its archive: sbom.py ARCHIVE.tar NAME [LOCK ...].

Which Python distributions and which of Debian's packages are in an image is asked of the image's own files, not of what
was meant to be installed: their metadata in the layers of the OCI archive. What is written is CycloneDX 1.6, in the
classes of cyclonedx-python-lib. A distribution that a lock names carries the lock's hashes of it.
"""

import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path

from archive import DPKG, OS_RELEASE, contents, digest_of, distribution, layers, lock_hashes, normal
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def components(files: dict[str, str], allowed: dict[tuple[str, str], list[str]]) -> Iterator[Component]:
    """One component a distribution of Python and one a package of Debian, as the files of an image name them."""
    for path, text in files.items():
        if path == OS_RELEASE:
            continue
        if path == DPKG:
            yield from _packages(text, distribution(files))
            continue
        fields = HeaderParser().parsestr(text)
        name, version = normal(fields["Name"]), fields["Version"]
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


def _packages(status: str, distribution: str) -> Iterator[Component]:
    """What dpkg says is installed."""
    for paragraph in status.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if fields["Status"] == "install ok installed":
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            purl = PackageURL("deb", distribution, name, version, {"arch": machine})
            yield Component(
                type=ComponentType.APPLICATION, name=name, version=version, purl=purl, bom_ref=purl.to_string()
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


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]), sys.argv[2], [Path(lock) for lock in sys.argv[3:]], 0)}\n")
