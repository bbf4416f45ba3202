import json

import pytest


def test_claims_that_the_logs_give_pass(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "claims-follow-from-logs")] == ["PASS"]


@pytest.mark.parametrize(
    "path, change",
    [
        (("val_bpb",), 0.0001),
        (("val_bpb_std",), 0.0001),
        (("val_loss",), -0.0001),
        (("val_loss_std",), 0.001),
        (("pre_quant_val_bpb",), -0.01),
        (("quantized_val_bpb",), 0.01),
        (("bytes_total",), 1),
        (("bytes_code",), -1),
        (("bytes_model",), 1),
        (("seed_results", "8", "val_bpb"), 0.0001),
        (("seed_results", "8", "val_loss"), 0.0001),
        (("seed_results", "8", "bytes_total"), -1),
        (("seed_results", "8", "steps"), 1),
        (("seed_results", "8", "train_time_s"), -0.01),
        (("seed_results", "8", "eval_time_s"), 0.01),
    ],
)
def test_every_number_of_submission_json_is_recomputed(toy, failing, said, path, change):
    toy.write()
    claim = toy.submission()
    block = claim
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] += change
    toy.put("submission.json", json.dumps(claim))
    verdict = toy.sign().judge()
    assert failing(verdict) == {"claims-follow-from-logs"}
    (finding,) = said(verdict, "claims-follow-from-logs", "FAIL")
    assert finding.message.startswith(".".join(path)) and finding.file == "submission.json"


def test_the_best_seed_as_headline_fails(toy, failing):
    toy.write()
    claim = toy.submission()
    claim["val_bpb"] = min(result["val_bpb"] for result in claim["seed_results"].values())
    toy.put("submission.json", json.dumps(claim))
    assert failing(toy.sign().judge()) == {"claims-follow-from-logs"}


@pytest.mark.parametrize("decimals, holds", [(10, True), (6, True), (4, True), (2, False)])
def test_scores_may_be_rounded_to_four_decimals_and_no_further(toy, said, decimals, holds):
    toy.write()
    claim = toy.submission()
    exact = sum(toy.scores(seed)["final"]["val_bpb"] for seed in toy.seeds) / 3
    claim["val_bpb"] = round(exact, decimals)
    toy.put("submission.json", json.dumps(claim))
    assert bool(said(toy.sign().judge(), "claims-follow-from-logs", "FAIL")) is not holds


@pytest.mark.parametrize(
    "key, value",
    [("pytorch_version", "2.9.1"), ("hardware", "8 x H100"), ("date", "2026-01-03"), ("track", "10min_16mb")],
)
def test_words_that_the_run_contradicts_fail(toy, failing, key, value):
    toy.write()
    toy.put("submission.json", json.dumps({**toy.submission(), key: value}))
    assert failing(toy.sign().judge()) == {"claims-follow-from-logs"}


def test_every_number_of_the_readmes_tables_is_recomputed(toy, failing, said):
    toy.write()
    text = toy.read("README.md")
    rows = [line for line in text.splitlines() if line.startswith(("| 8", "| **mean"))]
    for row in rows:
        for cell in row.strip("|").split("|")[1:]:
            digits = cell.strip().strip("*")
            worse = digits[:-1] + str((int(digits[-1]) + 1) % 10)
            toy.put("README.md", text.replace(row, row.replace(digits, worse, 1)))
            verdict = toy.sign().judge()
            assert failing(verdict) == {"claims-follow-from-logs"}, (row, worse)
            assert {f.file for f in said(verdict, "claims-follow-from-logs", "FAIL")} == {"README.md"}


def test_a_headline_in_the_readme_that_the_logs_do_not_give_fails(toy, failing):
    toy.write()
    toy.put("README.md", toy.read("README.md").replace("**", "**0", 1).replace("**0", "**1", 1))
    assert failing(toy.sign().judge()) == {"claims-follow-from-logs"}


def test_a_readme_without_a_score_is_for_a_person_to_look_at(toy, said):
    toy.write()
    toy.put("README.md", "trust me\n")
    assert [f.file for f in said(toy.sign().judge(), "claims-follow-from-logs", "REVIEW")] == ["README.md"]


def test_a_log_that_shows_another_score_fails_with_its_line(toy, failing, said):
    toy.write()
    text = toy.read("train_seed8.log")
    toy.put("train_seed8.log", text.replace("val_bpb:", "val_bpb:9", 1))
    verdict = toy.sign().judge()
    assert failing(verdict) == {"claims-follow-from-logs"}
    (finding,) = said(verdict, "claims-follow-from-logs", "FAIL")
    assert (finding.file, finding.line) == ("train_seed8.log", 3)
