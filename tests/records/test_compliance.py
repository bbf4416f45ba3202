import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fairway.errors import FairwayError
from fairway.records.compliance import compliance
from fairway.records.facts import RunFacts, read_run


@pytest.fixture
def run(template: Any) -> RunFacts:
    return read_run(template.recipe_json, template.results, template.data)


def test_each_limit_names_the_worst_seed_and_what_it_took(run: RunFacts, pocket_track: dict[str, Any]) -> None:
    limits = compliance(run, pocket_track)
    counted = [
        [run.code_bytes + seed.artifact_bytes for seed in run.seeds],
        [run.repacked_bytes + seed.artifact_bytes for seed in run.seeds],
        [seed.train_s + seed.calibrate_s for seed in run.seeds],
        [seed.train_s for seed in run.seeds],
        [seed.final.seconds + seed.load_s + seed.final.compile_s for seed in run.seeds],
        [seed.final.seconds for seed in run.seeds],
    ]
    for limit, values in zip(limits, counted, strict=False):
        assert limit.value == pytest.approx(max(values))
        assert limit.seed == run.seeds[values.index(max(values))].seed
        assert limit.holds
    assert (limits[-1].what, limits[-1].value, limits[-1].seed, limits[-1].holds) == ("seeds", 3, None, True)
    assert len(limits) == len(counted) + 1


def size(track: dict[str, Any], value: float) -> None:
    track["size"]["cap_bytes"] = value


def training(track: dict[str, Any], value: float) -> None:
    track["train"]["limits"][0]["limit_s"] = value


def evaluation(track: dict[str, Any], value: float) -> None:
    track["eval"]["limits"][1]["limit_s"] = value


@pytest.mark.parametrize(("place", "index", "readings"), [(size, 0, 2), (training, 2, 1), (evaluation, 5, 1)])
def test_a_limit_holds_at_its_value_and_not_below(
    run: RunFacts, pocket_track: dict[str, Any], place: Any, index: int, readings: int
) -> None:
    value = compliance(run, pocket_track)[index].value
    for limit, holds in ((value, True), (value - 1e-6, False)):
        track = copy.deepcopy(pocket_track)
        place(track, limit)
        assert [each.holds for each in compliance(run, track)].count(False) == (0 if holds else readings)
        assert compliance(run, track)[index].holds is holds


def test_too_few_seeds_do_not_comply(run: RunFacts, pocket_track: dict[str, Any]) -> None:
    pocket_track["seeds"]["least"] = 4
    assert not compliance(run, pocket_track)[-1].holds


def test_a_track_without_a_block_is_named_with_the_block(run: RunFacts, pocket_track: dict[str, Any]) -> None:
    del pocket_track["eval"]
    with pytest.raises(FairwayError, match="track pocket: 'eval' is missing"):
        compliance(run, pocket_track)


def test_the_tracks_of_the_workflow_are_understood(run: RunFacts) -> None:
    files = sorted((Path(__file__).parents[2] / "workflow" / "tracks").glob("*.toml"))
    assert files
    for file in files:
        limits = compliance(run, tomllib.loads(file.read_text(encoding="utf-8")))
        assert {limit.what.partition(":")[0] for limit in limits} == {
            "code + artifact",
            "training",
            "evaluation",
            "seeds",
        }
