import importlib.metadata
import importlib.resources
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.records.code import SHIPPED, WORKSHOP, code_archive, pack_code, requirements, shipped_sources


def installed() -> Path:
    return Path(str(importlib.resources.files("fairway")))


def test_every_module_of_the_package_is_either_shipped_or_workshop() -> None:
    names = {path.stem for path in installed().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names <= SHIPPED | WORKSHOP
    assert not SHIPPED & WORKSHOP


def test_the_archive_unpacks_to_exactly_the_shipped_sources() -> None:
    sources = shipped_sources()
    with tarfile.open(fileobj=io.BytesIO(code_archive()), mode="r:xz") as tar:
        members = tar.getmembers()
        unpacked = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert unpacked == sources
    assert [member.name for member in members] == sorted(sources)
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }
    for name, source in unpacked.items():
        assert (installed().parent / name).read_bytes() == source
    assert {name.split("/")[1].removesuffix(".py") for name in sources} <= SHIPPED


def test_the_archive_does_not_depend_on_times_owners_or_the_order_of_files(tmp_path: Path) -> None:
    copy = tmp_path / "fairway"
    shutil.copytree(installed(), copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    sources = shipped_sources(copy)
    backwards = dict(reversed(sources.items()))
    assert pack_code(backwards) == code_archive()


def test_the_archive_changes_with_shipped_code_and_not_with_the_workshop(tmp_path: Path) -> None:
    copy = tmp_path / "fairway"
    shutil.copytree(installed(), copy)
    (copy / "records" / "layout.py").write_text("# other\n", encoding="utf-8")
    assert pack_code(shipped_sources(copy)) == code_archive()
    (copy / "errors.py").write_text("# other\n", encoding="utf-8")
    assert pack_code(shipped_sources(copy)) != code_archive()


def test_requirements_pin_what_is_imported_from_outside_and_nothing_else() -> None:
    sources = {
        "fairway/a.py": b"import json\nimport torch.nn as nn\nfrom fairway.b import c\n",
        "fairway/b.py": b"from collections import abc\ndef f():\n    from numpy.linalg import norm\n",
    }
    public = importlib.metadata.version("torch").partition("+")[0]
    assert requirements(sources) == f"numpy=={importlib.metadata.version('numpy')}\ntorch=={public}\n"


def test_an_import_that_nothing_installed_provides_is_named() -> None:
    with pytest.raises(FairwayError, match="imports no_such_module, which no installed distribution provides"):
        requirements({"fairway/a.py": b"import no_such_module\n"})
