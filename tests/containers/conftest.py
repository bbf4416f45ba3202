import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "containers"


@pytest.fixture
def tool(monkeypatch) -> Callable[[str], ModuleType]:
    """A module of containers/, which is no package: its files run beside a builder, without fairway's environment."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name: str) -> ModuleType:
        module = importlib.import_module(name)
        assert Path(module.__file__).parent == FOLDER
        return module

    yield load
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def hadolint() -> str:
    """The linter, where there is one: on the PATH, beside this Python, or where `make container` put it."""
    places = [Path(sys.executable).parent, *ROOT.glob("build/containers/tools-*/bin")]
    for found in (shutil.which("hadolint"), *(shutil.which("hadolint", path=str(place)) for place in places)):
        if found:
            return found
    pytest.skip("hadolint is not here; `make setup` installs it")
