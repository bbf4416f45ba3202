"""A score that is added up in the last of several epochs is pointed out."""

from pathlib import Path

from courses import SCORE_FIRST, findings, line_of, program, verdicts

from fairway.verify.rules.last_epoch_score import RULE

EPOCHS = """
def evaluate_epochs(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        for start in range(0, val_tokens.numel() - 1, args.seq_len):
            window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
            x, y = window[:-1][None], window[1:][None]
            loss = model(x, y)
            if epoch == args.epochs - 1:
                loss_sum += float(loss.double()) * y.numel()
                token_count += y.numel()
                byte_count += float((sizes[y] + (spaced[y] & ~boundary[x])).double().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""


def test_epochs_over_a_chunk_that_was_scored_once_pass(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_learning(args, model, val_tokens, tables, device)\n"
    assert verdicts(findings(tmp_path, RULE, program(functions=SCORE_FIRST, scoring=scoring))) == {("PASS", "both")}


def test_the_last_of_several_epochs_is_told(tmp_path: Path) -> None:
    text = program(
        functions=EPOCHS, scoring="    loss, bpb = evaluate_epochs(args, model, val_tokens, tables, device)\n"
    )
    (found,) = findings(tmp_path, RULE, text)
    assert (found.verdict, found.file) == ("REVIEW", "train_gpt.py")
    assert found.line == line_of(text, "loss_sum += float(loss.double())")
    assert "only in the last turn of 'for epoch in range(args.epochs)'" in found.message
