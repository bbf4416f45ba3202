"""Programs that score a piece of the validation set unless told otherwise are pointed at."""

import pytest
from submissions import PROGRAM, submission, with_program

from fairway.verify.rules.partial_validation_code import RULE

SETTING = '    vocab_size = 1024\n    val_token_limit = int(os.environ.get("VAL_TOKEN_LIMIT", {}))\n'
USE = "    loss_sum, token_count, byte_count = 0.0, 0, 0.0\n    val_tokens = val_tokens[: args.val_token_limit]\n"


def program(default):
    return PROGRAM.replace("    vocab_size = 1024\n", SETTING.format(default)).replace(
        "    loss_sum, token_count, byte_count = 0.0, 0, 0.0\n", USE
    )


@pytest.mark.parametrize("default", ["3_000_000", "5 * 10**6", "'9662464'"])
def test_a_limit_that_is_on_by_default_is_pointed_at(tmp_path, default):
    (finding,) = RULE.check(submission(tmp_path, with_program(program(default))))
    assert (finding.verdict, finding.file) == ("REVIEW", "train_gpt.py")
    assert finding.line is not None and "VAL_TOKEN_LIMIT" in program(default).split("\n")[finding.line - 1]


@pytest.mark.parametrize("default", ["0", "-1", "100_000_000", "1024"])
def test_a_limit_that_is_off_is_none(tmp_path, default):
    assert [f.verdict for f in RULE.check(submission(tmp_path, with_program(program(default))))] == ["PASS"]


@pytest.mark.parametrize(
    ("whole", "piece"),
    [
        (
            "load_validation(args.val_files, args.seq_len)\n",
            "load_validation(args.val_files, args.seq_len)\n    first = val_tokens[:1_000_000]\n",
        ),
        ("for path in sorted(glob.glob(pattern))]", "for path in sorted(glob.glob('fineweb_val_*.bin'))[:1]]"),
    ],
)
def test_a_piece_in_so_many_words_is_pointed_at(tmp_path, whole, piece):
    changed = PROGRAM.replace(whole, piece)
    assert changed != PROGRAM
    (finding,) = RULE.check(submission(tmp_path, with_program(changed)))
    assert finding.verdict == "REVIEW"


def test_the_plain_program_passes(tmp_path):
    assert [finding.verdict for finding in RULE.check(submission(tmp_path))] == ["PASS"]
