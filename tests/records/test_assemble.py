import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fairway.records.assemble as assembling
from fairway.errors import FairwayError
from fairway.records.assemble import assemble, checksums
from fairway.records.facts import RunFacts
from fairway.records.figures import write_figures
from fairway.records.layout import STAGES
from fairway.records.submission import Byline

SEED_FILES = {f"seed{seed}/{name}" for seed in (1, 2, 3) for name in ("artifact.bin", "ledger.jsonl", "events.jsonl")}
FIGURES = {"loss_curves", "bytes_by_role", "error_by_tensor", "bpb_along_evaluation", "score_by_length"}
RECORD_FILES = (
    {"README.md", "submission.json", "requirements.txt", "recipe.json", "data_manifest.json", "documents.tsv"}
    | {"train_gpt.py", "train_gpt_source.py", "SHA256SUMS"}
    | {f"train_seed{seed}.log" for seed in (1, 2, 3)}
    | {f"figures/{name}.png" for name in FIGURES}
    | SEED_FILES
)


def sketch_figures(_: RunFacts, folder: Path, *, cap_bytes: int | None) -> list[Path]:
    """Files named like the figures, at once."""
    folder.mkdir()
    for name in FIGURES:
        (folder / f"{name}.png").write_text(f"{name} under {cap_bytes}", encoding="utf-8")
    return []


@pytest.fixture
def make(byline: Byline, pocket_track: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``assemble`` with everything given but the world, with sketches for figures."""
    monkeypatch.setattr(assembling, "write_figures", sketch_figures)

    def call(world: Any, **changed: Any) -> Path:
        arguments: dict[str, Any] = {"date": "2026-04-22", "slug": "pond", "byline": byline, **changed}
        track = arguments.pop("track", pocket_track)
        return assemble(world.recipe_json, world.results, world.data, track, world.records, **arguments)

    return call


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_holds_exactly_the_files_of_the_layout_and_their_sums(
    world: Any, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembling, "write_figures", write_figures)
    place = make(world)
    assert place == world.records / "2026-04-22_pond"
    found = files(place)
    assert found.keys() == RECORD_FILES
    sums = dict(reversed(line.split("  ")) for line in found["SHA256SUMS"].decode().splitlines())
    assert sums.keys() == RECORD_FILES - {"SHA256SUMS"}
    assert sums == {name: hashlib.sha256(found[name]).hexdigest() for name in sums}
    assert all(found[f"figures/{name}.png"].startswith(b"\x89PNG") for name in FIGURES)
    assert [path.name for path in world.records.iterdir()] == ["2026-04-22_pond"]


def test_evidence_is_copied_byte_for_byte_and_stages_follow_their_order(world: Any, make: Callable[..., Path]) -> None:
    found = files(make(world))
    assert found["recipe.json"] == world.recipe_json.read_bytes()
    assert found["data_manifest.json"] == (world.data / "manifest.json").read_bytes()
    assert found["documents.tsv"] == (world.data / "documents.tsv").read_bytes()
    assert found["train_gpt.py"] == world.code
    assert found["train_gpt_source.py"] == world.source.encode()
    assert [line.split("==")[0] for line in found["requirements.txt"].decode().splitlines()][-2:] == ["numpy", "torch"]
    for seed in (1, 2, 3):
        folder = world.seed_folder(seed)
        assert found[f"seed{seed}/artifact.bin"] == (folder / "artifact.bin").read_bytes()
        assert found[f"seed{seed}/ledger.jsonl"] == (folder / "ledger.jsonl").read_bytes()
        stages = b"".join((folder / f"{stage}.events.jsonl").read_bytes() for stage in STAGES)
        assert found[f"seed{seed}/events.jsonl"] == stages
        order = list(dict.fromkeys(json.loads(line)["stage"] for line in stages.splitlines()))
        assert order == ["train", "calibrate", "rotate_gptq", "compress", "float", "evaluate"]


def test_the_same_run_gives_the_same_record_wherever_it_lies(
    world: Any, tmp_path: Path, make: Callable[..., Path]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(world.root, elsewhere)
    first, second = make(world), make(replace(world, root=elsewhere))
    assert files(first) == files(second)


def test_a_record_that_is_there_is_returned_if_equal_and_kept_if_not(
    world: Any, byline: Byline, make: Callable[..., Path]
) -> None:
    place = make(world)
    before = files(place)
    (place / "verdict.json").write_text("{}", encoding="utf-8")
    assert make(world) == place
    with pytest.raises(FairwayError, match="another record lies there"):
        make(world, byline=replace(byline, blurb="Other words."))
    assert files(place) == before | {"verdict.json": b"{}"}
    assert [path.name for path in world.records.iterdir()] == [place.name]


def test_another_record_of_the_day_is_numbered_where_that_is_asked_for(
    world: Any, byline: Byline, make: Callable[..., Path]
) -> None:
    other = replace(byline, blurb="Other words.")
    first, second = make(world, numbered=True), make(world, numbered=True, byline=other)
    assert [first.name, second.name] == ["2026-04-22_pond", "2026-04-22_pond_2"]
    assert make(world, numbered=True) == first
    assert make(world, numbered=True, byline=other) == second


def test_an_empty_folder_at_the_place_is_filled(world: Any, make: Callable[..., Path]) -> None:
    (world.records / "2026-04-22_pond").mkdir(parents=True)
    assert files(make(world)).keys() == RECORD_FILES


def test_an_interruption_leaves_neither_a_record_nor_a_part_of_one(
    world: Any, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assembling, "write_figures", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(world)
    assert not list(world.records.iterdir())


def test_what_a_killed_run_left_behind_is_cleared_away(world: Any, make: Callable[..., Path]) -> None:
    stale = world.records / ".2026-04-22_pond.part"
    stale.mkdir(parents=True)
    (stale / "half").write_text("written", encoding="utf-8")
    assert files(make(world)).keys() == RECORD_FILES
    assert not stale.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    world: Any, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(FairwayError, match="2026-04-22_pond: cannot be written: No space left on device$"):
            make(world)
    assert not list(world.records.iterdir())


def test_code_that_is_not_what_ran_is_not_shipped(world: Any, make: Callable[..., Path]) -> None:
    (world.results / "train_gpt.py").write_bytes(world.code + b"\n")
    with pytest.raises(FairwayError, match=r"train\.events\.jsonl: ran code .*train_gpt\.py is .*; a record ships"):
        make(world)
    (world.results / "train_gpt.py").unlink()
    with pytest.raises(FairwayError, match=r"train_gpt\.py: cannot be read: .*; `fairway bundle` writes it"):
        make(world)
    assert not world.records.exists()


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"date": "22 April"}, "YYYY-MM-DD, got '22 April'"),
        ({"slug": "Pond Life"}, "slug .* got 'Pond Life'"),
        ({"slug": "../pond"}, "slug"),
        ({"byline": Byline(author="A", github_id="a b", name="n", blurb="b")}, "github_id .* got 'a b'"),
        ({"byline": Byline(author="A", github_id="a", name=" ", blurb="b")}, "name of a record must not be empty"),
    ],
)
def test_words_that_no_record_can_have_are_refused(
    world: Any, make: Callable[..., Path], changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(FairwayError, match=complaint):
        make(world, **changed)
    assert not world.records.exists()


def test_a_recipe_of_another_track_is_refused(
    world: Any, make: Callable[..., Path], pocket_track: dict[str, Any]
) -> None:
    message = f"{world.recipe_json}: is for track pocket, not for lake"
    with pytest.raises(FairwayError, match=re.escape(message)):
        make(world, track={**pocket_track, "name": "lake"})


def test_sums_leave_out_themselves_and_the_verdict(tmp_path: Path) -> None:
    for name in ("b", "a/c", "SHA256SUMS", "verdict.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    expected = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("a/c", "b")]
    assert checksums(tmp_path).splitlines() == expected
