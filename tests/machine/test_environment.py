import importlib.metadata
import subprocess

import pytest

from fairway.machine.environment import (
    canonical,
    describe_checkout,
    describe_environment,
    differences,
    image_named,
    installed_packages,
    lock_digests,
    locked_versions,
    relevant_variables,
    unlike_locks,
)


def test_two_descriptions_of_one_machine_are_equal_and_plain_json(tmp_path):
    import json

    one, other = describe_environment(tmp_path), describe_environment(tmp_path)
    assert one == other == json.loads(json.dumps(one))
    assert one["git"] is None and one["locks"] == {}


def test_every_package_has_its_version_and_most_have_a_digest():
    packages = installed_packages()
    assert packages["torch"]["version"] == importlib.metadata.version("torch")
    digests = [about["files_sha256"] for about in packages.values()]
    assert sum(digest is not None for digest in digests) > 0.8 * len(digests)
    assert list(packages) == sorted(packages)


def test_names_are_spelled_one_way():
    assert canonical("Typing_Extensions") == canonical("typing.extensions") == "typing-extensions"


def test_only_what_changes_numbers_is_kept_of_the_variables():
    variables = {
        "OMP_NUM_THREADS": "1",
        "NCCL_ALGO": "Ring",
        "AWS_SECRET": "x",
        "HOME": "/home/me",
        "TRITON_CACHE_DIR": "/c",
    }
    assert list(relevant_variables(variables)) == ["NCCL_ALGO", "OMP_NUM_THREADS", "TRITON_CACHE_DIR"]


def test_an_image_is_named_by_whoever_starts_it():
    assert image_named({"CONTAINER_IMAGE": "sha256:1"}) == "sha256:1"
    assert image_named({}) in ("none", "unknown")


def test_locks_say_which_versions_are_allowed(tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "base.txt").write_text("numpy==2.4.6 \\\n    --hash=sha256:00\nTorch==2.13.0\n")
    (tmp_path / "requirements" / "gpu.txt").write_text("torch==2.13.1\n")
    assert locked_versions(tmp_path) == {"numpy": {"2.4.6"}, "torch": {"2.13.0", "2.13.1"}}
    assert list(lock_digests(tmp_path)) == ["requirements/base.txt", "requirements/gpu.txt"]
    found = {"numpy": {"version": "2.4.5"}, "torch": {"version": "2.13.0+cpu"}, "rich": {"version": "1"}}
    assert unlike_locks(found, locked_versions(tmp_path)) == ["numpy 2.4.5, locked 2.4.6"]


def test_differences_name_the_place():
    one = {"python": "3.11", "packages": {"torch": {"version": "2.13.0"}}}
    other = {"python": "3.11", "packages": {"torch": {"version": "2.11.0"}}, "image": "x"}
    assert differences(one, other) == ["image: None and x", "packages.torch.version: 2.13.0 and 2.11.0"]
    assert differences(one, one) == []


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one\n")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "made").write_text("one\n")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_a_checkout_is_dirty_by_what_makes_records_not_by_records(checkout):
    assert describe_checkout(checkout)["dirty"] is False
    (checkout / "records" / "made").write_text("two\n")
    assert describe_checkout(checkout)["dirty"] is False
    (checkout / "file").write_text("two\n")
    found = describe_checkout(checkout)
    assert found["dirty"] is True and len(found["revision"]) == 40
