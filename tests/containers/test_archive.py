"""What is read of an image's archive, and which lines of a lock a target takes."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATUS = """Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: what {name} does\n\nlong text\n"


def packed(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture
def image(tmp_path) -> tuple[Path, str]:
    """An OCI archive of two layers, the upper of which removes one distribution of the lower; and its digest."""
    site = "opt/lib/site-packages"
    layers = [
        packed(
            {
                "var/lib/dpkg/status": STATUS,
                "usr/lib/os-release": 'NAME="Debian"\nID=debian\n',
                f"{site}/old_thing-1.0.dist-info/METADATA": metadata("old_thing", "1.0"),
                f"{site}/Some.Package-2.0.dist-info/METADATA": metadata("Some.Package", "2.0"),
                f"{site}/some_package/METADATA": "not a distribution's",
            }
        ),
        packed(
            {
                f"{site}/.wh.old_thing-1.0.dist-info": "",
                f"./{site}/new-3.1.dist-info/METADATA": metadata("new", "3.1"),
            }
        ),
    ]
    blobs = {hashlib.sha256(layer).hexdigest(): layer for layer in layers}
    manifest = json.dumps({"layers": [{"digest": f"sha256:{name}"} for name in blobs]}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    blobs[digest] = manifest
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        index = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
        for name, data in {
            "index.json": index,
            **{f"blobs/sha256/{name}": data for name, data in blobs.items()},
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive, f"sha256:{digest}"


LOCK = (
    f"some-package==2.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
    f"new==3.1 \\\n    --hash=sha256:{'c' * 64}\n"
)


def test_an_archives_digest_is_that_of_its_manifest_and_its_files_are_those_of_the_topmost_layer(tool, image):
    archive, digest = image
    read = tool("archive")
    assert read.digest_of(archive) == digest
    files = read.contents(read.layers(archive))
    assert sorted(files) == [
        "opt/lib/site-packages/Some.Package-2.0.dist-info/METADATA",
        "opt/lib/site-packages/new-3.1.dist-info/METADATA",
        "usr/lib/os-release",
        "var/lib/dpkg/status",
    ]
    assert read.distribution(files) == "debian"


def test_a_lock_is_read_as_the_sums_it_allows_of_each_version(tool):
    assert tool("archive").lock_hashes([LOCK]) == {
        ("some-package", "2.0"): ["a" * 64, "b" * 64],
        ("new", "3.1"): ["c" * 64],
    }


def test_the_bill_of_materials_names_what_is_installed_and_the_sums_that_the_lock_allows(tool, image, tmp_path):
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is in requirements/containers.txt, not in .venv")
    archive, digest = image
    (tmp_path / "lock.txt").write_text(LOCK, encoding="utf-8")
    write = tool("sbom").write
    path = write(archive, "thing:1", [tmp_path / "lock.txt"], 86400)
    first = path.read_bytes()
    bom = json.loads(first)
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    found = {component["purl"]: component for component in bom["components"]}
    assert sorted(found) == ["pkg:deb/debian/bash@5.2?arch=amd64", "pkg:pypi/new@3.1", "pkg:pypi/some-package@2.0"]
    assert found["pkg:pypi/new@3.1"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    values = {entry["value"] for entry in found["pkg:pypi/some-package@2.0"]["properties"]}
    assert {"a" * 64, "b" * 64} <= values and "hashes" not in found["pkg:pypi/some-package@2.0"]
    assert write(archive, "thing:1", [tmp_path / "lock.txt"], 86400).read_bytes() == first


def test_a_lock_is_flattened_for_the_python_of_the_image_not_for_the_one_that_reads_it(tool):
    lock = (
        f"# a comment\nold==1 ; python_full_version < '3.12' \\\n    --hash=sha256:{'a' * 64}\n"
        f"old==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:{'b' * 64}\n"
        f"win==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{'c' * 64}\n"
        f"all==1+cpu \\\n    --hash=sha256:{'d' * 64}\n"
    )
    pick = tool("wheels").pick
    assert pick(lock, "3.11") == [f"old==1 --hash=sha256:{'a' * 64}", f"all==1+cpu --hash=sha256:{'d' * 64}"]
    assert pick(lock, "3.12") == [f"old==2 --hash=sha256:{'b' * 64}", f"all==1+cpu --hash=sha256:{'d' * 64}"]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_lock_has_one_version_of_each_distribution_for_each_python(tool, python):
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        if lock.name != "excludes.txt":
            names = [entry.split("==")[0] for entry in tool("wheels").pick(lock.read_text(encoding="utf-8"), python)]
            assert len(names) == len(set(names)), lock


def test_wheels_of_an_older_glibc_fit_and_those_of_a_newer_one_do_not(tool):
    found = tool("wheels").platforms("2.36")
    assert found[0] == "manylinux_2_36_x86_64" and "manylinux_2_17_x86_64" in found
    assert "manylinux_2_37_x86_64" not in found and "manylinux_2_16_x86_64" not in found
