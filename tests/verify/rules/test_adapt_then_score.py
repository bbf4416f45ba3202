"""Steps on validation tokens that were not scored before are pointed out, score-first steps are not."""

from pathlib import Path

from courses import ADAPT, SCORE_FIRST, SCORING, findings, line_of, program, verdicts

from fairway.verify.rules.adapt_then_score import RULE

LEARNING = "    loss, bpb = evaluate_learning(args, model, val_tokens, tables, device)\n"
PHASED = """
def learn_from(args, model, tokens, device):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for start in range(0, tokens.numel() - 1, args.seq_len):
        window = tokens[start : start + args.seq_len + 1].to(device, torch.int64)
        optimizer.zero_grad()
        model(window[:-1][None], window[1:][None]).backward()
        optimizer.step()


def evaluate_phased(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    waiting, done = list(range(0, val_tokens.numel() - 1, args.seq_len)), []
    while waiting:
        start = waiting.pop()
        window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
        x, y = window[:-1][None], window[1:][None]
        loss_sum += float(model(x, y).double()) * y.numel()
        token_count += y.numel()
        byte_count += float((sizes[y] + (spaced[y] & ~boundary[x])).double().sum())
        done.append(start)
        if len(done) == 2000:
            learn_from(args, model, torch.cat([val_tokens[at : at + args.seq_len] for at in done]), device)
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""
WARM_UP = """
    spare = Model(args.vocab_size, args.dim).to(device)
    warm = torch.optim.SGD(spare.parameters(), lr=1e-3)
    for length in (64, args.seq_len):
        window = val_tokens[: length + 1].to(device, torch.int64)
        spare(window[:-1][None], window[1:][None]).backward()
        warm.step()
    del spare, warm
"""


def test_score_first_chunks_pass(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path, RULE, program(functions=SCORE_FIRST, scoring=LEARNING))) == {("PASS", "both")}


def test_phases_over_documents_that_were_scored_pass(tmp_path: Path) -> None:
    scoring = "    loss, bpb = evaluate_phased(args, model, val_tokens, tables, device)\n"
    assert verdicts(findings(tmp_path, RULE, program(functions=PHASED, scoring=scoring))) == {("PASS", "both")}


def test_learning_before_the_score_is_told(tmp_path: Path) -> None:
    text = program(functions=ADAPT, scoring="    adapt(args, model, val_tokens, device)\n" + SCORING)
    (found,) = findings(tmp_path, RULE, text)
    assert (found.verdict, found.profile, found.file) == ("REVIEW", "both", "train_gpt.py")
    assert found.line is not None
    assert text.splitlines()[found.line - 1].strip() == "loss.backward()"
    assert f"line {line_of(text, 'loss_sum += ')}" in found.message


def test_a_chunk_that_learns_before_its_score_is_told(tmp_path: Path) -> None:
    head, tail = SCORE_FIRST.split("        with torch.inference_mode():\n")
    scored, learnt = tail.split("        for _ in range(args.epochs):\n")
    steps, end = learnt.split("    loss = loss_sum / token_count\n")
    turned = (
        f"{head}        for _ in range(args.epochs):\n{steps}"
        f"        with torch.inference_mode():\n{scored}    loss = loss_sum / token_count\n{end}"
    )
    assert verdicts(findings(tmp_path, RULE, program(functions=turned, scoring=LEARNING))) == {("REVIEW", "both")}


def test_a_warm_up_that_is_thrown_away_is_a_matter_of_the_written_rule(tmp_path: Path) -> None:
    assert verdicts(findings(tmp_path, RULE, program(scoring=WARM_UP + SCORING))) == {("REVIEW", "strict")}
