"""A second score of the same tokens, or the smaller of two losses, is pointed out."""

from pathlib import Path

import pytest
from courses import SCORE_FIRST, SCORING, findings, program, verdicts

from fairway.verify.rules.rescore_two_pass import RULE

LEARNING = "    loss, bpb = evaluate_learning(args, model, val_tokens, tables, device)\n"
TABLES = """
def evaluate_counts(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    counts = np.zeros((args.vocab_size, args.vocab_size))
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    {first}
    for start in range(0, val_tokens.numel() - 1, args.seq_len):
        window = val_tokens[start : start + args.seq_len + 1]
        x, y = window[:-1], window[1:]
        p = torch.exp(-model(x[None], y[None])) * 0.5 + 0.5 * counts[x, y] / counts[x].sum(-1)
        loss_sum += float(-np.log(p).sum())
        token_count += y.numel()
        byte_count += float((sizes[y] + (spaced[y] & ~boundary[x])).double().sum())
        {after}
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""
SMALLER = {
    "torch.minimum": "nll = torch.minimum(model(x, y), other(x, y))",
    "an if": "nll, old = model(x, y), other(x, y)\n            if old < nll:\n                nll = old",
    "torch.where": "a, b = model(x, y), other(x, y)\n            nll = torch.where(a < b, a, b)",
}
CHOOSING = """
def evaluate_best(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    other = Model(args.vocab_size, args.dim)
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    with torch.inference_mode():
        for start in range(0, val_tokens.numel() - 1, args.seq_len):
            window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
            x, y = window[:-1][None], window[1:][None]
            {choice}
            loss_sum += nll.double().sum()
            token_count += y.numel()
            byte_count += (sizes[y] + (spaced[y] & ~boundary[x])).double().sum()
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""


def test_one_score_first_pass_after_a_diagnostic_one_passes(tmp_path: Path) -> None:
    text = program(functions=SCORE_FIRST, scoring=SCORING + LEARNING)
    assert verdicts(findings(tmp_path, RULE, text)) == {("PASS", "both")}


def test_scoring_again_with_what_learnt_is_told(tmp_path: Path) -> None:
    text = program(functions=SCORE_FIRST, scoring=LEARNING + SCORING)
    (found,) = findings(tmp_path, RULE, text)
    assert found.verdict == "REVIEW"
    assert "scored again" in found.message


def test_scoring_again_with_a_fresh_model_or_the_state_of_before_passes(tmp_path: Path) -> None:
    fresh = "    model = Model(args.vocab_size, args.dim)\n"
    text = program(functions=SCORE_FIRST, scoring=LEARNING + fresh + SCORING)
    assert verdicts(findings(tmp_path / "fresh", RULE, text)) == {("PASS", "both")}
    kept = "    kept = {name: weight.clone() for name, weight in model.state_dict().items()}\n"
    back = "    model.load_state_dict(kept)\n"
    text = program(functions=SCORE_FIRST, scoring=kept + LEARNING + back + SCORING)
    assert verdicts(findings(tmp_path / "back", RULE, text)) == {("PASS", "both")}


def test_a_table_that_follows_the_score_passes_and_one_that_was_filled_before_is_told(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_counts(args, model, val_tokens, tables, device)\n"
    causal = TABLES.format(first="pass", after="np.add.at(counts, (x, y), 1)")
    assert verdicts(findings(tmp_path / "causal", RULE, program(functions=causal, scoring=scoring))) == {
        ("PASS", "both")
    }
    whole = TABLES.format(first="np.add.at(counts, (val_tokens[:-1], val_tokens[1:]), 1)", after="pass")
    (found,) = findings(tmp_path / "whole", RULE, program(functions=whole, scoring=scoring))
    assert "in a pass of its own" in found.message


@pytest.mark.parametrize("choice", SMALLER.values(), ids=SMALLER.keys())
def test_the_smaller_of_two_losses_is_told(tmp_path: Path, choice: str) -> None:
    scoring = "    loss, bpb = evaluate_best(args, model, val_tokens, tables, device)\n"
    (found,) = findings(tmp_path, RULE, program(functions=CHOOSING.format(choice=choice), scoring=scoring))
    assert found.verdict == "REVIEW"
    assert "smaller of two" in found.message


def test_a_mixture_of_two_losses_passes(tmp_path: Path) -> None:
    choice = "nll = -torch.log(0.5 * torch.exp(-model(x, y)) + 0.5 * torch.exp(-other(x, y)))"
    scoring = "    loss, bpb = evaluate_best(args, model, val_tokens, tables, device)\n"
    text = program(functions=CHOOSING.format(choice=choice), scoring=scoring)
    assert verdicts(findings(tmp_path, RULE, text)) == {("PASS", "both")}
