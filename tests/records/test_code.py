import importlib.metadata
import importlib.resources
from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.records import code
from fairway.records.code import SHIPPED, WORKSHOP, package_code, requirements, shipped_sources


def installed() -> Path:
    return Path(str(importlib.resources.files("fairway")))


def test_every_module_of_the_package_is_either_shipped_or_workshop() -> None:
    names = {path.stem for path in installed().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names <= SHIPPED | WORKSHOP
    assert not SHIPPED & WORKSHOP


def test_the_package_is_named_by_shipped_code_and_not_by_the_workshop(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = shipped_sources()
    assert {name.split("/")[1].removesuffix(".py") for name in sources} <= SHIPPED
    assert all((installed().parent / name).read_bytes() == source for name, source in sources.items())
    before = package_code()
    assert before == package_code() and before[1] == sum(map(len, sources.values()))
    name = next(iter(sources))
    monkeypatch.setattr(code, "shipped_sources", lambda: {**sources, name: sources[name] + b"\n"})
    assert package_code() != before


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


def test_a_compiler_is_asked_for_where_the_program_compiles() -> None:
    line = "# system package: a C compiler (torch.compile calls it)"
    compiling = requirements({"a.py": b"import re, torch\nf = torch.compile(len)\n"})
    assert compiling.splitlines()[0] == line
    assert line not in requirements({"a.py": b"import re, torch\nf = re.compile(len)\n"})
