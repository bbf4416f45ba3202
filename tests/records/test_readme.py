import re
import statistics
from dataclasses import replace
from typing import Any

import pytest

from fairway.records.facts import RunFacts, read_run
from fairway.records.figures import FIGURE_CAPTIONS
from fairway.records.readme import readme
from fairway.records.submission import Byline
from fairway.spec.data import HubCorpus
from fairway.spec.model import NoLoops, OneLane
from fairway.spec.quant import Lagrangian, Nearest, NoRotation, TrellisGrid
from fairway.spec.recipe import Lineage
from fairway.spec.score import Flat, Sliding
from fairway.spec.train import NoReplay


@pytest.fixture
def run(template: Any) -> RunFacts:
    return read_run(template.recipe_json, template.results, template.data)


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table of a text as rows of cells, its rule left out."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", text, re.M)
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
    return [[table[0], *table[2:]] for table in rows]


def test_the_table_of_results_holds_every_seed_s_numbers_mean_and_deviation(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    results = tables(readme(run, byline, pocket_track, date="2026-04-22"))[0]
    assert results[0][:4] == ["seed", "bpb, float", "bpb, quantized", "bpb, after test-time training"]
    for row, seed in zip(results[1:], run.seeds, strict=False):
        assert row == [
            str(seed.seed),
            f"{seed.floating.bpb:.5f}",
            f"{seed.quantized.bpb:.5f}",
            f"{seed.final.bpb:.5f}",
            f"{seed.final.loss_nats:.5f}",
            f"{seed.artifact_bytes:,}",
            f"{seed.forecast_bytes:,}",
            str(seed.steps),
        ]
    finals = [seed.final.bpb for seed in run.seeds]
    assert results[4][3] == f"**{statistics.mean(finals):.5f}**"
    assert results[5][3] == f"{statistics.stdev(finals):.5f}"


def test_every_table_has_as_many_cells_in_each_row_as_in_its_head(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    found = tables(readme(run, byline, pocket_track, date="2026-04-22"))
    assert len(found) == 8
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}


def test_changes_are_old_and_new_values_beside_the_parent_s_with_the_reason(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    text = readme(run, byline, pocket_track, date="2026-04-22")
    assert tables(text)[4] == [
        ["key", "`pocket`", "`pond`"],
        ["`model.loops.extra`", "none", "`2`"],
        ["`quant.mlp.clip_sigmas`", "`20.0`", "`12.0`"],
        ["`score.method.lora.rank`", "`96`", "`8`"],
        ["`score.stride`", "`64`", "none"],
    ]
    assert "`pond` changes `pocket`: wider clips keep the tails of the MLP" in text
    assert "`pond` < `pocket` < `baseline`" in text


def test_where_the_parent_is_not_known_the_keys_that_the_recipe_set_are_told(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    alone = replace(run, changes=None)
    changes = tables(readme(alone, byline, pocket_track, date="2026-04-22"))[4]
    assert changes == [["key", "value"], ["`quant.mlp.clip_sigmas`", "`12.0`"], ["`score.method.lora.rank`", "`8`"]]


def test_the_four_readings_of_the_size_rule_are_told_for_every_seed(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    size = tables(readme(run, byline, pocket_track, date="2026-04-22"))[3]
    assert size[0] == ["seed", "artifact bytes", "literal", "all code", "claimed", "repacked"]
    for row, seed in zip(size[1:], run.seeds, strict=False):
        literal = seed.artifact_bytes + run.code_bytes
        totals = [literal, literal + run.source_bytes, literal, seed.artifact_bytes + run.repacked_bytes]
        assert row == [str(seed.seed), f"{seed.artifact_bytes:,}", *(f"{total:,}" for total in totals)]
    packed_away = tables(readme(replace(run, repacked_bytes=None), byline, pocket_track, date="2026-04-22"))[3]
    assert packed_away[0] == size[0][:-1]


def test_one_command_runs_a_seed_and_one_makes_the_record(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    text = readme(run, byline, pocket_track, date="2026-04-22")
    assert re.findall(r"```sh\n(.*)\n```", text) == [
        "SEED=1 DATA_PATH=data TOKENIZER_PATH=data/tokenizer.model python train_gpt.py",
        "make record RECIPE=pond",
    ]


def test_a_limit_that_does_not_hold_is_marked(run: RunFacts, byline: Byline, pocket_track: dict[str, Any]) -> None:
    def marks() -> list[str]:
        return [row[-1] for row in tables(readme(run, byline, pocket_track, date="2026-04-22"))[5][1:]]

    assert set(marks()) == {"yes"}
    pocket_track["size"]["cap_bytes"] = 1000
    assert marks() == ["**no**", "**no**", *["yes"] * 5]


def test_the_artifact_hashes_and_all_figures_are_in_it(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    text = readme(run, byline, pocket_track, date="2026-04-22")
    for seed in run.seeds:
        assert seed.artifact_sha256 in text
    assert re.findall(r"\]\(figures/(\w+)\.png\)", text) == list(FIGURE_CAPTIONS)


def test_a_root_recipe_of_one_seed_with_nothing_switched_on_reads_well(
    run: RunFacts, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    whole = run.recipe
    recipe = replace(
        whole,
        lineage=Lineage(because="a beginning"),
        data=replace(whole.data, corpus=HubCorpus(variant="sp1024")),
        model=replace(whole.model, loops=NoLoops(), lanes=OneLane(), xsa_last=0),
        train=replace(whole.train, steps=None, replay=NoReplay()),
        quant=replace(whole.quant, rounding=Nearest(), rotation=NoRotation()),
        score=replace(whole.score, method=Sliding(stride=64)),
    )
    text = readme(
        replace(run, recipe=recipe, changes=None, seeds=run.seeds[:1]), byline, pocket_track, date="2026-04-22"
    )
    assert "`pond` is the root of its line: a beginning" in text
    assert "(one seed)" in text
    assert "(embedding) by rounding to nearest" in text
    assert "in windows of 256 tokens that advance by 64" in text
    assert "FineWeb (`sp1024`)" in text
    assert "bpb, final" in text
    for absent in (
        "mean",
        "std",
        "rotated by",
        "replayed",
        "two residual lanes",
        "exclusive",
        "Line:",
        "after test-time",
    ):
        assert absent not in text.partition("## Figures")[0]
    flat = replace(recipe, score=replace(recipe.score, method=Flat()))
    assert "in rows of 256 tokens" in readme(replace(run, recipe=flat), byline, pocket_track, date="2026-04-22")


def test_paths_and_rates_are_told(run: RunFacts, byline: Byline, pocket_track: dict[str, Any]) -> None:
    paths = TrellisGrid(bits=7, clip_sigmas=13.0, states=16)
    quant = replace(run.recipe.quant, attention=paths, rates=Lagrangian(cap_bytes=100_000, code_bytes=30_000))
    told = readme(replace(run, recipe=replace(run.recipe, quant=quant)), byline, pocket_track, date="2026-04-22")
    assert "brought to paths through a trellis of 16 states (attention)" in told
    assert f"and {quant.embedding.bits} bits (embedding) by GPTQ, at steps that one Lagrangian chose for 70,000 bytes" in told
