import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairway.records.facts import read_run
from fairway.records.submission import Byline, hardware, submission

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "submission.schema.json").read_text(encoding="utf-8"))


def claim(world: Any, byline: Byline) -> dict[str, Any]:
    run = read_run(world.recipe_json, world.results, world.data)
    return submission(run, byline, track="pocket", date="2026-04-22")


def final_scores(world: Any, seeds: list[int], name: str, stage: str = "evaluate") -> list[float]:
    found = []
    for seed in seeds:
        lines = (world.seed_folder(seed) / f"{stage}.events.jsonl").read_text().splitlines()
        found += [entry["val_bpb"] for entry in map(json.loads, lines) if entry.get("name") == name]
    return found


def test_the_claim_follows_the_schema_and_is_recomputed_from_the_files(world: Any, byline: Byline) -> None:
    said = claim(world, byline)
    jsonschema.validate(said, SCHEMA)
    scores = final_scores(world, [1, 2, 3], "final")
    sizes = [(world.seed_folder(seed) / "artifact.bin").stat().st_size for seed in (1, 2, 3)]
    assert said["val_bpb"] == pytest.approx(statistics.mean(scores), abs=1e-8)
    assert said["val_bpb_std"] == pytest.approx(statistics.stdev(scores), abs=1e-8)
    assert said["quantized_val_bpb"] == pytest.approx(
        statistics.mean(final_scores(world, [1, 2, 3], "quantized")), abs=1e-8
    )
    assert said["pre_quant_val_bpb"] == pytest.approx(
        statistics.mean(final_scores(world, [1, 2, 3], "float", "float")), abs=1e-8
    )
    assert said["bytes_model"] == max(sizes)
    assert said["bytes_total"] == max(sizes) + len(world.code)
    assert said["bytes_code"] == len(world.code)
    assert said["seeds"] == [1, 2, 3]
    for seed, score, size in zip((1, 2, 3), scores, sizes, strict=True):
        assert said["seed_results"][str(seed)]["val_bpb"] == pytest.approx(score, abs=1e-8)
        assert said["seed_results"][str(seed)]["bytes_total"] == size + len(world.code)
    assert (said["author"], said["github_id"], said["name"]) == ("A. Author", "a-author", "Pond")
    assert said["attribution"]["parents"] == ["pocket", "baseline"]


def test_one_seed_has_no_deviation(one_seed_world: Any, byline: Byline) -> None:
    said = claim(one_seed_world, byline)
    jsonschema.validate(said, SCHEMA)
    assert said["val_bpb_std"] is None
    assert said["val_loss_std"] is None
    assert said["seeds"] == [7]


def test_machines_are_named_once_if_equal_and_each_if_not(world: Any) -> None:
    run = read_run(world.recipe_json, world.results, world.data)
    assert hardware(run) == "1 x CPU with 2 threads (Linux-6.1-x86_64)"
    other = replace(run.seeds[2], environment=replace(run.seeds[2].environment, device="NVIDIA H100", world=8))
    mixed = replace(run, seeds=(*run.seeds[:2], other))
    assert hardware(mixed) == "1 x CPU with 2 threads (Linux-6.1-x86_64); 8 x NVIDIA H100 (Linux-6.1-x86_64)"
