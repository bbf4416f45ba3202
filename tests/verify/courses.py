"""The made-up program with other conduct: it learns from validation tokens, scores twice, calibrates."""

import re
from collections.abc import Iterable
from pathlib import Path

from submissions import PROGRAM, log, submission

from fairway.verify.finding import Finding, Rule

PACKING = "    buffer = io.BytesIO()\n"
SCORING = "    loss, bpb = evaluate(args, model, val_tokens, tables, device)\n"
EVALUATE = re.compile(r"^def evaluate\(.*?(?=^def main)", re.DOTALL | re.MULTILINE)

ADAPT = """
def adapt(args, model, val_tokens, device):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for epoch in range(args.epochs):
        total = 0.0
        for start in range(0, val_tokens.numel() - 1, args.seq_len):
            window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
            loss = model(window[:-1][None], window[1:][None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total}")
"""
"""Passes over all of validation that score nothing."""

SCORE_FIRST = """
def evaluate_learning(args, model, val_tokens, tables, device):
    sizes, spaced, boundary = tables
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    chunks = range(0, val_tokens.numel() - 1, 32 * args.seq_len)
    for chunk in chunks:
        with torch.inference_mode():
            for start in range(chunk, chunk + 32 * args.seq_len, args.seq_len):
                window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
                x, y = window[:-1][None], window[1:][None]
                loss_sum += float(model(x, y).double()) * y.numel()
                token_count += y.numel()
                size = sizes[y] + (spaced[y] & ~boundary[x])
                byte_count += float(size.double().sum())
        for _ in range(args.epochs):
            window = val_tokens[chunk : chunk + 32 * args.seq_len + 1].to(device, torch.int64)
            loss = model(window[:-1].view(32, -1), window[1:].view(32, -1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)
"""
"""Each chunk is scored, then learnt from in several epochs: what the rules allow."""


def program(
    *,
    functions: str = "",
    packing: str = "",
    scoring: str | None = None,
    settings: str = "epochs = 3",
    text: str = PROGRAM,
) -> str:
    """The made-up program with functions put before ``main``, and lines before it packs or instead of its score."""
    text = PROGRAM
    assert text.count(PACKING) == text.count(SCORING) == 1
    text = text.replace("    seq_len = int(", f"    {settings}\n    seq_len = int(", 1)
    text = text.replace("def main() -> None:", f"{functions}\n\ndef main() -> None:", 1)
    text = text.replace(PACKING, packing + PACKING)
    return text if scoring is None else text.replace(SCORING, scoring)


def findings(tmp_path: Path, rule: Rule, text: str, *, readme: str | None = None, extra: str = "") -> list[Finding]:
    """What a rule says of a folder with this program; ``extra`` lines stand in its logs."""
    files = {"train_gpt.py": text}
    if readme is not None:
        files["README.md"] = readme
    for seed in (7, 42, 1337):
        files[f"train_seed{seed}.log"] = log(seed, program=text, extra=extra)
    return list(rule.check(submission(tmp_path, files)))


def verdicts(found: Iterable[Finding]) -> set[tuple[str, str]]:
    """Verdict and profile of each finding."""
    return {(finding.verdict, finding.profile) for finding in found}


def line_of(text: str, words: str) -> int:
    """The line on which some words first stand."""
    return text[: text.index(words)].count("\n") + 1
