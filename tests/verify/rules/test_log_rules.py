import json

import pytest
from submissions import LOSSES, MODEL_BYTES, PROGRAM, SEEDS, TARGETS, VAL_BYTES, bpb, claim, log, submission

from fairway.verify.facts import NoEvidence
from fairway.verify.rules import (
    byte_denominator,
    eval_time,
    log_copies,
    log_hardware,
    log_runs,
    log_source,
    log_sum,
    one_configuration,
    train_time,
    validation_coverage,
)

RULES = [
    byte_denominator,
    eval_time,
    log_copies,
    log_hardware,
    log_runs,
    log_source,
    log_sum,
    one_configuration,
    train_time,
    validation_coverage,
]


def told(rule, read):
    return [finding for finding in rule.RULE.check(read) if finding.verdict != "PASS"]


def said(rule, read):
    return {(finding.verdict, finding.profile) for finding in told(rule, read)}


def changed(tmp_path, **words):
    return submission(tmp_path, files={"train_seed7.log": log(7, **words)})


def twin_of(text):
    """A run of its own: other losses on the way, other clocks."""
    return text.replace("train_loss:2.3", "train_loss:2.4").replace("train_loss:1.9", "train_loss:1.8")


@pytest.mark.parametrize("rule", RULES, ids=lambda module: module.RULE.id)
def test_the_made_up_folder_holds(tmp_path, rule):
    read = submission(tmp_path)
    assert list(rule.RULE.check(read))
    assert not told(rule, read)


@pytest.mark.parametrize("rule", RULES, ids=lambda module: module.RULE.id)
def test_without_logs_there_is_no_evidence(tmp_path, rule):
    without = {f"train_seed{seed}.log": None for seed in SEEDS}
    value = claim(val_loss=None, seed_results=None)
    read = submission(tmp_path, files={**without, "submission.json": json.dumps(value)})
    with pytest.raises(NoEvidence):
        list(rule.RULE.check(read))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"train_ms": 600_137}, {("FAIL", "strict")}),
        ({"train_ms": 601_153}, {("FAIL", "strict"), ("FAIL", "precedent")}),
        (
            {"train_ms": 597_000, "extra": "GPTQ:collected 66 Hessians in 4.1s"},
            {("FAIL", "strict"), ("REVIEW", "precedent")},
        ),
        (
            {"train_ms": 597_000, "extra": "GPTQ:collected 66 Hessians in 12.8s"},
            {("FAIL", "strict"), ("FAIL", "precedent")},
        ),
        ({"train_ms": 595_000, "extra": "GPTQ:collected 66 Hessians in 4.1s"}, set()),
        (
            {
                "train_ms": 599_000,
                "extra": "gptq:generating autoregressive data\ngptq:generated 64 sequences in 240.0s",
            },
            {("REVIEW", "strict"), ("REVIEW", "precedent")},
        ),
    ],
)
def test_training_time(tmp_path, words, expected):
    assert said(train_time, changed(tmp_path, **words)) == expected


def test_training_time_points_to_the_line(tmp_path):
    read = changed(tmp_path, train_ms=601_153)
    place = {(finding.file, finding.line) for finding in told(train_time, read)}
    (facts,) = [each for each in read.logs if each.file == "train_seed7.log"]
    assert place == {("train_seed7.log", facts.lines["train_s"])}


def test_a_track_of_any_time_only_asks_a_person(tmp_path):
    read = submission(tmp_path, files={"train_seed7.log": log(7, train_ms=14_400_000)}, track="non_record_16mb")
    assert said(train_time, read) == {("REVIEW", "both")}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"eval_ms": 616_850}, {("FAIL", "strict"), ("FAIL", "precedent")}),
        ({"eval_ms": 0}, {("REVIEW", "both")}),
        (
            {"eval_ms": 500_000, "extra": "ttt_lora:compile warmup done (137.6s)"},
            {("FAIL", "strict"), ("REVIEW", "precedent")},
        ),
        (
            {"eval_ms": 500_000, "extra": "Deserialize: decompression done in 120.0s"},
            {("FAIL", "strict"), ("REVIEW", "precedent")},
        ),
        (
            {"eval_ms": 115_000, "extra": "prequant_ttt:done total_time=523.0s"},
            {("FAIL", "strict"), ("FAIL", "precedent")},
        ),
        (
            {"eval_ms": 500_000, "extra": "final_float val_loss:1.9 val_bpb:1.12 eval_time:200000ms"},
            {("REVIEW", "both")},
        ),
    ],
)
def test_evaluation_time(tmp_path, words, expected):
    assert said(eval_time, changed(tmp_path, **words)) == expected


def test_the_evaluation_that_is_claimed_is_timed_even_where_it_is_called_a_diagnostic(tmp_path):
    line = "pre_quant_sliding_window val_loss:0.0397 val_bpb:0.02350000 eval_time:65808175ms"
    value = claim(val_bpb=0.0235, seed_results=None)
    read = submission(
        tmp_path,
        files={
            "submission.json": json.dumps(value),
            **{f"train_seed{seed}.log": log(seed, extra=line) for seed in SEEDS},
        },
    )
    assert {("FAIL", "strict"), ("FAIL", "precedent")} <= said(eval_time, read)


@pytest.mark.parametrize(
    ("words", "expected"),
    [({"world_size": 1}, {"FAIL"}), ({"gpu": "NVIDIA H200"}, {"FAIL"}), ({"gpu": "NVIDIA H100 PCIe"}, {"REVIEW"})],
)
def test_hardware(tmp_path, words, expected):
    assert {finding.verdict for finding in told(log_hardware, changed(tmp_path, **words))} == expected


def test_a_log_that_lists_no_device_shows_no_device(tmp_path):
    text = "\n".join(line for line in log(7).splitlines() if "NVIDIA H100" not in line) + "\n"
    read = submission(tmp_path, files={"train_seed7.log": text})
    assert said(log_hardware, read) == {("UNVERIFIABLE", "both")}


@pytest.mark.parametrize(
    ("words", "category"),
    [
        ({"score": bpb(1.88, val_bytes=round(VAL_BYTES * 1.167))}, "byte_accounting"),
        (
            {"score": bpb(1.88, val_bytes=VAL_BYTES // 5, targets=TARGETS // 5), "targets": TARGETS // 5},
            "partial_validation",
        ),
    ],
)
def test_the_bytes_that_a_score_divides_by(tmp_path, words, category):
    findings = told(byte_denominator, changed(tmp_path, loss=1.88, **words))
    assert {(finding.verdict, finding.category) for finding in findings} <= {("FAIL", category), ("FAIL", "")}
    assert findings


def test_an_unknown_tokenizer_over_the_same_bytes_holds(tmp_path):
    targets = 55_000_000
    read = changed(tmp_path, targets=targets, score=bpb(LOSSES[7], targets=targets))
    assert not told(byte_denominator, read)
    assert not told(validation_coverage, read)


def test_a_mixture_over_a_part_fails_only_where_it_is_claimed(tmp_path):
    line = "ppm_mix bytes=27048621 mix_bpb=0.901871 nn_only=0.97"
    assert said(byte_denominator, changed(tmp_path, extra=line)) == {("REVIEW", "both")}
    value = claim(val_bpb=0.90187, seed_results=None)
    files = {"submission.json": json.dumps(value), "train_seed7.log": log(7, extra=line)}
    assert ("FAIL", "both") in said(byte_denominator, submission(tmp_path, files=files))


@pytest.mark.parametrize(("loss", "verdicts"), [(1.9346024, {"REVIEW"}), (1.8271, {"PASS"})])
def test_without_a_log_the_claim_still_tells_bytes_a_token(tmp_path, loss, verdicts):
    value = claim(val_loss=loss, val_bpb=1.08214, seed_results=None)
    files = {"submission.json": json.dumps(value), **{f"train_seed{seed}.log": None for seed in SEEDS}}
    read = submission(tmp_path, files=files)
    assert {finding.verdict for finding in byte_denominator.RULE.check(read)} == verdicts


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"targets": 9_662_464, "score": 1.07}, {"FAIL"}),
        ({"targets": 70_000_000, "score": 1.2}, {"REVIEW"}),
        ({"targets": 45_514_752}, set()),
        ({"targets": 63_779_840}, set()),
        ({"extra": "eval: 500 batches (limited)"}, {"REVIEW"}),
        ({"extra": "ttt_phased: total_docs:10000 prefix_docs:2000"}, {"REVIEW"}),
        ({"extra": "ttt_phased: total_docs:10000 prefix_docs:2000", "targets": 9_662_464, "score": 1.07}, {"FAIL"}),
    ],
)
def test_coverage(tmp_path, words, expected):
    read = changed(tmp_path, **words)
    assert {finding.verdict for finding in told(validation_coverage, read)} == expected


def test_fewer_tokens_than_any_tokenizer_makes_over_all_bytes_are_of_another_text(tmp_path):
    targets = 36_286_464
    (finding,) = told(validation_coverage, changed(tmp_path, targets=targets, score=bpb(LOSSES[7], targets=targets)))
    assert (finding.verdict, finding.category) == ("REVIEW", "lossy_tokenizer")


def test_a_log_with_the_losses_of_another_is_that_run(tmp_path):
    more = "\n".join(f"step:{n}/20000 train_loss:3.{n:04d} train_time:{n}ms" for n in range(1001, 1006))
    faked = log(7, extra=more).replace("seed:7", "seed:42")
    original = log(7, extra=more)
    files = {"train_seed7.log": original, "train_seed42.log": faked.replace("599900", "599901")}
    findings = told(log_copies, submission(tmp_path, files=files))
    assert [(finding.verdict, finding.file) for finding in findings] == [("FAIL", "train_seed7.log")]


def test_a_byte_copy_is_for_a_person_and_under_another_seed_a_failure(tmp_path):
    assert said(log_copies, submission(tmp_path, files={"train.log": log(7)})) == {("REVIEW", "both")}
    read = submission(tmp_path, files={"train_seed42.log": log(7)})
    assert ("FAIL", "both") in said(log_copies, read)


def test_a_log_under_the_name_of_another_seed(tmp_path):
    (finding,) = told(log_copies, submission(tmp_path, files={"train_seed7.log": twin_of(log(8))}))
    assert finding.verdict == "FAIL"
    assert "seed 7" in finding.message and "seed 8" in finding.message


def test_two_runs_in_a_file_and_a_run_without_end(tmp_path):
    two = log(8).replace("step:1000/", "step:1/") + log(7).replace("step:1000/", "step:1/")
    assert said(log_runs, submission(tmp_path, files={"train_seed7.log": two})) == {("REVIEW", "both")}
    cut = log(7).split("Serialized model:")[0]
    assert said(log_runs, submission(tmp_path, files={"train_seed7.log": cut})) == {("REVIEW", "both")}


def test_a_log_that_is_no_text_is_told(tmp_path):
    data = log(7).encode() + b"\xff\0\n"
    assert len(told(log_runs, submission(tmp_path, files={"train_seed7.log": data}))) == 2


def test_a_total_that_is_no_sum(tmp_path):
    assert said(log_sum, changed(tmp_path, total_bytes=15_000_000)) == {("FAIL", "both")}


@pytest.mark.parametrize(
    "words", [{"program": PROGRAM + "\n# more\n"}, {"code_bytes": len(PROGRAM.encode()) + 2}], ids=["dump", "size"]
)
def test_a_log_of_another_program(tmp_path, words):
    assert said(log_source, changed(tmp_path, **words)) == {("FAIL", "strict"), ("REVIEW", "precedent")}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("train_seq_len:1024", "train_seq_len:2048"),
        lambda text: text.replace("lr = 0.04", "lr = 0.05", 1),
        lambda text: text.replace(f"Code size: {len(PROGRAM.encode())}", "Code size: 7000"),
    ],
    ids=["setting", "program", "size"],
)
def test_a_seed_of_another_configuration(tmp_path, change):
    read = submission(tmp_path, files={"train_seed7.log": change(log(7))})
    assert said(one_configuration, read) == {("REVIEW", "both")}


def test_what_differs_between_any_two_runs_is_no_configuration(tmp_path):
    text = log(7).replace("seed:7\n", "seed:7\nrun_id: 7a\nlogfile: logs/7.txt\n", 1)
    other = log(42).replace("seed:42\n", "seed:42\nrun_id: 42a\nlogfile: logs/42.txt\n", 1)
    read = submission(tmp_path, files={"train_seed7.log": text, "train_seed42.log": other})
    assert not told(one_configuration, read)


def test_one_log_cannot_differ(tmp_path):
    without = {f"train_seed{seed}.log": None for seed in MODEL_BYTES if seed != 7}
    with pytest.raises(NoEvidence):
        list(one_configuration.RULE.check(submission(tmp_path, files=without)))
