import json

import pytest
from submissions import LOSSES, MODEL_BYTES, PROGRAM, SEEDS, bpb, claim, log, readme, submission

from fairway.verify.facts import NoEvidence
from fairway.verify.rules import (
    claim_coherent,
    claimed_bytes,
    claimed_code_size,
    claimed_loss,
    claimed_score,
    claimed_seeds,
    claimed_spread,
    claimed_times,
    leaderboard_states_claim,
    readme_states_claim,
    seeds_enough,
    submission_json,
)

RULES = (
    claim_coherent,
    claimed_bytes,
    claimed_code_size,
    claimed_loss,
    claimed_score,
    claimed_seeds,
    claimed_spread,
    claimed_times,
    leaderboard_states_claim,
    readme_states_claim,
    seeds_enough,
    submission_json,
)
CODE = len(PROGRAM.encode())


def found(rule, read):
    return [(finding.verdict, finding.profile) for finding in rule.RULE.check(read)]


def told(rule, read):
    return " | ".join(finding.message for finding in rule.RULE.check(read) if finding.verdict != "PASS")


def claiming(tmp_path, **changed):
    """The made-up folder with another submission.json; the README goes with it."""
    value = claim(**changed)
    return submission(tmp_path, {"submission.json": json.dumps(value, indent=2), "README.md": readme(value=value)})


@pytest.mark.parametrize("rule", RULES, ids=lambda module: module.RULE.id)
def test_the_made_up_folder_holds(tmp_path, rule):
    assert {verdict for verdict, _ in found(rule, submission(tmp_path))} == {"PASS"}


@pytest.mark.parametrize("rule", RULES, ids=lambda module: module.RULE.id)
def test_without_a_claim_nothing_is_claimed(tmp_path, rule):
    read = submission(tmp_path, {"submission.json": None})
    try:
        assert "FAIL" not in {verdict for verdict, _ in found(rule, read)}
    except NoEvidence:
        pass


@pytest.mark.parametrize("rule", RULES, ids=lambda module: module.RULE.id)
def test_without_logs_no_number_is_called_wrong(tmp_path, rule):
    read = submission(tmp_path, {f"train_seed{seed}.log": None for seed in SEEDS})
    try:
        assert "FAIL" not in {verdict for verdict, _ in found(rule, read)}
    except NoEvidence as missing:
        assert "log" in missing.message


def test_what_is_no_json_fails_and_a_byte_order_mark_is_looked_at(tmp_path):
    assert found(submission_json, submission(tmp_path / "a", {"submission.json": "{"})) == [("FAIL", "both")]
    whole = "\ufeff" + json.dumps(claim())
    assert found(submission_json, submission(tmp_path / "b", {"submission.json": whole})) == [
        ("FAIL", "strict"),
        ("REVIEW", "precedent"),
    ]


@pytest.mark.parametrize(("field", "precedent"), [("github_id", "REVIEW"), ("val_bpb", "REVIEW")])
def test_a_needed_field_that_is_missing_is_named(tmp_path, field, precedent):
    read = claiming(tmp_path, **{field: None})
    assert f"{field} missing or empty" in told(submission_json, read)
    verdicts = found(submission_json, read)
    assert (precedent, "precedent") in verdicts or (precedent, "both") in verdicts


def test_two_spellings_that_differ_contradict(tmp_path):
    read = claiming(tmp_path, mean_val_bpb=1.2)
    assert found(claim_coherent, read) == [("FAIL", "both")] and "mean_val_bpb = 1.2" in told(claim_coherent, read)


def test_seeds_and_their_results_must_be_the_same(tmp_path):
    read = submission(tmp_path, {"submission.json": json.dumps({**claim(), "seeds": [7, 42]})})
    assert "results are given for" in told(claim_coherent, read)


def test_the_best_seed_is_no_mean(tmp_path):
    best = round(bpb(min(LOSSES.values())), 8)
    read = claiming(tmp_path, val_bpb=best)
    assert found(claimed_score, read) == [("FAIL", "strict"), ("REVIEW", "precedent")]
    assert "is the best of 3 runs" in told(claimed_score, read) and "score of one seed" in told(claim_coherent, read)


def test_a_score_of_no_log_fails_with_line_and_difference(tmp_path):
    read = claiming(tmp_path, val_bpb=1.05)
    finding = next(f for f in claimed_score.RULE.check(read) if f.verdict == "FAIL")
    assert finding.profile == "both" and finding.file == "submission.json"
    assert read.claim_text.split("\n")[finding.line - 1].strip().startswith('"val_bpb": 1.05')


def test_a_seed_whose_score_is_not_in_its_log_fails(tmp_path):
    results = claim()["seed_results"]
    results["42"]["val_bpb"] = 1.0512
    assert "seed 42 val_bpb = 1.0512" in told(claimed_score, claiming(tmp_path, seed_results=results))


def test_a_rounded_claim_is_no_other_claim(tmp_path):
    mean = sum(bpb(loss) for loss in LOSSES.values()) / 3
    assert found(claimed_score, claiming(tmp_path, val_bpb=round(mean, 4)))[0] == ("PASS", "both")


def test_the_spread_is_recomputed(tmp_path):
    assert found(claimed_spread, claiming(tmp_path / "a", val_bpb_std=0.00001)) == [("FAIL", "both")]
    assert found(claimed_spread, claiming(tmp_path / "b", val_bpb_std=None)) == [("PASS", "both")]


def test_a_loss_of_another_tokenizer_does_not_go_with_the_score(tmp_path):
    read = claiming(tmp_path, val_loss=2.79)
    assert "is in no log" in told(claimed_loss, read) and "in the logs 1.68846" in told(claimed_loss, read)


def test_a_size_without_the_code_is_told_as_that(tmp_path):
    model = MODEL_BYTES[42]
    read = claiming(tmp_path, bytes_total=model, seed_results=None)
    assert found(claimed_bytes, read) == [("FAIL", "both")] and "without the code" in told(claimed_bytes, read)


def test_one_size_for_all_seeds_is_not_theirs(tmp_path):
    results = claim()["seed_results"]
    results["7"]["bytes_total"] = results["42"]["bytes_total"]
    assert told(claimed_bytes, claiming(tmp_path, seed_results=results)).startswith("seed 7 bytes: claimed")


def test_a_code_size_of_another_file_fails(tmp_path):
    read = claiming(tmp_path, bytes_code=CODE + 17)
    assert found(claimed_code_size, read) == [("FAIL", "both")] and "-17" not in told(claimed_code_size, read)
    assert "+17" in told(claimed_code_size, read)


@pytest.mark.parametrize(("steps", "precedent"), [(10_000, "both"), (13_300, "precedent")])
def test_steps_of_another_run_fail_and_a_few_more_or_less_are_looked_at(tmp_path, steps, precedent):
    verdicts = found(claimed_times, claiming(tmp_path, step_stop=steps))
    assert verdicts[-1] == ("FAIL" if precedent == "both" else "REVIEW", precedent)


def test_times_of_the_logs_are_found(tmp_path):
    assert found(claimed_times, claiming(tmp_path, train_time_seconds=600, eval_time_seconds=[21.4, 21.4, 21.4])) == [
        ("PASS", "both")
    ]


def test_a_claimed_seed_without_a_log_fails(tmp_path):
    read = submission(tmp_path, {"train_seed42.log": None})
    assert found(claimed_seeds, read) == [("FAIL", "both")] and "no log of seed 42" in told(claimed_seeds, read)


def test_two_logs_of_one_seed_show_no_scatter(tmp_path):
    read = submission(tmp_path, {"train_again.log": log(42, loss=1.8312)})
    assert "2 logs are of seed 42" in told(claimed_seeds, read)


def test_two_seeds_are_too_few_for_a_record_and_enough_elsewhere(tmp_path):
    files = {"train_seed42.log": None, "submission.json": json.dumps(claim(seeds=(7, 1337)))}
    read = submission(tmp_path / "a", files)
    assert found(seeds_enough, read) == [("FAIL", "strict"), ("REVIEW", "precedent")]
    assert found(seeds_enough, submission(tmp_path / "b", files, track="non_record_16mb")) == [("PASS", "both")]


def test_a_readme_of_another_score_is_told_with_what_it_names(tmp_path):
    read = submission(tmp_path, {"README.md": "We reach val_bpb 1.2345 at last."})
    assert found(readme_states_claim, read) == [("FAIL", "strict"), ("REVIEW", "precedent")]
    assert "it names 1.2345" in told(readme_states_claim, read)


def test_a_folder_named_after_another_score_is_looked_at(tmp_path):
    read = submission(tmp_path, name="2026-04-02_Made_Up_1.0123")
    assert "the folder's name says 1.0123" in told(readme_states_claim, read)


def test_a_line_of_the_leaderboard_is_held_against_the_claim(tmp_path):
    read = submission(tmp_path, name="2026-03-17_LoRA_TTT")
    assert found(leaderboard_states_claim, read) == [("REVIEW", "both")]
    assert "the leaderboard says 1.1928" in told(leaderboard_states_claim, read)


def test_where_neither_score_nor_loss_is_claimed_there_is_no_submission(tmp_path):
    assert found(submission_json, claiming(tmp_path, val_bpb=None, val_loss=None)) == [("FAIL", "both")]


def test_a_score_under_the_name_of_the_loss_is_told_as_that(tmp_path):
    read = claiming(tmp_path, val_loss=round(bpb(LOSSES[7]), 6), val_bpb=None)
    assert "is the score in bits per byte" in told(claimed_loss, read)


def test_a_spread_that_rounding_may_explain_is_looked_at(tmp_path):
    spread = claim()["val_bpb_std"]
    assert found(claimed_spread, claiming(tmp_path, val_bpb_std=round(spread * 1.015, 8))) == [("REVIEW", "both")]


def test_a_score_in_a_line_that_no_pattern_knows_is_looked_at_and_a_step_is_none(tmp_path):
    def with_line(name, line):
        value = claim(val_bpb=1.0512, seed_results=None)
        files = {"submission.json": json.dumps(value), "train_seed42.log": log(42) + line}
        return submission(tmp_path / name, files)

    known = with_line("a", "online mixture done: bpb -> 1.05121 after 462 s\n")
    finding = next(finding for finding in claimed_score.RULE.check(known) if finding.verdict != "PASS")
    assert (finding.verdict, finding.file) == ("REVIEW", "train_seed42.log")
    assert "it stands there as 'online mixture done" in finding.message
    step = with_line("b", "step:900/20000 val_loss:1.7 val_bpb:1.0512 train_time:1ms\n")
    assert ("FAIL", "both") in found(claimed_score, step)
