import copy


def verdicts(findings):
    return [finding.verdict for finding in findings]


def stage_of(record, stage, seed=7):
    return next(each for each in record["stages"] if (each["stage"], each["seed"]) == (stage, seed))


def test_one_environment_that_the_logs_and_the_pins_speak_of_passes(toy, said):
    (finding,) = said(toy.write().judge(), "environment")
    assert finding.verdict == "PASS" and "1 packages" in finding.message


def test_stages_of_two_environments_fail_and_the_difference_is_named(toy, said):
    def other(record):
        machine = copy.deepcopy(record["environments"][0])
        machine["packages"]["numpy"] = {"version": "2.0.0", "files_sha256": None}
        record["environments"].append(machine)
        stage_of(record, "compress")["environment"] = 1

    toy.edit_environment.append(other)
    (finding,) = said(toy.write().judge(), "environment", "FAIL")
    assert "packages.numpy: None and" in finding.message


def test_a_log_that_speaks_of_another_torch_fails(toy, said):
    toy.edit_environment.append(lambda r: r["environments"][0]["packages"]["torch"].update(version="2.11.0"))
    findings = said(toy.write().judge(), "environment", "FAIL")
    assert len(findings) == 3 * 6 + 1  # each stage of each seed, and the pin
    assert "torch is 2.13.0 by its own log, 2.11.0 from outside" in findings[0].message


def test_a_pin_that_was_not_installed_fails(toy, said):
    toy.write().put("requirements.txt", "torch==2.13.0\nbrotli==1.2.0\n")
    (finding,) = said(toy.sign().judge(), "environment", "FAIL")
    assert finding.file == "requirements.txt" and "brotli==1.2.0, the stages ran with None" in finding.message


def test_what_was_not_watched_cannot_be_verified(toy, said):
    toy.write()
    (toy.folder / "environment.json").unlink()
    verdict = toy.sign().judge()
    for rule in ("environment", "outside-clock", "isolation"):
        assert verdicts(said(verdict, rule)) == ["UNVERIFIABLE"]


def test_a_record_of_environments_that_is_none_shows_nothing(toy, said):
    toy.edit_environment.append(lambda record: stage_of(record, "train").update(environment=5))
    verdict = toy.write().judge()
    assert verdicts(said(verdict, "environment")) == ["UNVERIFIABLE"]
    toy.edit_environment[:] = [lambda record: record.update(stages="none")]
    verdict = toy.write().judge()
    assert verdicts(said(verdict, "isolation")) == ["UNVERIFIABLE"] and said(verdict, "complete", "FAIL")


def test_the_clock_outside_sees_what_the_log_leaves_out(toy, said):
    assert verdicts(said(toy.write().judge(), "outside-clock")) == ["PASS"]
    toy.edit_environment.append(lambda record: stage_of(record, "evaluate").update(seconds=90.0))
    (finding,) = said(toy.write().judge(), "outside-clock", "REVIEW")
    assert "evaluate: 25.5 s by its own log, 90.0 s by the clock outside" in finding.message


def test_a_part_cannot_take_longer_than_the_whole(toy, said):
    toy.edit_environment.append(lambda record: stage_of(record, "train").update(seconds=20.0))
    (finding,) = said(toy.write().judge(), "outside-clock", "FAIL")
    assert finding.file == "seed7/events.jsonl" and finding.line is not None


def test_a_stage_that_did_not_end_well_fails(toy, said):
    toy.edit_environment.append(lambda record: stage_of(record, "train").update(exit_status=1))
    assert len(said(toy.write().judge(), "outside-clock", "FAIL")) == 1


def test_evaluations_that_were_not_enclosed_cannot_be_verified(toy, said):
    def bare(record):
        walls = {"state": "not available", "mechanism": None, "limits": {}, "reason": "no bubblewrap"}
        stage_of(record, "evaluate", 8)["isolation"] = walls

    toy.edit_environment.append(bare)
    verdict = toy.write().judge()
    (finding,) = said(verdict, "isolation", "UNVERIFIABLE")
    assert "seed 8" in finding.message and "no bubblewrap" in finding.message


def test_an_evaluation_that_was_shown_training_shards_fails(toy, said):
    shown = ["data/toy/val", "data/toy/train"]
    toy.edit_environment.append(lambda record: stage_of(record, "evaluate")["isolation"].update(reads=shown))
    (finding,) = said(toy.write().judge(), "isolation", "FAIL")
    assert "data/toy/train" in finding.message


def test_a_calibration_that_was_shown_validation_shards_fails(toy, said):
    shown = ["data/toy/train", "data/toy/val/"]
    toy.edit_environment.append(lambda record: stage_of(record, "calibrate")["isolation"].update(reads=shown))
    (finding,) = said(toy.write().judge(), "isolation", "FAIL")
    assert "seed 7: the calibration was shown validation shards: data/toy/val/" in finding.message


def test_a_calibration_that_was_not_enclosed_cannot_be_verified(toy, said):
    bare = {"state": "not asked for", "mechanism": None, "limits": {}}
    toy.edit_environment.append(lambda record: stage_of(record, "calibrate", 9).update(isolation=bare))
    (finding,) = said(toy.write().judge(), "isolation", "UNVERIFIABLE")
    assert "seed 9: the calibration was not enclosed (not asked for)" in finding.message
