"""The stated test, the report, and a stranger's folder run again from its own files."""

import json
import math
import statistics

import pytest
from scipy import stats

from fairway.machine.limits import Limits
from fairway.records.reproduce import (
    Agreement,
    Numbers,
    Repeated,
    Reproduction,
    as_json,
    as_markdown,
    compare,
    copy_program,
    noise_bound,
    run_again,
)
from fairway.verify.statistics import student_bound

WATCHED = {"seconds": 12.5, "isolation": {"state": "enforced", "mechanism": "bubblewrap 0.8.0"}}


def numbers(bpb, artifact_bytes=1000, sha256=None):
    return Numbers(
        bpb=bpb,
        loss_nats=None,
        artifact_bytes=artifact_bytes,
        steps=10,
        train_s=1.0,
        eval_s=2.0,
        artifact_sha256=sha256,
    )


def again(seed, recorded, found):
    return Repeated(seed=seed, recorded=recorded, found=found, watched=WATCHED, log="run.log")


RECORD = [numbers(1.10, 1000, "a"), numbers(1.12, 1010, "b"), numbers(1.11, 990, "c")]


@pytest.mark.parametrize("degrees", [1.0, 2.0, 5.0, 30.0])
def test_the_bound_is_that_of_students_distribution(degrees):
    assert math.isclose(student_bound(0.975, degrees), stats.t.ppf(0.975, degrees), rel_tol=1e-9)


def test_the_bound_is_the_stated_formula():
    values = [1.10, 1.12, 1.11]
    expected = stats.t.ppf(0.975, 2) * statistics.stdev(values) * math.sqrt(1 / 3 + 1 / 1)
    assert math.isclose(noise_bound(values, 1), expected, rel_tol=1e-9)
    assert noise_bound([1.1], 1) is None and noise_bound(values, 0) is None


def test_of_true_repetitions_nineteen_in_twenty_agree():
    import random

    draw, agree = random.Random(1), 0
    for _ in range(2000):
        old = [draw.gauss(1.0, 0.01) for _ in range(3)]
        agree += abs(draw.gauss(1.0, 0.01) - statistics.fmean(old)) <= noise_bound(old, 1)
    assert 0.935 < agree / 2000 < 0.965


def test_equal_artifacts_are_identical_whatever_the_noise():
    rows = compare(RECORD, [again(1, RECORD[0], numbers(1.10, 1000, "a"))])
    assert [row.outcome for row in rows] == ["identical", "identical"]


def test_other_artifacts_agree_within_the_noise_and_not_beyond():
    near = compare(RECORD, [again(1, RECORD[0], numbers(1.13, 1005, "d"))])
    assert [row.outcome for row in near] == ["within noise", "within noise"]
    far = compare(RECORD, [again(1, RECORD[0], numbers(1.30, 2000, "d"))])
    assert [row.outcome for row in far] == ["outside noise", "outside noise"]


def test_what_did_not_run_or_has_no_spread_is_no_reproduction():
    assert {row.outcome for row in compare(RECORD, [again(1, RECORD[0], None)])} == {"did not run"}
    assert {row.outcome for row in compare(RECORD[:1], [again(1, RECORD[0], numbers(1.1))])} == {"cannot tell"}


def test_the_report_says_both_and_the_test():
    machine = {
        "gpu": {"cards": []},
        "cpu": {"usable": 2, "model": "made up"},
        "python": "3.11",
        "packages": {"torch": {"version": "2.13.0"}},
    }
    seeds = (again(1, RECORD[0], numbers(1.13, 1005, "d")), again(2, RECORD[1], None))
    row = Agreement(what="bits per byte", recorded=1.11, found=1.13, bound=0.05, outcome="within noise")
    report = Reproduction(
        record="2026-01-01_x",
        seeds=seeds,
        agreements=(row,),
        environment=machine,
        differences=("python: 3.12 and 3.11",),
    )
    text = as_markdown(report)
    assert text.startswith("# Reproduced: 2026-01-01_x") and "97.5 % point" in text
    assert "| 1 | found | 1.13000 | 1,005 | 10 | 1 | 2 | 12.5 s |" in text
    assert "did not run: see run.log" in text and "- python: 3.12 and 3.11" in text
    assert json.loads(as_json(report))["succeeded"] is True


def test_a_program_is_copied_without_its_old_logs_and_weights(tmp_path):
    folder = tmp_path / "record"
    (folder / "seed1").mkdir(parents=True)
    for name in ("train_gpt.py", "helper.py", "train_seed1.log", "final_model.ptz", "seed1/artifact.bin"):
        (folder / name).write_text("x")
    copy_program(folder, tmp_path / "work")
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["helper.py", "train_gpt.py"]


def test_a_program_runs_in_a_room_of_its_own(tmp_path):
    import sys

    folder = tmp_path / "record"
    folder.mkdir()
    (folder / "train_gpt.py").write_text(
        "import os, pathlib\nprint('seed', os.environ['SEED'], os.environ['MORE'])\n"
        "pathlib.Path('left').write_text('x')\n"
    )
    copy_program(folder, tmp_path / "seed7" / "work")
    seen = run_again(
        folder,
        7,
        tmp_path / "seed7",
        [sys.executable, "train_gpt.py"],
        reads=[],
        variables={"MORE": "m"},
        limits=Limits(seconds=30.0),
    )
    assert seen.status == 0 and (tmp_path / "seed7" / "run.log").read_text() == "seed 7 m\n"
    assert (tmp_path / "seed7" / "work" / "left").read_text() == "x" and not (folder / "left").exists()
