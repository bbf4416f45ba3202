import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a delta on baseline (or on another recipe) and gives its path."""

    def write_recipe(body: str, *, name: str = "wide", extends: str = "baseline", because: str = "a test") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(f'extends = "{extends}"\nbecause = "{because}"\n' + textwrap.dedent(body), encoding="utf-8")
        return path

    return write_recipe
