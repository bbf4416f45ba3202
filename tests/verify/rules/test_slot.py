"""A tensor that is fitted to the window that it then scores is pointed out."""

from pathlib import Path

from courses import SCORE_FIRST, findings, program, verdicts
from submissions import PROGRAM

from fairway.verify.rules.slot import RULE

SLOT = """
def evaluate_shifted(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    for start in range(0, val_tokens.numel() - 1, args.seq_len):
        window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
        x, y = window[:-1][None], window[1:][None]
        with torch.no_grad():
            logits = model.logits(x)
        shift = torch.zeros(1, 1, args.vocab_size, device=device, requires_grad=True)
        optimizer = torch.optim.AdamW([shift], lr=0.01)
        for _ in range(args.epochs):
            optimizer.zero_grad()
            F.cross_entropy((logits + shift).flatten(0, 1), y.flatten()).backward()
            optimizer.step()
        nll = F.cross_entropy((logits + shift).flatten(0, 1), y.flatten(), reduction="none")
        loss_sum += float(nll.double().sum())
        token_count += y.numel()
        byte_count += float((sizes[y] + (spaced[y] & ~boundary[x])).double().sum())
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""
SHIFTED = "    loss, bpb = evaluate_shifted(args, model, val_tokens, tables, device)\n"


def test_a_plain_program_and_a_score_first_one_pass(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path / "plain", RULE, PROGRAM)) == {("PASS", "both")}
    learning = SHIFTED.replace("shifted", "learning")
    assert verdicts(findings(tmp_path / "ttt", RULE, program(functions=SCORE_FIRST, scoring=learning))) == {
        ("PASS", "both")
    }


def test_a_shift_fitted_to_the_scored_window_is_told(tmp_path: Path) -> None:
    text = program(functions=SLOT, scoring=SHIFTED)
    (found,) = findings(tmp_path, RULE, text)
    assert found.verdict == "REVIEW"
    assert found.line is not None
    assert text.splitlines()[found.line - 1].strip().endswith("y.flatten()).backward()")


def test_a_shift_that_logs_say_is_off_passes_and_one_that_left_its_line_does_not(tmp_path: Path) -> None:
    settings = 'slot_enabled = bool(int(os.environ.get("SLOT_ENABLED", "0")))\n    epochs = 3'
    scoring = (
        "    loss, bpb = evaluate(args, model, val_tokens, tables, device)\n"
        f"    if args.slot_enabled:\n    {SHIFTED}"
        '        log0(f"final_shifted val_loss:{loss:.8f} val_bpb:{bpb:.8f}")\n'
    )
    text = program(functions=SLOT, scoring=scoring, settings=settings)
    assert verdicts(findings(tmp_path / "off", RULE, text)) == {("PASS", "both")}
    on = findings(tmp_path / "on", RULE, text, extra="final_shifted val_loss:1.70000000 val_bpb:1.00684000")
    assert verdicts(on) == {("REVIEW", "both")}
