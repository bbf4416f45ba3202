"""The command line of docker or podman that runs something in an image, shut in.

The container sees four folders of the checkout (data, results, logs, records) and the recipes, has no network, a root
that is read-only, no privileges, and runs as a user that is not root. Which image it was stands in CONTAINER_IMAGE (not
FAIRWAY_...: the program that runs refuses any of those that it does not know).
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.errors import FairwayError
from fairway.records.images import Image, published

ENGINES = ("docker", "podman")
FOLDERS = ("data", "results", "logs", "records")
"""What a run reads and leaves behind; made here first, for the engine would make them as root."""

_SHARED_MEMORY = "16g"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """How a container is shut in."""

    engine: str
    user: str
    """``UID:GID``, neither of root."""
    gpus: int


def find_engine(asked: str | None) -> str:
    """``asked`` if it answers, else the first engine that does; docker without its daemon does not."""
    if asked is not None and asked not in ENGINES:
        raise FairwayError(f"--engine: {asked!r} is none of {', '.join(ENGINES)}")
    for engine in (asked,) if asked is not None else ENGINES:
        if shutil.which(engine) and _said(engine, "version") is not None:
            return engine
    raise FairwayError(
        f"no {asked or ' or '.join(ENGINES)} answers here; install one, start its service, or run without"
    )


def find_user(asked: str | None) -> str:
    """``UID:GID`` that the container runs as: the caller's own unless another is asked for; root is refused."""
    user = asked if asked is not None else f"{os.getuid()}:{os.getgid()}"
    numbers = user.split(":")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise FairwayError(f"--user: {user!r} is not UID:GID, as in 1000:1000")
    if int(numbers[0]) == 0:
        raise FairwayError("the container does not run as root: call it as another user, or name one: --user 1000:1000")
    return user


def find_image(image: Image, root: Path, registry: str, engine: str) -> tuple[str, str]:
    """What the engine is to run, and what it is called in CONTAINER_IMAGE (with a digest or the image's own sum)."""
    if registry:
        reference = published(image, root, registry)
        return reference, reference
    identity = _said(engine, "image", "inspect", "--format", "{{.Id}}", image.tagged)
    if identity is None:
        raise FairwayError(
            f"{engine} has no image {image.tagged}; make it (make container IMAGES={image.name} ENGINE={engine})"
            " or name the registry that has it (--registry)"
        )
    return image.tagged, f"{image.tagged}@sha256:{identity.removeprefix('sha256:')}"


def container_command(shut: Shut, reference: str, called: str, root: Path, words: Sequence[str]) -> list[str]:
    """The engine's call that runs ``words`` in the image ``reference`` over the folders under ``root``."""
    if "," in str(root):
        raise FairwayError(f"{root}: a folder with a comma in its name cannot be mounted")
    call = [shut.engine, "run", "--rm", "--init", "--network", "none", "--read-only", "--cap-drop", "ALL"]
    call += ["--security-opt", "no-new-privileges", "--user", shut.user]
    if shut.engine == "podman" and os.getuid() != 0:
        call += ["--userns", "keep-id"]  # without it the caller's number is another user's in the container
    for folder in ("/fairway", "/tmp"):
        call += ["--tmpfs", f"{folder}:exec,mode=1777"]
    for name in FOLDERS:
        call += ["--mount", f"type=bind,source={root / name},target=/fairway/{name}"]
    call += ["--mount", f"type=bind,source={root / 'workflow' / 'recipes'},target=/recipes,readonly"]
    call += ["--env", f"CONTAINER_IMAGE={called}"]
    if shut.gpus:
        call += ["--gpus", "all"] if shut.engine == "docker" else ["--device", "nvidia.com/gpu=all"]
        call += ["--shm-size", _SHARED_MEMORY]  # ranks talk through it; an engine gives 64 MB
    return [*call, reference, *words]


def make_folders(root: Path) -> None:
    """The folders that are mounted, where they are missing."""
    for name in FOLDERS:
        (root / name).mkdir(exist_ok=True)


def _said(engine: str, *words: str) -> str | None:
    """What the engine answers, or nothing if it fails."""
    answer = subprocess.run([engine, *words], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None
