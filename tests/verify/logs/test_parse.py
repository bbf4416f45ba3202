import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.logs.parse import read_log


def facts(text):
    return read_log(io.BytesIO(text.encode()), "train.log")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "final_int8_zlib_roundtrip val_loss:2.0723 val_bpb:1.2274 eval_time:1375ms\n"
            "final_int8_zlib_roundtrip_exact val_loss:2.07234577 val_bpb:1.22735990",
            ("final_int8_zlib_roundtrip_exact", 1.2273599, 2.07234577, 1.375),
        ),
        (
            "final_int6_sliding_window val_loss:1.8972 val_bpb:1.1236 stride:64 eval_time:73133ms\n"
            "final_int8_zlib_roundtrip_exact val_loss:1.89715168 val_bpb:1.12360306",
            ("final_int8_zlib_roundtrip_exact", 1.12360306, 1.89715168, 73.133),
        ),
        (
            "final_sliding val_loss:3.1157 val_bpb:1.2064 (stride=16, T=1.02) time:130598ms",
            ("final_sliding", 1.2064, 3.1157, 130.598),
        ),
        (
            "final_sliding_window_eval_exact stride:64 val_loss:1.95110428 val_bpb:1.15555486",
            ("final_sliding_window_eval_exact", 1.15555486, 1.95110428, None),
        ),
        (
            "final_int8_zlib_roundtrip_exact sliding val_loss:2.02095340 sliding val_bpb:1.19692464",
            ("final_int8_zlib_roundtrip_exact sliding", 1.19692464, 2.0209534, None),
        ),
        (
            "diagnostic quantized val_loss:2.4 val_bpb:1.08 eval_time:900ms\n"
            "quantized_ttt_phased val_loss:2.32247803 val_bpb:1.06128183 eval_time:519546ms\ntotal_eval_time:519.5s",
            ("quantized_ttt_phased", 1.06128183, 2.32247803, 519.546),
        ),
        (
            "ttt_sliding:done val_loss=2.795171 val_bpb=1.082098 elapsed=293.2s\n"
            "legal_ttt_exact val_loss:2.79517119 val_bpb:1.08209788 eval_time:293430ms",
            ("legal_ttt_exact", 1.08209788, 2.79517119, 293.43),
        ),
        ("Quantized BPB (XSA-all): 1.031736", ("Quantized", 1.031736, None, None)),
        (
            "final_int8_zstd-22_roundtrip_exact val_bpb:1.27905213",
            ("final_int8_zstd-22_roundtrip_exact", 1.27905213, None, None),
        ),
        (
            "pre-quantization post-ema val_loss:2.8 val_bpb:1.08 eval_time:6000ms\n"
            "DIAGNOSTIC post_ema val_loss:2 val_bpb:1.1",
            (None, None, None, None),
        ),
        ("step:5/10 val_loss:2.0 val_bpb:1.2 train_time:5ms", (None, None, None, None)),
    ],
)
def test_the_score_of_the_artifact_is_told_from_all_others(text, expected):
    log = facts(text)
    found = (log.final_label, log.final_val_bpb, log.final_val_loss, log.eval_s)
    assert found[1:] == expected[1:]
    assert expected[0] is None or (found[0] or "").startswith(expected[0])


def test_all_evaluations_are_summed_and_diagnostics_kept_apart():
    log = facts(
        "DIAGNOSTIC post_ema val_loss:1.9 val_bpb:1.13 eval_time:1959ms\n"
        "final_int6_roundtrip val_loss:1.93 val_bpb:1.14 eval_time:5814ms\n"
        "final_int6_sliding_window val_loss:1.89 val_bpb:1.12 stride:64 eval_time:73133ms\n"
    )
    assert log.eval_sum_s == pytest.approx(80.906)
    assert [score.label for score in log.diagnostics] == ["DIAGNOSTIC post_ema"]
    assert len(log.scores) == 2


@pytest.mark.parametrize(
    ("text", "steps", "train_s"),
    [
        ("stopping_early: wallclock_cap train_time:600036ms step:7096/20000", 7096, 600.036),
        ("stopping_early: wallclock_cap train_time: 587193ms step: 4867/20000", 4867, 587.193),
        ("step:99/100 train_loss:3.0 t:4900ms step_avg:49.5ms\nstep:100/100 loss:3.1 t:5000ms", 100, 5.0),
        ("step:10/100 fitness:-3.2 t:355306ms step_avg:35530.6ms", 10, 355.306),
        ("5/20 train_loss: 3.0 train_time: 0.8m tok/s: 9\n10/20 train_loss: 2.9 train_time: 1.6m tok/s: 9", 10, 96.0),
        ("step     1/9999 | loss 6.9 | 105s\nTraining complete in 590s (1857 steps)", 1857, 590.0),
    ],
)
def test_training_ends_where_the_clock_says(text, steps, train_s):
    log = facts(text)
    assert (log.steps, log.train_s) == (steps, train_s)
    assert log.step_ms == pytest.approx(1000 * train_s / steps, abs=6e-4)


@pytest.mark.parametrize(
    ("text", "total", "model", "code", "uncompressed"),
    [
        (
            "Serialized model: 67224983 bytes\nCode size: 47686 bytes\nTotal submission size: 67272669 bytes\n"
            "Serialized model int8+zlib: 15815345 bytes (payload:17178912)\n"
            "Total submission size int8+zlib: 15863031 bytes",
            15863031,
            15815345,
            47686,
            47686,
        ),
        (
            "Code size (uncompressed): 151766 bytes\nCode size (compressed): 31250 bytes\n"
            "Serialized model quantized+brotli: 15,920,836 bytes\n"
            "Total submission size quantized+brotli: 15,952,086 bytes",
            15952086,
            15920836,
            31250,
            151766,
        ),
        (
            "artifact:15.88MB binary:115343360(15319040B) fp:1226832(1248416B) code:78442\n"
            "budget:15959813/16000000 (15.96/16.00MB) FITS",
            15959813,
            None,
            78442,
            78442,
        ),
        (
            "Raw model: 85587955 bytes | Code: 70969 bytes | Total: 85658924\n"
            "INT7+zlib model: 15370972 bytes | Total submission: 15441941 bytes",
            15441941,
            15370972,
            70969,
            70969,
        ),
        (
            "Serialized model: 100 bytes\nCode size: 10 bytes\nTotal submission size: 110 bytes\n"
            "Serialized model: 50 bytes\nTotal submission size: 60 bytes",
            60,
            50,
            10,
            10,
        ),
    ],
)
def test_bytes_are_those_of_the_compressed_model(text, total, model, code, uncompressed):
    log = facts(text)
    assert (log.bytes_total, log.bytes_model, log.bytes_code, log.bytes_code_uncompressed) == (
        total,
        model,
        code,
        uncompressed,
    )


@pytest.mark.parametrize(
    ("text", "seconds", "own"),
    [
        ("GPTQ:collected 67 Hessians in 12.6s", 12.6, False),
        ("gptq:calibrated 66 layers in 6.7s", 6.7, False),
        (
            "gptq:generating autoregressive data\ngptq:generated 64 sequences in 238.8s\ngptq:done in 239.9s",
            239.9,
            True,
        ),
        ("gptq:generated 32 seqs in 199.1s\ngptq:collected hessians for 33 layers in 199.6s", 199.6, False),
        ("gptq:generated 32 seqs in 10.0s\ngptq:collected hessians for 33 layers in 4.0s", 14.0, False),
        ("Code size: 1 bytes", None, False),
    ],
)
def test_calibration_is_timed_once(text, seconds, own):
    log = facts(text)
    assert (log.calibration_s, log.calibrates_on_itself) == (seconds, own)


def test_what_comes_before_the_scoring_is_told():
    log = facts(
        "Deserialize: decompression done in 20.8s\nttt_lora:compile warmup done (122.0s)\n"
        "ngram_tilt:precompute_done elapsed=168.13s total_targets=47851520\nbeginning TTT eval timer\n"
        "prequant_ttt:done total_time=523.0s\nreal 733.28\n"
    )
    assert (log.decompress_s, log.ttt_warmup_s, log.process_s) == (20.8, 122.0, 733.28)
    assert log.precompute_s == pytest.approx(691.13)


def test_hints_built_inside_the_timer_are_not_counted_again():
    log = facts("beginning TTT eval timer\nngram_tilt:precompute n_tok=9 elapsed=32.6s base_beta=2.0\n")
    assert log.precompute_s is None


@pytest.mark.parametrize("text", ["seed:42", "  seed: 42", "XNOR | params:117 L:10 ws:8 s:42", "a=1 seed=42 b=2"])
def test_the_seed_is_read_in_every_form(text):
    assert facts(text).seed_logged == 42


def test_machine_tokens_and_settings():
    log = facts(
        "|   0  NVIDIA H100 80GB HBM3          On  |   00000000:01:00.0 Off |                    0 |\n"
        "|   1  NVIDIA H100 80GB HBM3          On  |   00000000:02:00.0 Off |                    0 |\n"
        "world_size:2 grad_accum_steps:4\n"
        "val_loader:shards pattern=./data/x_val_*.bin tokens:62021632\n"
        "train_batch_tokens:524288 train_seq_len:1024 iterations:20000 max_wallclock_seconds:600.000\n"
        "step:1/5 train_loss:7.0 train_time:1ms\nlate: 7\n"
    )
    assert dict(log.gpus) == {"H100 80GB HBM3": 2}
    assert (log.world_size, log.val_tokens, log.lines["val_tokens"]) == (2, 62021632, 4)
    assert log.settings["train_seq_len"] == "1024"
    assert "late" not in log.settings


def test_tokens_stand_beside_other_facts_and_documents_may_be_a_share():
    log = facts(
        "train_loader:dataset:x train_shards:80 val_tokens:62021632\nttt:long_docs time=1ms docs=3857\n"
        "ttt_lora:docs:50000 rank:96\n"
    )
    assert (log.val_tokens, log.documents) == (62021632, 50000)


def test_of_several_runs_the_last_with_a_score_counts():
    def run(clock, bpb):
        return (
            f"step:0/9 val_loss:7.0 val_bpb:4.1\nstep:1/9 train_loss:7.0 train_time:{clock}ms\n"
            f"step:9/9 train_loss:3.0 train_time:{clock * 9}ms\nfinal_x val_loss:2.0 val_bpb:{bpb} eval_time:1000ms\n"
        )

    log = facts(run(50, 1.3) + run(60, 1.2) + "step:1/9 train_loss:7.1 train_time:70ms\n")
    assert (log.runs_in_file, log.final_val_bpb, log.train_s, log.eval_sum_s) == (3, 1.2, 0.54, 1.0)


def test_a_start_without_a_step_is_a_run():
    start = "Running Python 3.12.3 (main)\nseed:1\n"
    assert facts(start + start + "step:1/9 train_loss:7.0 train_time:5ms\n").runs_in_file == 2


def test_one_run_told_twice_is_one_run():
    run = "step:1/9 train_loss:7.0 train_time:5ms\nstep:9/9 train_loss:3.0 train_time:45ms\n"
    run += "final_x val_loss:2 val_bpb:1.25 eval_time:9ms\n"
    log = facts(run + run)
    assert (log.runs_in_file, log.eval_sum_s, len(log.scores)) == (1, 0.009, 1)


def test_bytes_under_a_score_are_counted_with_their_tokens():
    log = facts("ppm_mix bytes=10982035 mix_bpb=1.002519 nn_only=1.08\nppm_mix_time:47.1s subset=3000000 tokens\n")
    (count,) = log.byte_counts
    assert (count.label, count.bytes, count.bpb) == ("ppm_mix", 10982035, (1.002519,))
    assert log.partial is not None


def test_scores_that_are_no_numbers_are_left_out():
    assert facts("final_x val_loss:nan val_bpb:inf").final_val_bpb is None


FIRST = r"(step:|seed:|final_x val_loss:|Code size: |GPTQ:collected 1 x in |budget:)"
ANYTHING = st.one_of(
    st.text(max_size=80),
    st.from_regex(FIRST + r"[0-9.e/,_+\-]{0,40}(ms|s| bytes)?", fullmatch=True),
    st.from_regex(
        r"[a-z_]{1,9}( val_loss:[0-9.]{1,9})? val_bpb:[0-9.e]{1,9}( eval_time:[0-9]{1,9}ms)?", fullmatch=True
    ),
)


@given(st.lists(ANYTHING, max_size=25))
def test_any_lines_give_facts_that_are_numbers(lines):
    log = facts("\n".join(lines).encode("utf-8", "replace").decode())
    for value in (log.final_val_bpb, log.final_val_loss, log.train_s, log.eval_s, log.eval_sum_s):
        assert value is None or math.isfinite(value)
    assert all(number >= 1 for number in log.lines.values())


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(data):
    log, _ = read_log(io.BytesIO(data), "x.log")
    assert log.size_bytes == len(data)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**7), st.floats(0.5, 9.0), st.floats(0.5, 9.0))
def test_what_a_script_prints_is_what_is_read(seed, steps, train_ms, loss, bpb):
    log = facts(
        f"seed:{seed}\nstep:{steps}/{steps} train_loss:{loss:.4f} train_time:{train_ms}ms\n"
        f"final_int8_zlib_roundtrip val_loss:{loss:.4f} val_bpb:{bpb:.4f} eval_time:{train_ms}ms\n"
        f"final_int8_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}\n"
    )
    assert (log.seed_logged, log.steps) == (seed, steps)
    assert log.train_s == log.eval_s == pytest.approx(train_ms / 1000)
    assert log.final_val_bpb == float(f"{bpb:.8f}")
