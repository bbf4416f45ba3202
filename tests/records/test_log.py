import re
from dataclasses import replace
from typing import Any

from fairway.records.facts import read_run
from fairway.records.layout import STAGES
from fairway.records.log import seed_log
from fairway.runtime.events import render

# The forms by which the published logs are read.
SCORE = re.compile(
    r"^(?:final|quantized|legal_ttt)(?:_\w+)?(?: sliding)?(?: stride:\d+)?"
    r" val_loss:(\S+)(?: sliding)? val_bpb:(\S+)(.*)$",
    re.M,
)
BYTES = re.compile(r"^Total submission(?: size)?(?: \w+)?: (\d+)(?: bytes)?$", re.M)
CODE = re.compile(r"^Code size(?: \(compressed\))?: (\d+) bytes", re.M)
STEP = re.compile(r"^step:(\d+)/(\d+) .*train_time:(\d+)ms", re.M)
STOP = re.compile(r"^stopping_early: wallclock_cap train_time: ?(\d+)ms", re.M)
SEED = re.compile(r"^\s*seed: ?(\d+)$", re.M)


def test_the_published_ways_of_reading_a_log_find_the_facts_of_the_seed(template: Any) -> None:
    run = read_run(template.recipe_json, template.results, template.data)
    for seed in run.seeds:
        log = seed_log(seed, run.code_bytes, "phased")
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
    assert STOP.findall(seed_log(stopped, run.code_bytes, "flat")) == ["59988"]


def test_the_log_holds_every_line_that_the_stages_showed_in_their_order(template: Any) -> None:
    run = read_run(template.recipe_json, template.results, template.data)
    seed = run.seeds[0]
    shown = [line for stage in STAGES for line in map(render, seed.logs[stage].entries) if line is not None]
    assert seed_log(seed, run.code_bytes, "phased").splitlines()[1 : 1 + len(shown)] == shown
