"""Preparations that leave validation documents to training are pointed at."""

import pytest
from submissions import log, submission

from fairway.verify.rules.train_val_overlap import RULE

SCRIPT = """import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--val-docs", type=int, default={})
"""


def test_the_default_of_a_script_is_held_against_the_track(tmp_path):
    (finding,) = RULE.check(submission(tmp_path, {"prepare.py": SCRIPT.format("10_000")}))
    assert (finding.verdict, finding.file, finding.line) == ("REVIEW", "prepare.py", 4)
    assert "+40,000" in finding.message
    # Logs that score the whole set were not made by the default alone.
    assert finding.profile == "strict"


def test_without_such_logs_the_default_is_doubtful_in_both_readings(tmp_path):
    files = {f"train_seed{seed}.log": log(seed, targets=9_662_464) for seed in (7, 42, 1337)}
    (finding,) = RULE.check(submission(tmp_path, {"prepare.py": SCRIPT.format("10_000"), **files}))
    assert finding.profile == "both"


@pytest.mark.parametrize("default", ["50_000", "0", "None"])
def test_the_split_of_the_track_passes(tmp_path, default):
    findings = list(RULE.check(submission(tmp_path, {"prepare.py": SCRIPT.format(default)})))
    assert [finding.verdict for finding in findings] == ["PASS"]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("Training shards were made with `--val-docs=10000`, scored are all 50k.", "REVIEW"),
        ("Training and validation documents overlap in part of the shards.", "REVIEW"),
        ("Training shards were made with `--val-docs=50000`.", "PASS"),
        ("There is no overlap of training and validation documents.", "PASS"),
    ],
)
def test_what_the_folder_says_is_quoted(tmp_path, said, verdict):
    (finding,) = RULE.check(submission(tmp_path, {"README.md": f"# Made up\n\n{said}\n"}))
    assert finding.verdict == verdict
    if verdict == "REVIEW":
        assert (finding.file, finding.line) == ("README.md", 3)
