"""What the Containerfiles promise: pinned bases, no index and no secret, a user that is not root, labels."""

import re
import subprocess
from pathlib import Path

import pytest

from fairway.records.images import load_images

ROOT = Path(__file__).resolve().parents[2]
IMAGES = load_images(ROOT)
FILES = sorted((ROOT / "containers").glob("*.Containerfile"))


def steps(file: Path) -> list[str]:
    """The instructions, each on one line, without comments."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [line for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines() if line]


def test_every_containerfile_is_an_image_and_every_image_has_one():
    assert {image.containerfile for image in IMAGES.values()} == {file.relative_to(ROOT).as_posix() for file in FILES}
    assert set(IMAGES) == {"cpu", "gpu", "judge"}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_the_base_is_an_argument_whose_default_is_a_digest_and_no_other_image_is_used(file):
    defaults = dict(re.findall(r"^ARG (BASE|DEVEL)=(\S+)$", "\n".join(steps(file)), flags=re.MULTILINE))
    assert all(re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", default) for default in defaults.values())
    stages = {step.split(" AS ")[1] for step in steps(file) if step.startswith("FROM ") and " AS " in step}
    used = {step.split()[1] for step in steps(file) if step.startswith("FROM ")}
    assert used - stages <= {f"${{{name}}}" for name in defaults}
    assert "${BASE}" in used


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_an_image_runs_as_a_user_by_number_and_is_labelled_with_revision_base_and_lock(file):
    users = [step for step in steps(file) if step.startswith("USER ")]
    assert users == ["USER 1000:1000"]
    assert not any(step.startswith(("RUN ", "COPY ", "ADD ")) for step in steps(file)[steps(file).index(users[0]) :])
    label = next(step for step in steps(file) if step.startswith("LABEL "))
    for name, value in (("revision", "REVISION"), ("base.name", "BASE")):
        assert f'org.opencontainers.image.{name}="${{{value}}}"' in label
    assert 'fairway.lock.sha256="${LOCK}"' in label


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_python_packages_come_by_hash_from_the_folder_of_wheels_and_nothing_else_is_copied_but_the_tree(file):
    text = "\n".join(steps(file))
    assert not re.search(r"index-url|trusted-host|--mount=type=secret|netrc|pip\.conf|^ADD ", text, flags=re.MULTILINE)
    for step in steps(file):
        if step.startswith("COPY ") and "--from=" not in step:
            assert all(word == "source" or word.startswith("source/") for word in step.split()[1:-1]), step
        if "pip install" in step or "make setup" in step:
            assert "PIP_NO_INDEX=1" in step or "--no-index" in step, step
    for call in re.findall(r"pip install [^;]*", text):
        assert "--require-hashes" in call or re.search(r"\S+/\*\.whl", call), call


def test_the_judge_has_neither_torch_nor_a_compiler():
    locks = "".join((ROOT / lock).read_text(encoding="utf-8") for lock in IMAGES["judge"].locks)
    assert not re.search(r"^(torch|triton|nvidia|numpy)", locks, flags=re.MULTILINE)
    packages = re.search(
        r'^ARG PACKAGES="(.*)"$', (ROOT / IMAGES["judge"].containerfile).read_text(), flags=re.MULTILINE
    )
    assert packages[1].split() == ["ca-certificates", "git", "python3", "python3-venv"]


def test_each_image_sets_up_from_the_locks_that_images_toml_names():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "LOCKS := requirements/build.txt requirements/dev.txt $(TORCH)" in makefile
    for name, torch, kind in (("cpu", "torch-cpu", "GPU= "), ("gpu", "gpu", "GPU=yes ")):
        named = [lock for lock in IMAGES[name].locks if "flash" not in lock]
        assert named == [f"requirements/{lock}.txt" for lock in ("build", "dev", torch)]
        assert f"make setup {kind}" in "\n".join(steps(ROOT / IMAGES[name].containerfile))
    for name in ("gpu", "judge"):
        text = (ROOT / IMAGES[name].containerfile).read_text(encoding="utf-8")
        own = [lock for lock in IMAGES[name].locks if Path(lock).stem in ("judge", "flash-attention")]
        assert own and all(re.search(rf"-r \S*{Path(lock).name}", text) for lock in own)


def test_no_variable_is_set_that_the_program_that_runs_would_refuse():
    for file in [*FILES, *(ROOT / "containers").glob("*.sh"), ROOT / "src" / "fairway" / "cli" / "container.py"]:
        assert not re.search(r"\bFAIRWAY_[A-Z]+=", file.read_text(encoding="utf-8")), file


def test_flash_attention_is_built_at_one_commit():
    text = "\n".join(steps(ROOT / IMAGES["gpu"].containerfile))
    assert re.search(r"^ARG FLASH_ATTENTION_COMMIT=[0-9a-f]{40}$", text, flags=re.MULTILINE)
    assert re.search(r'git checkout --quiet "\$\{FLASH_ATTENTION_COMMIT\}"', text)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(file, hadolint):
    said = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "containers").glob("*.sh")), ids=lambda path: path.name)
def test_every_script_parses_and_may_be_executed(script):
    shell = script.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").split()
    assert shell in (["/bin/sh"], ["/usr/bin/env", "bash"])
    said = subprocess.run([*shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert said.returncode == 0 and script.stat().st_mode & 0o111, said.stderr
