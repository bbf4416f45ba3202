"""Weights that were trained on validation tokens before they are packed are pointed out."""

from pathlib import Path

from courses import ADAPT, SCORE_FIRST, findings, line_of, program, verdicts
from submissions import PROGRAM

from fairway.verify.rules.pre_quant_ttt import RULE

BEFORE_PACKING = "    adapt(args, model, val_tokens, device)\n"


def test_a_program_that_trains_on_training_shards_alone_passes(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path, RULE, PROGRAM)) == {("PASS", "both")}


def test_score_first_learning_passes(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_learning(args, model, val_tokens, tables, device)\n"
    assert verdicts(findings(tmp_path, RULE, program(functions=SCORE_FIRST, scoring=scoring))) == {("PASS", "both")}


def test_epochs_over_validation_before_packing_are_told_with_their_line(tmp_path: Path) -> None:
    text = program(functions=ADAPT, packing=BEFORE_PACKING)
    (found,) = findings(tmp_path, RULE, text)
    assert (found.verdict, found.file) == ("REVIEW", "train_gpt.py")
    assert found.line is not None
    assert text.splitlines()[found.line - 1].strip() == "loss.backward()"
    assert found.line > line_of(text, "def adapt")
    assert "for epoch in range(args.epochs)" in found.message
    assert "written to a file after that" in found.message


def test_no_epochs_by_default_is_nothing(tmp_path: Path) -> None:
    text = program(functions=ADAPT, packing=BEFORE_PACKING, settings='epochs = int(os.environ.get("EPOCHS", 0))')
    assert verdicts(findings(tmp_path, RULE, text)) == {("PASS", "both")}


def test_epochs_that_the_command_sets_are_followed(tmp_path: Path) -> None:
    text = program(functions=ADAPT, packing=BEFORE_PACKING, settings='epochs = int(os.environ.get("EPOCHS", 0))')
    found = findings(tmp_path, RULE, text, readme="# Made up\n\nEPOCHS=6 torchrun train_gpt.py\n")
    assert verdicts(found) == {("REVIEW", "both")}


def test_a_title_that_says_so_counts_and_a_denial_does_not(tmp_path: Path) -> None:
    said = findings(tmp_path / "said", RULE, PROGRAM, readme="# Ten epochs of pre-quant TTT\n")
    assert [(f.verdict, f.file, f.line) for f in said] == [("REVIEW", "README.md", 1)]
    denied = findings(tmp_path / "denied", RULE, PROGRAM, readme="# Plain, no pre-quant TTT\n")
    assert verdicts(denied) == {("PASS", "both")}
