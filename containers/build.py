"""Builds the images that images.toml names, with whatever builder is here: build.py [--engine NAME] [IMAGE ..].

An image is built from a folder made for it, build/containers/NAME/: source/ is the tree of HEAD (`git archive`: what
git does not track cannot get in) and wheels/ what its locks name, downloaded and checked here. The build itself asks no
package index, so that no index, credential or configuration of pip's can end up in an image.

It leaves an OCI archive, an SBOM (CycloneDX) and the facts of the build beside that folder, and prints the table for
images.toml. Layers carry no dates of their own but that of the last change of the locks (SOURCE_DATE_EPOCH), so that
the same revision, wheels and base give the same digest, and revisions with the same locks share the layer of the
environment.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import wheels
from archive import digest_of

from fairway.errors import FairwayError
from fairway.records.images import BUILDS, Image, image_named, lock_hash

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("docker", "podman", "buildah")


def engine_here() -> str:
    """The first builder that is installed and answers; docker without its daemon does not."""
    for engine in ENGINES:
        asked = [engine, "version"] if engine != "buildah" else [engine, "--version"]
        if shutil.which(engine) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return engine
    raise FairwayError(f"no builder of images answers here; install one of {', '.join(ENGINES)}")


def git(*words: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def lay_out(image: Image, folder: Path, revision: str) -> None:
    """The folder that the build sees: the tree of ``revision`` and the wheels of the image's locks."""
    shutil.rmtree(folder / "source", ignore_errors=True)
    (folder / "source").mkdir(parents=True)
    # A mask of its own: the builder's would decide the modes of the files, and so the digest.
    archive = ["git", "-c", "tar.umask=0022", "archive", revision]
    with subprocess.Popen(archive, cwd=ROOT, stdout=subprocess.PIPE) as tree:
        subprocess.run(["tar", "-x", "-p", "-C", str(folder / "source")], stdin=tree.stdout, check=True)
    if tree.returncode:
        raise FairwayError(f"git archive of {revision} failed")
    (folder / "wheels").mkdir(exist_ok=True)
    wheels.download([ROOT / lock for lock in image.locks], image.python, image.glibc, folder / "wheels")


def build_command(
    engine: str, image: Image, folder: Path, archive: Path, arguments: dict[str, str], fresh: bool
) -> list[list[str]]:
    """The builder's calls that make ``archive`` (OCI) from ``folder`` and leave the image under its tag."""
    metadata = archive.with_suffix(".metadata.json")
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    given += ["--no-cache"] if fresh else []
    file = ["--file", str(ROOT / image.containerfile)]
    if engine == "docker":
        out = f"type=oci,dest={archive},rewrite-timestamp=true,name={image.tagged}"
        make = ["docker", "buildx", "build", *file, *given, "--provenance=false", "--metadata-file", str(metadata)]
        return [[*make, "--output", out, str(folder)], ["docker", "load", "--input", str(archive)]]
    make = [engine, "build", *file, *given, "--timestamp", arguments["SOURCE_DATE_EPOCH"], "--format", "oci"]
    # Where there are no namespaces to be had (in a container, say), buildah still has chroot.
    if engine == "buildah":
        make += ["--isolation", "chroot", "--layers"]
        save = ["buildah", "push", "--quiet", image.tagged, f"oci-archive:{archive}:{image.tagged}"]
    else:
        save = ["podman", "save", "--quiet", "--format", "oci-archive", "--output", str(archive), image.tagged]
    return [[*make, "--tag", image.tagged, str(folder)], save]


def build(name: str, engine: str, base: str | None, *, fresh: bool) -> dict[str, object]:
    """Builds one image; the facts of the build."""
    started = time.monotonic()
    image = image_named(name, ROOT)
    base = pinned(engine, base) if base else default_base(ROOT / image.containerfile)
    revision, when = git("rev-parse", "HEAD"), git("log", "-1", "--format=%ct", "--", *image.locks)
    folder, archive = ROOT / BUILDS / name, ROOT / BUILDS / f"{image.repository}.tar"
    lay_out(image, folder, revision)
    lock = lock_hash(image, folder / "source")
    if lock != lock_hash(image, ROOT):
        raise FairwayError(f"{', '.join(image.locks)}: differ from those of HEAD; commit them first")
    arguments = {"SOURCE_DATE_EPOCH": when, "REVISION": revision, "LOCK": lock, "BASE": base}
    archive.unlink(missing_ok=True)
    laid_out = time.monotonic()
    for call in build_command(engine, image, folder, archive, arguments, fresh):
        subprocess.run(call, check=True, stdout=sys.stderr)
    built = time.monotonic()
    from sbom import write  # the classes of an SBOM are in the tools' environment alone

    bom = write(archive, image.tagged, [folder / "source" / lock for lock in image.locks], int(when))
    facts: dict[str, object] = {
        "image": image.tagged,
        "digest": digest_of(archive),
        "revision": revision,
        "lock": lock,
        "base": base,
        "engine": engine,
        "archive_bytes": archive.stat().st_size,
        "sbom": bom.name,
        "sbom_sha256": hashlib.sha256(bom.read_bytes()).hexdigest(),
        "seconds_context": round(laid_out - started, 1),
        "seconds_build": round(built - laid_out, 1),
        "seconds_sbom": round(time.monotonic() - built, 1),
    }
    archive.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def pinned(engine: str, base: str) -> str:
    """A base by its digest: an image of this machine is asked for its own, one of a registry must be named with it."""
    if "@" in base:
        return base
    asked = {
        "docker": ["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", base],
        "podman": ["podman", "image", "inspect", "--format", f"{base}@{{{{.Digest}}}}", base],
        "buildah": ["buildah", "inspect", "--type", "image", "--format", f"{base}@{{{{.FromImageDigest}}}}", base],
    }
    answer = subprocess.run(asked[engine], capture_output=True, text=True, check=False)
    if answer.returncode or "@sha256:" not in answer.stdout:
        raise FairwayError(f"the base {base} is not here and names no digest; write it as {base}@sha256:...")
    return answer.stdout.strip()


def default_base(containerfile: Path) -> str:
    """The base that a Containerfile names itself."""
    lines = containerfile.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="*", default=["cpu", "judge"], metavar="IMAGE")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--base", help="the base image, instead of the one that the Containerfile pins")
    parser.add_argument("--fresh", action="store_true", help="take no layer from an earlier build")
    words = parser.parse_args()
    os.umask(0o022)
    try:
        engine = words.engine or engine_here()
        if git("status", "--porcelain", "--untracked-files=no"):
            sys.stderr.write("make container: uncommitted changes are left out; the images are of HEAD\n")
        for name in words.images:
            facts = build(name, engine, words.base, fresh=words.fresh)
            table = "".join(f'{key} = "{facts[key]}"\n' for key in ("digest", "revision", "lock", "base"))
            sys.stdout.write(f"{json.dumps(facts, indent=2)}\n\n[{name}.built]\n{table}\n")
    except (FairwayError, subprocess.CalledProcessError) as error:
        sys.exit(f"make container: {error}")


if __name__ == "__main__":
    main()
