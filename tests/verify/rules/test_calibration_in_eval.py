"""Calibration on training tokens after the training time, or on validation tokens, is pointed out."""

from pathlib import Path

from courses import findings, line_of, program, verdicts
from submissions import PROGRAM

from fairway.verify.rules.calibration_in_eval import RULE

CALIBRATE = """
def calibrate(args, model, pattern, device):
    tokens = torch.cat([load_shard(path) for path in sorted(glob.glob(pattern))])
    with torch.no_grad():
        for start in range(0, 64 * args.seq_len, args.seq_len):
            window = tokens[start : start + args.seq_len + 1].to(device, torch.int64)
            model(window[:-1][None], window[1:][None])
"""
ON_TRAINING = "    calibrate(args, model, args.train_files, device)\n"
ON_VALIDATION = "    calibrate(args, model, args.val_files, device)\n"
MADE_UP_TEXT = """    written = torch.randint(0, args.vocab_size, (64, args.seq_len))
    for row in written:
        model(row[:-1][None], row[1:][None])
"""
LIMIT = "        if elapsed >= 1000.0 * args.max_wallclock_seconds:\n"
RESERVED = """        max_wallclock_ms = 1000.0 * args.max_wallclock_seconds
        max_wallclock_ms -= 12000.0
        if elapsed >= max_wallclock_ms:
"""


def test_no_calibration_and_one_on_text_of_its_own_pass(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path / "none", RULE, PROGRAM)) == {("PASS", "both")}
    assert verdicts(findings(tmp_path / "own", RULE, program(packing=MADE_UP_TEXT))) == {("PASS", "both")}


def test_calibration_inside_the_reserved_time_passes(tmp_path: Path) -> None:
    text = program(functions=CALIBRATE, packing=ON_TRAINING)
    assert LIMIT in text
    assert verdicts(findings(tmp_path, RULE, text.replace(LIMIT, RESERVED))) == {("PASS", "both")}


def test_calibration_after_the_whole_time_is_told(tmp_path: Path) -> None:
    text = program(functions=CALIBRATE, packing=ON_TRAINING)
    (found,) = findings(tmp_path, RULE, text)
    assert (found.verdict, found.line) == ("REVIEW", line_of(text, "            model(window[:-1][None]"))
    assert "training tokens after the training loop" in found.message


def test_calibration_on_validation_tokens_is_told(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, RULE, program(functions=CALIBRATE, packing=ON_VALIDATION))
    assert found.verdict == "REVIEW"
    assert "validation tokens" in found.message
