from dataclasses import replace

from fairway.verify.tracks import Hardware


def calibrated(seconds):
    def edit(seed, events):
        if seed == 8:
            next(e for e in events if e["stage"] == "calibrate" and e["event"] == "done")["seconds"] = seconds

    return edit


def test_loop_replay_and_calibration_within_the_budget_pass(toy, said):
    findings = said(toy.write().judge(), "train-budget")
    assert {f.verdict for f in findings} == {"PASS"} and len(findings) == 9
    assert "loop 40.000 + replay 3.257 + calibrate 5.125 = 48.382 s" in findings[0].message


def test_late_calibration_fails_the_written_rule_and_is_reviewed_by_precedent(toy, said):
    toy.edit_events.append(calibrated(18.0))
    verdict = toy.write().judge()
    assert [f.profile for f in said(verdict, "train-budget", "FAIL")] == ["strict"]
    assert [f.profile for f in said(verdict, "train-budget", "REVIEW")] == ["precedent"]
    assert (verdict.of("strict"), verdict.of("precedent")) == ("FAIL", "REVIEW")
    assert said(verdict, "train-budget", "FAIL")[0].source == "toy rule 2"


def test_a_replay_that_claims_more_than_the_clock_added_is_believed(toy, said):
    def edit(seed, events):
        next(e for e in events if e["event"] == "replay")["seconds"] = 30.0

    toy.edit_events.append(edit)
    assert {f.profile for f in said(toy.write().judge(), "train-budget", "FAIL")} == {"strict"}


def test_a_training_clock_that_stood_still_is_for_a_person_to_look_at(toy, said):
    def edit(seed, events):
        next(e for e in events if e["event"] == "stop")["train_s"] = 20.0

    toy.edit_events.append(edit)
    (first, *_) = said(toy.write().judge(), "train-budget", "REVIEW")
    assert "40.0 s went by in the loop, the training clock counted 20.0 s" in first.message


def test_other_hardware_than_the_track_names_fails(toy, failing):
    toy.write()
    toy.track = replace(toy.track, hardware=Hardware(device="H100", world=8, source="toy rule 6"))
    assert failing(toy.judge()) == {"train-budget"}


def test_seconds_that_are_missing_make_the_question_unverifiable_for_that_seed_alone(toy, said):
    def edit(seed, events):
        if seed == 7:
            del next(e for e in events if e["event"] == "stop")["train_s"]

    toy.edit_events.append(edit)
    findings = said(toy.write().judge(), "train-budget")
    assert [f.verdict for f in findings].count("UNVERIFIABLE") == 1
    assert [f.verdict for f in findings].count("PASS") == 6
