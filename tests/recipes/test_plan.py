import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fairway.cli import recipe_plan
from fairway.cli.recipe import app
from fairway.errors import RecipeError
from fairway.quant.forecast import forecast, planned
from fairway.recipes.load import load_recipe
from fairway.recipes.plan import REAL_BYTES, plan_rows, resized, scaled_grid, scaled_quant
from fairway.recipes.tax import FULL, POCKET, tax_bpb
from fairway.spec.quant import Grid, Lagrangian, PrunedOnes, QuantileGrid, TrellisGrid

ROOT = Path(__file__).resolve().parents[2]
MEASURED = json.loads((ROOT / "benchmarks/results/rounding_tax_pocket_cpu_2026-11-23.json").read_text())["each"]


@pytest.mark.parametrize(
    "what, factor, states", [("scalar", 1.0, 0), ("scalar", 2.0, 0), ("trellis of equal steps", 1.0, 64)]
)
def test_artifacts_of_pocket_have_the_bytes_and_the_tax_that_are_planned(what, factor, states):
    recipe = load_recipe("pocket-scalar").recipe
    recipe = replace(recipe, quant=scaled_quant(recipe.quant, factor, states))
    size, tax = forecast(recipe).total_bytes, sum(tax_bpb(planned(recipe), POCKET).values())
    runs = [row for row in MEASURED if row["what"] == f"{what}, {factor:g}"]
    assert len(runs) == 3
    for run in runs:
        assert REAL_BYTES[0] < run["bytes"] / size < REAL_BYTES[1]
        assert run["flat_tax"] == pytest.approx(tax, rel=POCKET.off)


@pytest.mark.parametrize(
    "name, published, off",
    [("spinquant-mpsgd", 0.0126, 0.02), ("phased-sgd-ttt", 0.0123, 0.06), ("caseops-top", 0.0087, 0.3)],
)
def test_published_taxes_are_met_as_well_as_the_calibration_says(name, published, off):
    tax = sum(tax_bpb(planned(load_recipe(name).recipe), FULL).values())
    assert tax == pytest.approx(published, rel=off)
    assert off <= FULL.off


def test_a_deeper_model_needs_coarser_steps_and_a_trellis_finer_ones():
    recipe = load_recipe("spinquant-mpsgd").recipe
    budget = 15_960_000
    rows, known = plan_rows(recipe, {0: budget, 64: budget}, [11, 12], [512])
    assert known is FULL
    by = {(row.layers, row.states): row for row in rows}
    assert all(0.999 * budget < row.artifact_bytes <= budget for row in rows)
    assert by[12, 0].factor > 1.1 * by[11, 0].factor
    assert by[12, 64].tax_bpb == pytest.approx(0.757 * by[12, 0].tax_bpb, rel=0.02)
    assert not by[11, 0].extrapolated
    assert by[12, 0].extrapolated[0] == "12 x 512, measured 11 x 512"
    assert by[11, 64].extrapolated == ("no trellis was scored at this size",)


def test_a_grid_keeps_its_step_and_gets_bits_enough_to_reach():
    fine = scaled_grid(Grid(bits=6, clip_sigmas=13.0), 0.3, 0)
    assert (fine.bits, fine.clip_sigmas) == (8, pytest.approx(0.3 * 13.0 / 31 * 127))
    path = scaled_grid(Grid(bits=6, clip_sigmas=13.0), 1.0, 8)
    assert isinstance(path, TrellisGrid)
    assert (path.bits, path.clip_sigmas) == (7, pytest.approx(13.0 / 31 * 63 / 2))
    assert scaled_grid(path, 1.0, 0).clip_sigmas == pytest.approx(13.0)
    with pytest.raises(RecipeError, match="kind sigmas or trellis"):
        scaled_grid(QuantileGrid(bits=6), 1.0, 0)


def test_a_model_that_cannot_have_a_size_says_so():
    model = load_recipe("pocket-scalar").recipe.model
    assert resized(model, 7, 192).lanes.start == model.lanes.start + 2
    for layers, width, words in ((5, 130, "multiple of 32"), (5, 160, "kv_heads 2.5"), (2, 128, "loops must lie")):
        with pytest.raises(RecipeError, match=words):
            resized(model, layers, width)


def test_a_cap_that_nothing_fills_is_refused():
    recipe = load_recipe("pocket-scalar").recipe
    with pytest.raises(RecipeError, match="need more than the 30,000 bytes"):
        plan_rows(recipe, {0: 30_000}, [5], [128])


def test_the_command_prints_a_table_and_json():
    arguments = ["plan", "pocket", "--layers", "5,6", "--states", "8", "--program", "26000"]
    told = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(told.stdout)
    assert found["program_bytes"] == 26_000 and found["cap_bytes"] == 500_000 and found["headroom_bytes"] == 1_000
    assert [(row["layers"], row["states"]) for row in found["rows"]] == [(5, 0), (5, 8), (6, 0), (6, 8)]
    assert found["rows"][1]["quant"]["mlp"]["kind"] == "trellis"
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0 and "trellis 8" in shown.stdout and "extrapolated" in shown.stdout
    assert all(f"{row['artifact_bytes']:,}" in shown.stdout for row in found["rows"])


@pytest.mark.parametrize(
    "option, value", [("--states", "7"), ("--layers", "five"), ("--program", "600000"), ("--width", "0")]
)
def test_a_wrong_option_is_one_line(option, value):
    told = CliRunner().invoke(app, ["plan", "pocket", "--program", "26000", option, value])
    assert isinstance(told.exception, RecipeError) and "\n" not in str(told.exception)


@pytest.mark.parametrize("option, value", [("--program", "-1"), ("--headroom", "-1"), ("--cap", "0")])
def test_bytes_below_none_are_refused(option, value):
    told = CliRunner().invoke(app, ["plan", "pocket", "--program", "26000", option, value])
    assert told.exit_code == 2 and f"Invalid value for '{option}'" in told.output


def test_what_goes_with_no_trellis_is_one_line():
    recipe = load_recipe("pocket-scalar").recipe
    recipe = replace(recipe, quant=replace(recipe.quant, pruning=PrunedOnes()))
    (row,), _ = plan_rows(recipe, {0: 386_300}, [5], [128])
    assert row.factor == pytest.approx(1.0, abs=0.01)
    with pytest.raises(RecipeError, match="a trellis of 8 states: pruning of kind ones goes with no grid"):
        plan_rows(recipe, {8: 386_300}, [5], [128])


def test_a_recipe_with_rates_is_planned_by_the_proportions_of_its_grids():
    recipe = load_recipe("pocket-scalar").recipe
    rated = replace(recipe, quant=replace(recipe.quant, rates=Lagrangian(cap_bytes=300_000)))
    (plain,), _ = plan_rows(recipe, {8: 350_000}, [5], [128])
    (row,), _ = plan_rows(rated, {8: 350_000}, [5], [128])
    assert 349_900 < row.artifact_bytes <= 350_000
    assert replace(row, extrapolated=()) == replace(plain, extrapolated=())
    assert row.extrapolated == (*plain.extrapolated, "steps by the recipe's grids, not by its rates")


@pytest.mark.parametrize("states, largest", [(0, 127), (64, 63)])
def test_steps_are_not_so_fine_that_a_byte_clips_weights(states, largest):
    recipe = load_recipe("pocket-scalar").recipe
    (row,), _ = plan_rows(recipe, {states: 2_000_000}, [5], [128])
    for grid in (row.quant.attention, row.quant.mlp, row.quant.embedding):
        assert grid.bits == 8 and grid.clip_sigmas == pytest.approx(5.0, rel=0.01)
    assert row.tax_bpb > 0.5 * 0.134 * (5.0 / largest) ** 2
    assert row.artifact_bytes < 1_000_000 and row.extrapolated == ("finer steps would clip at less than 5.0 sigmas",)


def test_the_program_of_a_file_that_shares_a_name_is_not_that_of_the_recipe(monkeypatch, tmp_path):
    monkeypatch.setattr(recipe_plan, "build", lambda resolved: SimpleNamespace(packed=bytes(12_345)))
    own = tmp_path / "tiny.toml"
    own.write_text('extends = "pocket"\nbecause = "another"\n')
    found = [
        json.loads(CliRunner().invoke(app, ["plan", name, "--states", "", "--json"]).stdout)["program_bytes"]
        for name in ("tiny", str(own))
    ]
    assert found[0] > 20_000 and found[1] == 12_345
