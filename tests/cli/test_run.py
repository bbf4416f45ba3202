"""``fairway run``: what docker, podman or snakemake is called with."""

import os
import shlex
from pathlib import Path

import pytest

from fairway.recipes.load import load_recipe
from fairway.recipes.locate import dataset_name

ROOT = Path(__file__).resolve().parents[2]
ENGINE = """#!/bin/sh
# Stands in for an engine: notes each call, a word a line, and answers as one that has the image.
printf '%s\\n' "$(basename "$0")" "$@" end-of-call >> "$NOTES"
case $1 in
  version) exit "${VERSION_STATUS:-0}" ;;
  image) test -z "${NO_IMAGE:-}" && echo sha256:1234 ;;
  run) exit "${RUN_STATUS:-0}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with the recipes and the images, in which the call is made."""
    root = tmp_path / "checkout"
    for part in ("containers/images.toml", *(f"requirements/{name}.txt" for name in ("build", "dev", "torch-cpu"))):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_bytes((ROOT / part).read_bytes())
    (root / "workflow").mkdir()
    (root / "workflow" / "recipes").symlink_to(ROOT / "workflow" / "recipes")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """Puts stand-ins for engines on the PATH; the calls that they noted come back."""
    folder, notes = tmp_path / "bin", tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def put(*names: str) -> None:
        for name in names:
            (folder / name).write_text(ENGINE, encoding="utf-8")
            (folder / name).chmod(0o755)

    def calls() -> list[list[str]]:
        text = notes.read_text(encoding="utf-8") if notes.exists() else ""
        return [call.splitlines() for call in text.split("end-of-call\n") if call]

    return put, calls


def test_a_recipe_runs_in_a_container_without_network_privileges_or_root(fairway, checkout, engines):
    put, calls = engines
    put("docker")
    said = fairway("run", "tiny", "--in-container", "--user", "1000:1001")
    assert said.status == 0, said.complaint
    assert [call[:2] for call in calls()] == [["docker", "version"], ["docker", "image"], ["docker", "run"]]
    words = calls()[-1]
    pairs = list(zip(words, words[1:], strict=False))
    for pair in (("--network", "none"), ("--user", "1000:1001"), ("--cap-drop", "ALL")):
        assert pair in pairs
    assert ("--security-opt", "no-new-privileges") in pairs and "--read-only" in words and "--gpus" not in words
    assert ("--env", "CONTAINER_IMAGE=fairway-cpu:0.1.0@sha256:1234") in pairs
    mounts = [after for before, after in pairs if before == "--mount"]
    assert mounts == [
        *(
            f"type=bind,source={checkout / name},target=/fairway/{name}"
            for name in ("data", "results", "logs", "records")
        ),
        f"type=bind,source={checkout}/workflow/recipes,target=/recipes,readonly",
    ]
    assert all((checkout / name).is_dir() for name in ("data", "results", "logs", "records"))
    image = words.index("fairway-cpu:0.1.0")
    assert words[image + 1 : image + 4] == ["snakemake", "--profile", "workflow/profiles/local"]
    assert words[-3:] == ["--", "results/tiny/record.txt", "results/tiny/figures/loss_curves.png"]


def test_the_exit_status_is_the_containers(fairway, checkout, engines, monkeypatch):
    put, _ = engines
    put("docker")
    monkeypatch.setenv("RUN_STATUS", "5")
    assert fairway("run", "tiny", "--in-container", "--user", "1000:1000").status == 5


def test_docker_without_its_daemon_gives_way_to_podman(fairway, checkout, engines):
    put, calls = engines
    put("podman")
    (engines_folder := Path(os.environ["PATH"].split(os.pathsep)[0]) / "docker").write_text("#!/bin/sh\nexit 1\n")
    engines_folder.chmod(0o755)
    said = fairway("run", "tiny", "--in-container", "--user", "1000:1000", "--gpus", "8", "--image", "cpu")
    assert said.status == 0, said.complaint
    words = calls()[-1]
    pairs = list(zip(words, words[1:], strict=False))
    assert words[0] == "podman" and ("--device", "nvidia.com/gpu=all") in pairs
    assert ("--config", "gpus=8") in pairs and ("--resources", "gpus=8") in pairs and "--shm-size" in words


def test_cards_choose_the_image_for_them_and_a_registry_that_has_none_is_said(fairway, checkout, engines):
    put, _ = engines
    put("docker")
    call = ["run", "tiny", "--in-container", "--user", "1000:1000", "--gpus", "1", "-n"]
    said = fairway(*call)
    words = shlex.split(said.out)
    assert (
        said.status == 0 and "fairway-gpu:0.1.0" in words and ("--gpus", "all") in zip(words, words[1:], strict=False)
    )
    assert not (checkout / "results").exists()
    said = fairway(*call, "--registry", "registry.test")
    assert said.status == 2 and "[gpu] pins no build, so registry.test has none of it" in said.complaint


def test_root_is_refused_and_so_is_what_is_no_user(fairway, checkout, engines, monkeypatch):
    put, calls = engines
    put("docker")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    said = fairway("run", "tiny", "--in-container")
    assert said.status == 2 and "does not run as root" in said.complaint
    for user in ("0:1000", "me", "1000", "-1:5"):
        said = fairway("run", "tiny", "--in-container", f"--user={user}")
        assert said.status == 2 and ("UID:GID" in said.complaint or "as root" in said.complaint), user
    assert all(call[1] == "version" for call in calls())


def test_an_image_that_is_not_here_names_the_command_that_makes_it(fairway, checkout, engines, monkeypatch):
    put, _ = engines
    put("docker")
    monkeypatch.setenv("NO_IMAGE", "yes")
    said = fairway("run", "tiny", "--in-container", "--user", "1000:1000")
    assert said.status == 2
    assert "has no image fairway-cpu:0.1.0; make it (make container IMAGES=cpu ENGINE=docker)" in said.complaint


def test_without_an_engine_nothing_is_tried(fairway, checkout, engines):
    said = fairway("run", "tiny", "--in-container", "--user", "1000:1000")
    assert said.status == 2 and "no docker or podman answers here" in said.complaint
    assert (
        "--engine: 'lxc' is none of docker, podman"
        in fairway("run", "tiny", "--in-container", "--engine", "lxc").complaint
    )


def test_data_that_must_be_downloaded_is_asked_for_before_a_container_without_network_starts(
    fairway, checkout, engines
):
    put, calls = engines
    put("docker")
    folder = dataset_name(load_recipe("baseline").recipe.data)
    said = fairway("run", "baseline", "--in-container", "--user", "1000:1000")
    assert said.status == 2 and f"data/{folder}/manifest.json" in said.complaint and not calls()
    (checkout / "data" / folder).mkdir(parents=True)
    (checkout / "data" / folder / "manifest.json").write_text("{}", encoding="utf-8")
    assert fairway("run", "baseline", "--in-container", "--user", "1000:1000").status == 0


def test_without_a_container_it_is_the_workflow_itself(fairway, checkout, engines):
    put, calls = engines
    put("snakemake")
    assert fairway("run", "tiny").status == 0
    (call,) = calls()
    assert call == [
        *("snakemake", "--profile", "workflow/profiles/local", "--config", "gpus=0", "--"),
        *("results/tiny/record.txt", "results/tiny/figures/loss_curves.png"),
    ]
    assert "go with --in-container" in fairway("run", "tiny", "--engine", "docker").complaint
