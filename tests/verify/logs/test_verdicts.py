import pytest
from submissions import MODEL_BYTES, PROGRAM, log, submission

from fairway.verify.logs.verdicts import facts, usual_tokens, verdicts


def changed(tmp_path, **words):
    return verdicts(submission(tmp_path, files={"train_seed7.log": log(7, **words)}))


def test_the_made_up_folder_holds(tmp_path):
    found = verdicts(submission(tmp_path))
    nothing_said = {"eval_plus_warmup_le_600", "train_plus_gptq_le_600", "recomputed_bytes_compressed_code_under_cap"}
    assert {name for name, value in found.items() if value is None} == nothing_said
    assert all(value for value in found.values() if value is not None)


@pytest.mark.parametrize(
    ("words", "false"),
    [
        ({"train_ms": 600_020}, {"train_le_600_strict"}),
        ({"train_ms": 600_500}, {"train_le_600_strict", "train_le_600_one_step"}),
        ({"train_ms": 602_000}, {"train_le_600_strict", "train_le_600_one_step", "train_le_601"}),
        ({"eval_ms": 601_000}, {"eval_le_600", "eval_sum_le_600"}),
        ({"world_size": 1}, {"hardware_8xh100"}),
        ({"gpu": "NVIDIA H200"}, {"hardware_8xh100"}),
        ({"targets": 9_662_464}, {"val_tokens_as_usual"}),
        ({"code_bytes": 5}, {"log_code_size_matches_dump", "log_code_size_matches_file"}),
        ({"total_bytes": 5}, {"log_total_is_code_plus_model"}),
        ({"model_bytes": 15_999_999}, {"log_bytes_under_cap", "recomputed_bytes_under_cap"}),
        ({"program": PROGRAM + "\n# more\n"}, {"log_source_equals_script", "log_code_size_matches_file"}),
        ({"extra": "eval: 500 batches (limited)"}, {"full_validation"}),
        ({"extra": "GPTQ:collected 66 Hessians in 4.1s"}, {"train_plus_gptq_le_600"}),
        ({"extra": "ttt_lora:compile warmup done (590.0s)"}, {"eval_plus_warmup_le_600"}),
    ],
)
def test_one_number_turns_what_hangs_on_it(tmp_path, words, false):
    found = changed(tmp_path, **words)
    assert {name for name, value in found.items() if value is False} == false


def test_a_log_under_the_name_of_another_seed(tmp_path):
    found = verdicts(submission(tmp_path, files={"train_seed7.log": log(8)}))
    assert found["log_seed_matches_name"] is False


def test_without_logs_nothing_is_said(tmp_path):
    found = verdicts(submission(tmp_path, files={f"train_seed{seed}.log": None for seed in MODEL_BYTES}))
    assert set(found.values()) == {None}


def test_facts_of_a_log_are_a_row(tmp_path):
    row = facts(submission(tmp_path).logs[0])
    assert (row["log"], row["role"], row["gpus"]) == ("train_seed1337.log", "seed", {"H100 80GB HBM3": 8})


def test_counts_in_whole_sequences_are_usual(tmp_path):
    known = submission(tmp_path).track.validation
    assert usual_tokens(known, 62_021_632)
    assert usual_tokens(known, 61_997_056)
    assert not usual_tokens(known, 45_514_752)
    assert not usual_tokens(known, 62_021_633)
