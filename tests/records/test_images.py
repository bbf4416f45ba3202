"""containers/images.toml: what it says, what it may say, and what is made of it."""

import hashlib
import re
from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.records.images import find_images, image_named, load_images, lock_hash, published, workflow_image

ROOT = Path(__file__).resolve().parents[2]
IMAGE = """[cpu]
about = "tests"
containerfile = "containers/cpu.Containerfile"
repository = "fairway-cpu"
tag = "0.1.0"
python = "3.11"
glibc = "2.36"
locks = ["requirements/a.txt", "requirements/b.txt"]
"""
DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with one image, two locks, and no build pinned."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "requirements").mkdir()
    (tmp_path / "containers" / "images.toml").write_text(IMAGE, encoding="utf-8")
    (tmp_path / "requirements" / "a.txt").write_text("a==1\n", encoding="utf-8")
    (tmp_path / "requirements" / "b.txt").write_text("b==1\n", encoding="utf-8")
    return tmp_path


def pin(root: Path, **changes: str) -> None:
    facts = {"digest": DIGEST, "revision": "e" * 40, "lock": lock_hash(image_named("cpu", root), root), "base": "b@c"}
    table = "".join(f'{key} = "{value}"\n' for key, value in (facts | changes).items())
    (root / "containers" / "images.toml").write_text(f"{IMAGE}\n[cpu.built]\n{table}", encoding="utf-8")


def test_the_images_of_this_checkout_have_their_files_and_a_pinned_build_has_the_locks_of_today():
    images = load_images(ROOT)
    assert {"cpu", "gpu", "judge"} == set(images)
    for image in images.values():
        assert (ROOT / image.containerfile).is_file()
        assert all((ROOT / lock).is_file() for lock in image.locks)
        if image.built is not None:
            assert image.built.lock == lock_hash(image, ROOT), f"[{image.name}.built] is of other locks: build it again"


def test_the_sum_of_the_locks_is_that_of_their_bytes_in_order(root):
    assert lock_hash(image_named("cpu", root), root) == hashlib.sha256(b"a==1\nb==1\n").hexdigest()


def test_without_a_registry_the_workflow_takes_the_file_made_here_and_with_one_the_pinned_digest(root):
    assert workflow_image("cpu", root, "") == "build/containers/fairway-cpu.sif"
    pin(root)
    assert workflow_image("cpu", root, "") == "build/containers/fairway-cpu.sif"
    assert workflow_image("cpu", root, "registry.test/team/") == f"docker://registry.test/team/fairway-cpu@{DIGEST}"


def test_an_image_that_was_never_published_is_in_no_registry(root):
    with pytest.raises(FairwayError, match=r"\[cpu\] pins no build, so registry.test has none of it"):
        published(image_named("cpu", root), root, "registry.test")


def test_a_build_from_other_locks_is_refused(root):
    pin(root)
    (root / "requirements" / "b.txt").write_text("b==2\n", encoding="utf-8")
    with pytest.raises(FairwayError, match=r"\[cpu.built\] was made from other locks"):
        published(image_named("cpu", root), root, "registry.test")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('tag = "0.1.0"\n', "", "lacks tag"),
        ('tag = "0.1.0"\n', "tag = 1\n", "tag is a text, got 1"),
        ('tag = "0.1.0"\n', 'tag = "0.1.0"\ncolour = "red"\n', "has colour, which nothing reads"),
        ('["requirements/a.txt", "requirements/b.txt"]', "[]", "locks is a list of files of requirements/, got []"),
        ("[cpu]\n", "[cpu\n", "is no TOML"),
        ("[cpu]\n", "other = 3\n[cpu]\n", "[other]: an image is a table, got 3"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_line(root, old, new, words):
    (root / "containers" / "images.toml").write_text(IMAGE.replace(old, new), encoding="utf-8")
    with pytest.raises(FairwayError, match=re.escape(words)):
        load_images(root)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "latest"}, "built.digest is sha256: and 64 hexadecimal digits, got 'latest'"),
        ({"revision": "main"}, "built.revision is a commit of 40 hexadecimal digits, got 'main'"),
        ({"base": ""}, "base is a text, got ''"),
        ({"size": "1"}, "has size, which nothing reads"),
    ],
)
def test_a_pinned_build_says_exactly_which(root, changes, words):
    pin(root, **changes)
    with pytest.raises(FairwayError, match=re.escape(words)):
        load_images(root)


def test_an_unknown_image_and_a_folder_without_images_are_named(root, tmp_path):
    with pytest.raises(FairwayError, match="has no image 'tpu'; there are cpu"):
        image_named("tpu", root)
    (root / "deep" / "er").mkdir(parents=True)
    assert find_images(root / "deep" / "er") == root
    with pytest.raises(FairwayError, match=r"no containers/images.toml at or above"):
        find_images(Path(root.anchor))
