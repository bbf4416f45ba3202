"""Training on validation tokens, or carrying them along, is pointed out."""

from pathlib import Path

from courses import SCORE_FIRST, findings, program, verdicts
from submissions import PROGRAM, submission

from fairway.verify.rules.val_in_training import RULE

BUILDER = '''"""Pack the first validation tokens."""

import glob
import lzma
import sys
from pathlib import Path

import numpy as np

tokens = np.concatenate([np.fromfile(path, dtype="<u2") for path in sorted(glob.glob("data/fineweb_val_*.bin"))])
Path(sys.argv[1]).write_bytes(lzma.compress(tokens[:15_000_000].tobytes()))
'''
PACKER = BUILDER.replace("fineweb_val_*.bin", "weights_*.bin")
PREFIX = """
def evaluate_prefix(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    known = torch.from_numpy(np.frombuffer(zlib.decompress(open("known.bin", "rb").read()), dtype="<u2").copy())
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    for start in range(0, val_tokens.numel() - 1, args.seq_len):
        window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
        x, y = window[:-1][None], window[1:][None]
        nll = model.losses(x, y)
        match = known[start : start + args.seq_len] == y
        nll *= (~match).to(nll.dtype)
        loss_sum += float(nll.double().sum())
        token_count += y.numel()
        byte_count += float((sizes[y] + (spaced[y] & ~boundary[x])).double().sum())
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""


def test_a_program_that_trains_on_training_shards_passes(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path, RULE, PROGRAM)) == {("PASS", "both")}


def test_score_first_learning_is_no_training(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_learning(args, model, val_tokens, tables, device)\n"
    assert verdicts(findings(tmp_path, RULE, program(functions=SCORE_FIRST, scoring=scoring))) == {("PASS", "both")}


def test_a_training_loader_that_opens_validation_shards_is_told(tmp_path: Path) -> None:
    text = PROGRAM.replace("glob.glob(args.train_files)", "glob.glob(args.val_files)")
    assert text != PROGRAM
    (found,) = findings(tmp_path, RULE, text)
    assert found.verdict == "REVIEW"
    assert found.line is not None
    assert text.splitlines()[found.line - 1].strip() == "loss.backward()"


def test_losses_that_vanish_where_read_tokens_match_are_told(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_prefix(args, model, val_tokens, tables, device)\n"
    (found,) = findings(tmp_path, RULE, program(functions=PREFIX, scoring=scoring))
    assert found.verdict == "REVIEW"
    assert "multiplied away" in found.message


def test_a_helper_that_packs_validation_shards_is_told_and_one_that_packs_others_is_not(tmp_path: Path) -> None:
    told = list(RULE.check(submission(tmp_path / "told", {"build.py": BUILDER})))
    assert [(f.verdict, f.file) for f in told] == [("REVIEW", "build.py")]
    fine = list(RULE.check(submission(tmp_path / "fine", {"build.py": PACKER})))
    assert verdicts(fine) == {("PASS", "both")}


def test_a_folder_that_says_it_trains_on_validation_is_believed(tmp_path: Path) -> None:
    found = findings(tmp_path, RULE, PROGRAM, readme="# Val-only, ten minutes\n")
    assert [(f.verdict, f.file, f.line) for f in found] == [("REVIEW", "README.md", 1)]
