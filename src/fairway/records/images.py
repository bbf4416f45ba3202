"""Images of the environment: what each is made from, what it is called, and which build of it is meant.

``containers/images.toml`` says it; the workflow's ``container:``, ``fairway run --in-container`` and the builder of
images read it here. An image without a table ``built`` was never published: it is used as it was built on this
machine, under its tag, and no digest is claimed for it.
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError

IMAGES = Path("containers") / "images.toml"
BUILDS = Path("build") / "containers"
"""What building an image leaves behind (never committed)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_TEXTS = ("about", "containerfile", "repository", "tag", "python", "glibc")
_BUILT = ("digest", "revision", "lock", "base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build of an image."""

    digest: str
    """Of the image's manifest, ``sha256:...``: what a registry knows it by."""
    revision: str
    """The commit whose tree is in it."""
    lock: str
    """SHA-256 of the image's locks, one after the other."""
    base: str
    """The image that it stands on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image, and the build of it that is meant if there is one."""

    name: str
    about: str
    containerfile: str
    repository: str
    tag: str
    python: str
    """CPython in the image, ``3.12``; with ``glibc`` it decides which wheels fit."""
    glibc: str
    locks: tuple[str, ...]
    built: Built | None = None

    @property
    def tagged(self) -> str:
        """What the image is called on the machine that built it."""
        return f"{self.repository}:{self.tag}"

    @property
    def sif(self) -> str:
        """Where the workflow looks for the image as one file of Apptainer's, made on this machine."""
        return (BUILDS / f"{self.repository}.sif").as_posix()


def find_images(start: Path) -> Path:
    """The nearest folder at or above ``start`` that has ``containers/images.toml``."""
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / IMAGES).is_file():
            return folder
    raise FairwayError(f"no {IMAGES} at or above {here}; run from a checkout of the repository")


def load_images(root: Path) -> dict[str, Image]:
    """Name to image, as ``containers/images.toml`` under ``root`` has them; ``FairwayError`` names what is wrong."""
    path = root / IMAGES
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FairwayError(f"{path}: is no TOML: {error}") from error
    return {name: _image(path, name, table) for name, table in tables.items()}


def image_named(name: str, root: Path) -> Image:
    """One image of those; ``FairwayError`` lists the names there are."""
    images = load_images(root)
    if name not in images:
        raise FairwayError(f"{root / IMAGES}: has no image {name!r}; there are {', '.join(images)}")
    return images[name]


def lock_hash(image: Image, root: Path) -> str:
    """SHA-256, in hexadecimal, of the image's locks as they are now, one after the other."""
    digest = hashlib.sha256()
    for lock in image.locks:
        digest.update((root / lock).read_bytes())
    return digest.hexdigest()


def published(image: Image, root: Path, registry: str) -> str:
    """``registry/repository@digest`` of the pinned build; ``FairwayError`` if there is none or its locks changed."""
    if image.built is None:
        raise FairwayError(
            f"{root / IMAGES}: [{image.name}] pins no build, so {registry} has none of it; leave the registry out"
            f" to use the image built here, or build and push it and add the [{image.name}.built] that it prints"
        )
    if image.built.lock != (now := lock_hash(image, root)):
        raise FairwayError(
            f"{root / IMAGES}: [{image.name}.built] was made from other locks ({image.built.lock[:12]}, now"
            f" {now[:12]}); build it again (make container IMAGES={image.name}) or take the table out"
        )
    return f"{registry.rstrip('/')}/{image.repository}@{image.built.digest}"


def workflow_image(name: str, root: Path, registry: str) -> str:
    """What the workflow's ``container:`` takes: the pinned build in ``registry``, or a file made here if that is ''."""
    image = image_named(name, root)
    return f"docker://{published(image, root, registry)}" if registry else image.sif


def _image(path: Path, name: str, table: Any) -> Image:
    where = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise FairwayError(f"{where}: an image is a table, got {table!r}")
    _keys(where, table, {*_TEXTS, "locks"}, {"built"})
    locks = table["locks"]
    if not isinstance(locks, list) or not locks or not all(isinstance(lock, str) for lock in locks):
        raise FairwayError(f"{where}: locks is a list of files of requirements/, got {locks!r}")
    texts = {key: _text(where, table, key) for key in _TEXTS}
    return Image(name=name, **texts, locks=tuple(locks), built=_built(where, table.get("built")))


def _built(where: str, table: Any) -> Built | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        raise FairwayError(f"{where}: built is a table, got {table!r}")
    _keys(f"{where} built", table, set(_BUILT), set())
    texts = {key: _text(f"{where} built", table, key) for key in _BUILT}
    if not _DIGEST.fullmatch(texts["digest"]):
        raise FairwayError(f"{where}: built.digest is sha256: and 64 hexadecimal digits, got {texts['digest']!r}")
    if not _REVISION.fullmatch(texts["revision"]):
        raise FairwayError(f"{where}: built.revision is a commit of 40 hexadecimal digits, got {texts['revision']!r}")
    return Built(**texts)


def _keys(where: str, table: dict[str, Any], due: set[str], may: set[str]) -> None:
    if missing := sorted(due - set(table)):
        raise FairwayError(f"{where}: lacks {', '.join(missing)}")
    if unknown := sorted(set(table) - due - may):
        raise FairwayError(f"{where}: has {', '.join(unknown)}, which nothing reads")


def _text(where: str, table: dict[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise FairwayError(f"{where}: {key} is a text, got {value!r}")
    return value
