"""The image of the workflow is the one in containers/images.toml: a pinned digest, or a file made here."""

import hashlib
import tomllib

import pytest

APPTAINER = """#!/bin/sh
# Stands in for Apptainer: notes each call and runs the command of `exec` here.
echo "$*" >> "$(dirname "$0")/../apptainer.txt"
case $1 in
  --version) echo "apptainer version 1.4.0" ;;
  pull) : > "$3" ;;
  *) for last in "$@"; do :; done; exec bash -c "$last" ;;
esac
"""


@pytest.fixture
def apptainer(stand_in, workplace):
    """A stand-in for Apptainer beside the one for fairway; its calls come back."""
    (stand_in / "apptainer").write_text(APPTAINER, encoding="utf-8")
    (stand_in / "apptainer").chmod(0o755)
    (stand_in / "singularity").write_text(APPTAINER, encoding="utf-8")
    (stand_in / "singularity").chmod(0o755)
    return lambda: (workplace / "apptainer.txt").read_text(encoding="utf-8").splitlines()


def pin(workplace) -> str:
    """Adds a build of the cpu image to the workplace's images.toml; its digest."""
    path = workplace / "containers" / "images.toml"
    image = tomllib.loads(path.read_text(encoding="utf-8"))["cpu"]
    lock = hashlib.sha256(b"".join((workplace / name).read_bytes() for name in image["locks"])).hexdigest()
    digest = f"sha256:{'5' * 64}"
    text = path.read_text(encoding="utf-8")
    before, _, after = text.partition("[judge]")
    built = f'[cpu.built]\ndigest = "{digest}"\nrevision = "{"6" * 40}"\nlock = "{lock}"\nbase = "none"\n\n'
    path.write_text(f"{before}{built}[judge]{after}", encoding="utf-8")
    return digest


def test_rules_run_in_the_file_made_here_where_no_registry_is_named(snakemake, stand_in, apptainer):
    result = snakemake("results/tiny/recipe.json", "--sdm", "apptainer", first=stand_in)
    assert result.returncode == 0, result.stdout
    (call,) = [call for call in apptainer() if " exec " in f" {call} "]
    assert "build/containers/fairway-cpu.sif" in call and "fairway recipe resolve tiny" in call


def test_rules_run_in_the_pinned_digest_of_a_registry(snakemake, stand_in, apptainer, workplace):
    digest = pin(workplace)
    result = snakemake(
        "results/tiny/recipe.json", "--sdm", "apptainer", "--config", "registry=registry.test/team", first=stand_in
    )
    assert result.returncode == 0, result.stdout
    (pulled,) = [call for call in apptainer() if call.startswith("pull ")]
    assert pulled.endswith(f"docker://registry.test/team/fairway-cpu@{digest}")


def test_a_registry_is_not_asked_for_an_image_that_was_never_published(snakemake):
    result = snakemake("-n", "--config", "gpus=1", "registry=registry.test/team")
    assert result.returncode != 0
    assert "[gpu] pins no build, so registry.test/team has none of it" in result.stdout
