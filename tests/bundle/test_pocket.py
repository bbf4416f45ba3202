"""The recipe of the committed record, but for its number of steps, by the package and by the file: one core each."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from fairway.bundle.compare import outcome, run_alone
from fairway.fetch.dataset import fetch_dataset
from fairway.recipes.load import load_recipe

SEED = 2024
ONE_CORE = {"OMP_NUM_THREADS": "1"}
RECIPE = """
extends = "pocket"
because = "a tenth of the steps, and no clock that could end them on a crowded machine"
[train]
steps = 50
budget_s = 3600.0
"""
PACKAGE = """
import sys
from pathlib import Path
from fairway.bundle.compare import run_package
from fairway.recipes.load import load_recipe
run_package(load_recipe(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
"""


def test_package_and_bundle_of_pocket_give_the_same_artifact_ledger_and_score(bundled, tmp_path):
    data, inside, alone = tmp_path / "data", tmp_path / "package", tmp_path / "bundle"
    recipe = tmp_path / "pocket-brief.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    fetch_dataset(load_recipe("pocket").recipe.data, data)
    alone.mkdir()
    file = alone / "train_gpt.py"
    file.write_bytes((bundled(str(recipe)) / "train_gpt.py").read_bytes())
    environment = {**os.environ, **ONE_CORE, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    call = [sys.executable, "-c", PACKAGE, str(recipe), str(data), str(inside), str(SEED)]
    with ThreadPoolExecutor() as pool:
        package = pool.submit(subprocess.run, call, env=environment, capture_output=True, text=True, check=False)
        given = {"DATA_PATH": str(data), "SEED": str(SEED), "RUN_ID": "run", **ONE_CORE}
        bundle = pool.submit(run_alone, file, given)
    assert package.result().returncode == 0, package.result().stderr[-2000:]
    assert "final_phased_exact" in bundle.result()
    assert outcome(inside) == outcome(alone / "logs" / "run")
