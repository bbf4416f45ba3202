import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fairway.launch as launching
from fairway.launch import Program
from fairway.main import Run
from fairway.records.facts import SeedFacts, read_run
from fairway.records.log import seed_log
from fairway.runtime.events import render
from fairway.score.evaluate import Score

# The forms by which the published logs are read.
SCORE = re.compile(
    r"^(?:final|quantized|legal_ttt)(?:_\w+)?(?: sliding)?(?: stride:\d+)?"
    r" val_loss:(\S+)(?: sliding)? val_bpb:(\S+)(.*)$",
    re.M,
)
BYTES = re.compile(r"^Total submission(?: size)?(?: [\w+]+)?: (\d+)(?: bytes)?$", re.M)
CODE = re.compile(r"^Code size(?: \(compressed\))?: (\d+) bytes", re.M)
STEP = re.compile(r"^step:(\d+)/(\d+) .*train_time:(\d+)ms", re.M)
STOP = re.compile(r"^stopping_early: wallclock_cap train_time: ?(\d+)ms", re.M)
SEED = re.compile(r"^\s*seed: ?(\d+)$", re.M)


def test_the_published_ways_of_reading_a_log_find_the_facts_of_the_seed(template: Any) -> None:
    run = read_run(template.recipe_json, template.results, template.data)
    for seed in run.seeds:
        log = seed_log(seed, run)
        loss, bpb, rest = SCORE.findall(log)[-1]
        assert (loss, bpb) == (f"{seed.final.loss_nats:.8f}", f"{seed.final.bpb:.8f}")
        assert rest == f" eval_time:{round(1000 * seed.final.seconds)}ms"
        assert BYTES.findall(log)[-1] == str(run.code_bytes + seed.artifact_bytes)
        assert CODE.findall(log) == [str(run.code_bytes)]
        assert SEED.findall(log) == [str(seed.seed)]
        step, steps, milliseconds = STEP.findall(log)[-1]
        assert (step, steps, milliseconds) == ("300", "300", f"{1000 * seed.train_s:.0f}")
        assert not STOP.findall(log)


def test_a_run_that_the_clock_stopped_says_so_in_the_usual_words(template: Any) -> None:
    run = read_run(template.recipe_json, template.results, template.data)
    stopped = replace(run.seeds[0], stop_reason="clock", train_s=59.9876)
    assert STOP.findall(seed_log(stopped, run)) == ["59988"]


def test_the_log_is_what_the_file_prints_when_it_runs_whole(
    template: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = read_run(template.recipe_json, template.results, template.data)
    for seed in run.seeds:

        def replay(of: Run, stage: str, files: object, seed: SeedFacts = seed) -> object:
            """What the stage showed and returned when it ran."""
            for line in map(render, seed.logs[stage].entries):
                if line is not None:
                    of.echo(line)
            final, quantized, floating = (
                Score(
                    name=name,
                    method=method,
                    ledger_head="",
                    **{key: value for key, value in asdict(score).items() if key != "compile_s"},
                )
                for name, method, score in (
                    ("final", "phased", seed.final),
                    ("quantized", "flat", seed.quantized),
                    ("float", "flat", seed.floating),
                )
            )
            trained = SimpleNamespace(reason=seed.stop_reason, train_s=seed.train_s, steps=seed.steps)
            results = {"train": trained, "compress": seed.artifact_bytes, "float": floating}
            return {**results, "evaluate": [quantized, final]}.get(stage)

        program = Program(
            recipe=run.recipe,
            recipe_sha256=run.recipe_sha256,
            forecast_bytes=0,
            data="data",
            code_sha256=run.code_sha256,
            code_bytes=run.code_bytes,
        )
        monkeypatch.setattr(launching, "perform", replay)
        monkeypatch.setenv("SEED", str(seed.seed))
        monkeypatch.chdir(tmp_path)
        assert launching.launch(program, []) == 0
        printed = (tmp_path / "logs" / f"pond_seed{seed.seed}.txt").read_text(encoding="utf-8")
        assert seed_log(seed, run).splitlines() == [
            line for line in printed.splitlines() if not line.startswith("environment ")
        ]
