"""Results of probes on their way into a record."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

import fairway.records.assemble as assembling
from fairway.errors import FairwayError
from fairway.records.assemble import assemble, checksums
from fairway.records.facts import read_run
from fairway.records.probes import probe_cells, probe_rows
from fairway.records.readme import readme
from fairway.records.submission import Byline


def probed(world: Any, seed: int) -> dict[str, Any]:
    """What probes may say of a seed of the made-up run."""

    def probe(name: str, measured: float, limit: float, unit: str = "nats", verdict: str = "passed") -> dict[str, Any]:
        samples = 0 if verdict == "not-applicable" else 10 + seed
        numbers = {"measured": measured, "limit": limit, "unit": unit, "samples": samples}
        return {"name": name, "verdict": verdict, **numbers, "because": "so it is"}

    folder = world.seed_folder(seed)
    return {
        "format": "fairway-probe/1",
        "recipe_sha256": json.loads(world.recipe_json.read_text())["sha256"],
        "code_sha256": hashlib.sha256(world.code).hexdigest(),
        "artifact_sha256": hashlib.sha256((folder / "artifact.bin").read_bytes()).hexdigest(),
        "seed": seed,
        "method": {"kind": "phased"},
        "stream": {"source": "validation", "tokens_sha256": "a" * 64, "documents": 32, "targets": 4000},
        "device": "cpu",
        "noise_floor": 0.0,
        "seconds": 12.0,
        "probes": [
            probe("future-flip", 0.0, 0.0),
            probe("document-boundary", 0.0, 0.0, verdict="not-applicable"),
            probe("uniform-stream", 7.5 - seed / 10, 6.1),
            probe("order", 0, 0, unit="faults"),
        ],
        "decode": {
            "verdict": "passed",
            "documents": 4,
            "targets": 300,
            "stream_bits": 1500 + seed,
            "ledger_bits": 1490.5,
            "limit_bits": 1556.0,
            "identical": True,
            "because": "so it is",
        },
    }


@pytest.fixture
def probe_all(world: Any) -> Callable[..., Any]:
    """Writes probe.json of every seed, that of the second one changed, and gives back the run."""

    def write(**changed: Any) -> Any:
        for each in (1, 2, 3):
            text = json.dumps(probed(world, each) | (changed if each == 2 else {}))
            (world.seed_folder(each) / "probe.json").write_text(text, encoding="utf-8")
        return world

    return write


def test_a_run_that_was_not_probed_has_no_section_of_probes(
    world: Any, byline: Byline, pocket_track: dict[str, Any]
) -> None:
    run = read_run(world.recipe_json, world.results, world.data)
    assert run.probes == {} and "probe" not in readme(run, byline, pocket_track, date="2026-04-22")


def test_the_readme_has_one_table_of_probes_with_the_worst_seed_of_each(
    probe_all: Callable[..., Any], byline: Byline, pocket_track: dict[str, Any]
) -> None:
    world = probe_all()
    text = readme(read_run(world.recipe_json, world.results, world.data), byline, pocket_track, date="2026-04-22")
    section = text.split("## Probes")[1].split("## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `future-flip` | 0 nats | 1 | at most 0 nats | 36 | 3 of 3 passed |",
        "| `document-boundary` |  |  |  | 0 | does not apply |",
        "| `uniform-stream` | 7.2 nats | 3 | at least 6.1 nats | 36 | 3 of 3 passed |",
        "| `order` | 0 faults | 1 | at most 0 faults | 36 | 3 of 3 passed |",
        "| `decode` | 12.5 bits | 3 | at most 65.5 bits | 900 | 3 of 3 passed |",
    ]
    assert "32 validation documents (4,000 targets, cpu)" in section
    assert "900 targets in 4,506 bits, by their losses 4,471.5" in section
    assert "`seed*/probe.json`" in text


def test_a_seed_that_failed_is_the_one_that_is_shown(world: Any) -> None:
    told = {seed: probed(world, seed) for seed in (1, 2, 3)}
    told[2]["probes"][0] |= {"verdict": "failed", "measured": 0.25}
    row = probe_rows(told)[0]
    assert (row.seed, row.measured, row.passed, row.asked) == (2, 0.25, 2, 3)
    assert probe_cells(row) == ["`future-flip`", "0.25 nats", "2", "at most 0 nats", "36", "**2 of 3 passed**"]


def test_the_record_holds_the_probes_of_each_seed_and_sums_them(
    probe_all: Callable[..., Any],
    byline: Byline,
    pocket_track: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembling, "write_figures", lambda run, folder, *, cap_bytes: [])
    world = probe_all()
    place = assemble(
        world.recipe_json,
        world.results,
        world.data,
        pocket_track,
        world.records,
        date="2026-04-22",
        slug="pond",
        byline=byline,
    )
    for seed in (1, 2, 3):
        written = world.seed_folder(seed) / "probe.json"
        assert (place / f"seed{seed}" / "probe.json").read_bytes() == written.read_bytes()
    assert checksums(place).count("/probe.json\n") == 3


def test_a_seed_that_was_left_out_is_named(probe_all: Callable[..., Any]) -> None:
    world = probe_all()
    (world.seed_folder(3) / "probe.json").unlink()
    with pytest.raises(FairwayError, match=r"seed3/probe.json: no such file, but other seeds were probed"):
        read_run(world.recipe_json, world.results, world.data)
    # Figures show nothing of probes and may be drawn before the last seed is probed.
    assert not read_run(world.recipe_json, world.results, world.data, with_probes=False).probes


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"artifact_sha256": "0" * 64}, r"seed2/probe.json: artifact_sha256 is 000000000000, must be .*probe it again"),
        ({"recipe_sha256": "0" * 64}, "recipe_sha256 is 000000000000"),
        ({"code_sha256": "0" * 64}, "code_sha256 is 000000000000"),
        ({"seed": 1}, "seed is 1, must be 2"),
        ({"format": "x"}, "must be what `fairway probe` writes: format:"),
    ],
)
def test_probes_of_another_run_are_refused(
    probe_all: Callable[..., Any], changed: dict[str, Any], message: str
) -> None:
    world = probe_all(**changed)
    with pytest.raises(FairwayError, match=message):
        read_run(world.recipe_json, world.results, world.data)


def test_a_file_that_is_no_json_is_refused(probe_all: Callable[..., Any]) -> None:
    world = probe_all()
    (world.seed_folder(1) / "probe.json").write_text("{")
    with pytest.raises(FairwayError, match=r"seed1/probe.json: cannot be read as JSON"):
        read_run(world.recipe_json, world.results, world.data)
