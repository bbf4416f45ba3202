"""Every planted cheat is caught by the probe that is meant for it, and nothing fair is accused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cheats import PLANTED, THROUGH_THE_REFEREE, Script, StaticScript, Wrapped

from fairway.machine.sandbox import find_walls
from fairway.machine.watch import Task, watch
from fairway.probes.methods import method_subject
from fairway.probes.result import PROBES, Probe
from fairway.probes.stream import Stream, make_stream
from fairway.probes.subject import MethodSubject, Subject
from fairway.probes.suite import probe_all
from fairway.spec.score import DocumentLora, Flat, ScoreSpec

VOCAB, BOS = 24, 1
LENGTHS = (9, 17, 5, 21, 14, 2, 19, 11, 26, 8)


@pytest.fixture(scope="module")
def documents() -> Stream:
    """Documents in which each token tends to follow from the one before."""
    source = torch.Generator().manual_seed(11)
    tokens_N = torch.randint(2, VOCAB, (sum(LENGTHS),), generator=source)
    for i in range(1, tokens_N.numel()):
        if torch.rand((), generator=source) < 0.6:
            tokens_N[i] = 2 + (3 * int(tokens_N[i - 1]) + 1) % (VOCAB - 2)
    starts = torch.tensor([0, *LENGTHS]).cumsum(0)[:-1]
    tokens_N[starts] = BOS
    bytes_N = torch.full_like(tokens_N, 2)
    bytes_N[starts] = 0
    return make_stream(tokens_N, bytes_N, vocab_size=VOCAB, bos=BOS)


def verdicts(subject: Subject, stream: Stream) -> dict[str, Probe]:
    found = {probe.name: probe for probe in probe_all(subject, stream, seed=3)}
    assert tuple(found) == PROBES
    return found


def failed(found: dict[str, Probe]) -> set[str]:
    return {name for name, probe in found.items() if probe.verdict == "failed"}


def test_there_are_more_than_a_dozen_cheats_and_each_probe_of_legality_has_one() -> None:
    cheats = [*PLANTED, *THROUGH_THE_REFEREE]
    assert len(cheats) >= 12
    assert {cheat.caught_by for cheat in cheats} == set(PROBES) - {"truncation", "uniform-stream"}


@pytest.mark.parametrize("fair", [Script, StaticScript])
def test_the_script_that_the_cheats_are_made_from_is_accused_of_nothing(
    fair: Callable[[], Script], documents: Stream
) -> None:
    found = verdicts(fair(), documents)
    assert failed(found) == set()
    assert found["document-boundary"].verdict == "passed"
    assert found["zero-rate"].verdict == ("passed" if fair is Script else "not-applicable")


@pytest.mark.parametrize("cheat", PLANTED, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_caught_by_the_probe_that_is_meant_for_it(cheat: type[Script], documents: Stream) -> None:
    found = verdicts(cheat(), documents)
    assert cheat.caught_by in failed(found), {name: probe.because for name, probe in found.items()}


def through_the_referee(model: Any, wrap: Callable[[Any], Any]) -> MethodSubject:
    """A fair method with adapters, its predictions changed."""
    method = DocumentLora(rank=2, chunk=6, batch_docs=3, lr=0.05)
    spec = ScoreSpec(context=12, batch_tokens=48, method=method, diagnostic=Flat(), budget_s=60.0)
    fair = method_subject(model, spec, method, seed=5, looped=True)
    assert fair.make_still is not None and fair.make_static is not None
    still, static = fair.make_still, fair.make_static
    return MethodSubject(
        name=wrap.__name__,
        make=lambda: wrap(fair.make()),
        make_still=lambda: wrap(still()),
        make_static=lambda: wrap(static()),
    )


def test_the_method_that_the_cheats_are_wrapped_around_is_accused_of_nothing(model: Any, documents: Stream) -> None:
    assert failed(verdicts(through_the_referee(model, lambda fair: fair), documents)) == set()


@pytest.mark.parametrize("cheat", THROUGH_THE_REFEREE, ids=lambda cheat: cheat.__name__)
def test_what_the_referee_cannot_see_is_caught(cheat: type[Wrapped], model: Any, documents: Stream) -> None:
    found = verdicts(through_the_referee(model, cheat), documents)
    assert cheat.caught_by in failed(found), {name: probe.because for name, probe in found.items()}


CALIBRATION = """
import pathlib, sys
train, val, output = map(pathlib.Path, sys.argv[1:])
shards = [*train.iterdir(), *(val.iterdir() if val.exists() else [])]
output.write_text(str(sum(len(shard.read_bytes()) for shard in shards)))
"""


@pytest.mark.skipif(find_walls().mechanism is None, reason=f"no walls here: {find_walls().reason}")
def test_a_calibration_on_validation_text_leaves_nothing_to_probe_and_finds_nothing_inside_the_walls(
    tmp_path: Path,
) -> None:
    """What the weights were rounded with shows in no run of them: the rule ``calibrate`` is enclosed for that."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "shard.bin").write_bytes(bytes(1000))
    script = tmp_path / "calibrate.py"
    script.write_text(CALIBRATION)
    sums = []
    for walls in (False, True):
        output = tmp_path / f"sums{walls}"
        command = [sys.executable, *map(str, (script, tmp_path / "train", tmp_path / "val", output))]
        reads = [script, tmp_path / "train"]
        seen = watch(Task(command=command, reads=reads, outputs=[output], walls=walls), folder=tmp_path)
        assert seen.is_well
        sums.append(output.read_text())
    assert sums == ["2000", "1000"]
