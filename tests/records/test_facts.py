import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairway.data.shards import write_shard
from fairway.errors import FairwayError
from fairway.records.facts import RunFacts, read_document_tokens, read_manifest, read_run
from fairway.records.layout import STAGES


def facts(world: Any) -> RunFacts:
    return read_run(world.recipe_json, world.results, world.data)


def fields_of(path: Path, event: str, **where: Any) -> dict[str, Any]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    (found,) = [e for e in entries if e["event"] == event and all(e[key] == value for key, value in where.items())]
    return found


def refused(world: Any, *words: object) -> None:
    with pytest.raises(FairwayError) as caught:
        facts(world)
    for word in words:
        assert str(word) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_numbers_of_a_run_are_those_in_its_files(world: Any) -> None:
    run = facts(world)
    assert [seed.seed for seed in run.seeds] == [1, 2, 3]
    assert run.code_bytes == len(world.code)
    assert list(run.document_tokens) == world.lengths
    for seed in run.seeds:
        folder = world.seed_folder(seed.seed)
        trained = fields_of(folder / "train.events.jsonl", "done")
        final = fields_of(folder / "evaluate.events.jsonl", "score", name="final")
        assert (seed.steps, seed.tokens, seed.train_s) == (trained["steps"], trained["tokens"], trained["train_s"])
        assert seed.artifact_bytes == (folder / "artifact.bin").stat().st_size
        assert (seed.final.bpb, seed.final.loss_nats, seed.final.seconds) == (
            final["val_bpb"],
            final["val_loss"],
            final["seconds"],
        )
        assert seed.floating.bpb == fields_of(folder / "float.events.jsonl", "score")["val_bpb"]
        assert seed.stage_s == {stage: fields_of(folder / f"{stage}.events.jsonl", "done")["t_s"] for stage in STAGES}
        assert seed.calibrate_s == fields_of(folder / "calibrate.events.jsonl", "done")["seconds"]
        assert seed.curve.steps[0] == 5 and seed.curve.steps[-1] == 300 and seed.curve.loops_on_step == 105
        assert len(seed.sizes) == 42 and len(seed.errors) == 37


@pytest.mark.parametrize(
    "name",
    [f"results/pond/seed2/{stage}.events.jsonl" for stage in STAGES]
    + [f"results/pond/seed2/{name}" for name in ("artifact.bin", "ledger.jsonl")]
    + ["results/pond/recipe.json", "data/manifest.json", "data/documents.tsv"],
)
def test_a_missing_file_is_named(world: Any, name: str) -> None:
    (world.root / name).unlink()
    refused(world, world.root / name)


def test_a_missing_seed_is_named(world: Any) -> None:
    shutil.rmtree(world.seed_folder(2))
    refused(world, world.seed_folder(2), "seed 2")


@pytest.mark.parametrize(
    ("stage", "event", "field"),
    [
        ("train", "done", "steps"),
        ("train", "start", "parameters"),
        ("train", "step", "loss_nats"),
        ("train", "environment", "device"),
        ("calibrate", "done", "seconds"),
        ("rotate_gptq", "tensor", "error_nearest"),
        ("compress", "done", "forecast_bytes"),
        ("float", "score", "val_bpb"),
        ("evaluate", "load", "seconds"),
        ("evaluate", "score", "compile_s"),
        ("evaluate", "code", "sha256"),
    ],
)
def test_an_event_without_a_number_that_the_record_states_is_named(
    world: Any, stage: str, event: str, field: str
) -> None:
    path = world.seed_folder(3) / f"{stage}.events.jsonl"
    world.edit(path, lambda entry: entry.pop(field, None), event=event)
    refused(world, path, event, field)


@pytest.mark.parametrize(("stage", "event"), [("train", "done"), ("evaluate", "score"), ("compress", "code")])
def test_an_event_that_is_not_there_is_named(world: Any, stage: str, event: str) -> None:
    path = world.seed_folder(1) / f"{stage}.events.jsonl"
    world.edit(path, lambda entry: entry.update(event="other"), event=event)
    refused(world, path, event, "holds 0")


def test_a_stage_that_holds_another_stage_s_events_is_refused(world: Any) -> None:
    folder = world.seed_folder(1)
    shutil.copyfile(folder / "float.events.jsonl", folder / "compress.events.jsonl")
    refused(world, folder / "compress.events.jsonl", "holds events of float")


def flip_artifact(world: Any) -> Path:
    path: Path = world.seed_folder(2) / "artifact.bin"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    return path


def swap_ledger(world: Any) -> Path:
    path: Path = world.seed_folder(2) / "ledger.jsonl"
    shutil.copyfile(world.seed_folder(1) / "ledger.jsonl", path)
    return path


def swap_evaluation(world: Any) -> Path:
    path: Path = world.seed_folder(2) / "evaluate.events.jsonl"
    world.edit(path, lambda entry: entry.update(artifact_sha256="f" * 64), event="load")
    return path


@pytest.mark.parametrize("change", [flip_artifact, swap_ledger, swap_evaluation])
def test_an_artifact_that_is_not_the_one_scored_is_refused(world: Any, change: Callable[[Any], Path]) -> None:
    refused(world, change(world), world.seed_folder(2) / "artifact.bin", "run the seed again")


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("seed", 9, "is of seed 9, must be of seed 1"),
        ("recipe_sha256", "e" * 64, "ran recipe eeeeeeeeeeee"),
        ("sha256", "d" * 64, "ran code dddddddddddd"),
        ("size_bytes", 1, "ran code"),
    ],
)
def test_a_stage_of_another_seed_recipe_or_code_is_refused(
    world: Any, field: str, value: object, complaint: str
) -> None:
    path = world.seed_folder(1) / "compress.events.jsonl"
    world.edit(path, lambda entry: entry.update({field: value}), event="code")
    refused(world, path, complaint)


def test_documents_that_do_not_add_up_to_the_validation_tokens_are_refused(world: Any) -> None:
    path = world.data / "documents.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]), encoding="utf-8")
    refused(world, world.data / "manifest.json", "validation tokens")


def test_a_list_of_documents_with_a_broken_line_is_named(world: Any) -> None:
    path = world.data / "documents.tsv"
    path.write_text("val\tonly two\n", encoding="utf-8")
    refused(world, path)


def test_a_ledger_that_leaves_a_target_out_is_refused(world: Any) -> None:
    path = world.seed_folder(1) / "ledger.jsonl"
    world.edit(path, lambda entry: entry["spans"].pop() if entry["i"] == 1 else None)
    refused(world, path, "targets")


def test_lengths_come_from_the_shards_where_the_data_lists_no_documents(world: Any) -> None:
    lengths = [5, 1, 12]
    tokens = np.concatenate([np.array([1, *range(10, 9 + length)], dtype=np.uint16) for length in lengths])
    (world.data / "val").mkdir()
    write_shard(world.data / "val" / "fineweb_val_000000.bin", tokens)
    manifest = dict(read_manifest(world.data)) | {"documents": None, "val": {"tokens": sum(lengths)}}
    assert read_document_tokens(world.data, manifest) == tuple(lengths)


@pytest.mark.parametrize("text", ["[]", "{", '{"tokenizer": {}, "shards": [], "val": {}}'])
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(FairwayError, match=re.escape(str(tmp_path / "manifest.json"))):
        read_manifest(tmp_path)
