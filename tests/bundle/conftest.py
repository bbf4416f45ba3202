import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.bundle.compare import run_alone
from fairway.fetch.dataset import fetch_dataset
from fairway.recipes.load import Resolved, load_recipe

ROOT = Path(__file__).resolve().parents[2]
FAIRWAY = "from fairway.cli.__main__ import main; main()"


def call_fairway(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, as users do: without the checks that tests hook into imports."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)]),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", FAIRWAY, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder with the two files of a recipe, made once."""
    made: dict[str, Path] = {}

    def bundle(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(Path(name).stem)
            result = call_fairway("bundle", name, "-o", str(folder))
            assert result.returncode == 0, result.stderr
            made[name] = folder
        return made[name]

    return bundle


@pytest.fixture(scope="session")
def fairway() -> Callable[..., subprocess.CompletedProcess[str]]:
    return call_fairway


@pytest.fixture(scope="session")
def tiny() -> Resolved:
    return load_recipe("tiny")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny: Resolved) -> Path:
    """The dataset that tiny reads."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    fetch_dataset(tiny.recipe.data, folder)
    return folder


@pytest.fixture(scope="session")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, bundled: Callable[[str], Path], tiny_data: Path
) -> tuple[Path, str]:
    """Folder and output of ``python train_gpt.py``: alone in its folder, no fairway to import."""
    folder = tmp_path_factory.mktemp("alone")
    file = folder / "train_gpt.py"
    file.write_bytes((bundled("tiny") / "train_gpt.py").read_bytes())
    output = run_alone(file, {"DATA_PATH": str(tiny_data), "SEED": "7"})
    return folder, output
