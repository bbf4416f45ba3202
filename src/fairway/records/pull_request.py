"""The text of a pull request: the evidence of a judged record in tables, each with where to see it."""

from collections.abc import Iterator, Sequence

from fairway.records.layout import ARTIFACT, CODE, SOURCE
from fairway.records.readme import markdown_table
from fairway.verify.facts import Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Verdict
from fairway.verify.ledger import LedgerFacts
from fairway.verify.rules import eval_budget, train_budget
from fairway.verify.sizes import readings_of
from fairway.verify.tracks import GainTest, TimeLimit

_UNITS = {
    "nats_per_token": "nats per token (val_loss)",
    "nats_per_byte": "nats per byte (val_bpb times ln 2), which does not depend on the tokenizer",
    "bits_per_byte": "bits per byte (val_bpb)",
}
_MEASURED = ("cross_entropy(", "log_softmax(")


def pull_request(facts: Facts, verdict: Verdict) -> str:
    """Markdown from the folder's facts and the judge's verdict on them; nothing in it is typed by a person.

    ``NoEvidence`` where the folder lacks what a pull request must show.
    """
    blocks = [
        *_summary(facts, verdict),
        "## Scores and sizes",
        *_sizes(facts),
        "## Seconds",
        *_seconds(facts),
        "## Legality of the evaluation",
        *_legality(facts, verdict),
        "## Byte denominator",
        *_denominator(facts, verdict),
        "## Seeds and significance",
        *_significance(facts, verdict),
        "## Reproduce",
        *_reproduce(facts, verdict),
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(facts: Facts, verdict: Verdict) -> Iterator[str]:
    claim = facts.need_submission()
    deviation = claim.get("val_bpb_std")
    spread = "" if deviation is None else f", standard deviation {deviation:.5f}"
    yield f"# {facts.folder}: {claim['val_bpb']:.5f} bits per byte"
    if claim.get("invalid"):
        yield f"**Not a record, and not a valid score: {claim['invalid']}.**"
    yield f"{claim['blurb']}"
    yield (
        f"Track `{facts.track.name}` ({facts.track.title}). Mean val_bpb {claim['val_bpb']:.5f} over"
        f" {len(facts.seeds)} seed{'s' if len(facts.seeds) != 1 else ''}{spread}. {claim['hardware']}."
    )
    readings = ", ".join(f"{profile} {verdict.of(profile)}" for profile in verdict.profiles)
    yield (
        "This change adds one folder and nothing else. Every number below was computed from the files in it;"
        f" the judge's verdict on them (`verdict.json`) is {readings}, and SHA256SUMS, which it is about, has SHA-256"
        f" `{verdict.sums_sha256}`."
    )


def _sizes(facts: Facts) -> Iterator[str]:
    rows = []
    for seed in facts.seeds.values():
        score, told = _final(seed), readings_of(facts, seed)
        rows.append(
            [
                str(seed.seed),
                f"{score[0]:.8f}",
                f"{score[1]:.8f}",
                f"{seed.need_artifact().size_bytes:,}",
                *(_bytes(size) for size in (told.literal, told.all_code, told.claimed, told.repacked)),
            ]
        )
    head = ["seed", "val_bpb", "val_loss", "artifact bytes", "literal", "all code", "claimed", "repacked"]
    yield markdown_table(head, rows, numbers=True)
    cap, code = facts.track.size.cap_bytes, facts.need_code().file
    worst = max((readings_of(facts, seed) for seed in facts.seeds.values()), key=lambda told: told.literal)
    yield (
        f"The cap is {cap:,} bytes for code and artifact of every seed together. *Literal* counts `{CODE}` as it lies"
        f" in the folder ({code.size_bytes:,} bytes, SHA-256 `{code.sha256[:16]}`, the same that every log names in its"
        f" first line) and leaves {cap - worst.literal:,} bytes for the largest seed; *all code* adds the readable"
        f" `{SOURCE}`; *claimed* is `submission.json`; *repacked* is the smallest file of that program that was shown."
    )


def _bytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size:,}"


def _final(seed: SeedFacts) -> tuple[float, float]:
    score = seed.only("evaluate", "score", name="final")
    return score.number("val_bpb"), score.number("val_loss")


def _seconds(facts: Facts) -> Iterator[str]:
    """A column for each limit of the track, so that both readings stand side by side."""
    for what, limits, seconds in (
        ("training", facts.track.train.limits, train_budget.seconds),
        ("evaluation", facts.track.eval.limits, eval_budget.seconds),
    ):
        parts = {seed.seed: seconds(seed)[0] for seed in facts.seeds.values()}
        head = ["seed", *(_limit(limit) for limit in limits)]
        rows = [
            [str(seed), *(f"{sum(own[part] for part in limit.counts):.3f}" for limit in limits)]
            for seed, own in parts.items()
        ]
        yield f"Seconds of {what}:"
        yield markdown_table(head, rows, numbers=True)


def _limit(limit: TimeLimit) -> str:
    looked_at = "" if limit.above == "FAIL" else ", beyond it a person looks"
    return f"{limit.profile}: {' + '.join(limit.counts)} (at most {limit.limit_s:g}{looked_at})"


def _legality(facts: Facts, verdict: Verdict) -> Iterator[str]:
    ledgers = [seed.need_ledger() for seed in facts.seeds.values()]
    yield (
        "The evaluation is run by a referee that holds the tokens and writes each step on a hash-chained ledger before"
        " the next one begins. Where to look:"
    )
    head = ["seed", "ledger", "entries", "plan", "first score", "first update", "sums", "head"]
    rows = [[str(seed.seed), *_pointers(ledger)] for seed, ledger in zip(facts.seeds.values(), ledgers, strict=True)]
    yield markdown_table(head, rows)
    measured = _line_of(facts.source, "class Referee", _MEASURED)
    where = f"`{SOURCE}`" if measured is None else f"`{SOURCE}:{measured}`"
    yield "\n".join(
        [
            "- **C1, strict causal dependence.** The plan is a function of the documents' lengths, made and hashed"
            " (`plan_sha256`, line 1 of each ledger) before any token is handed out, and asked for again at the end."
            " Each span names the inputs that it reads, which are its document's first token or targets scored before"
            f" them. {_found(verdict, 'scored-before-learned')}",
            "- **C2, a full normalised distribution.** The method hands over logits over the whole vocabulary before"
            f" the targets are looked up; the referee itself takes the log softmax of them ({where}).",
            "- **C3, score before update.** An update names the targets it learns from, and each of them stands on an"
            f" earlier line of the ledger. {_found(verdict, 'scored-before-learned')}",
            "- **C4, a single pass.** Each target is scored exactly once and no score is taken back."
            f" {_found(verdict, 'every-target-scored-once')} {_found(verdict, 'ledger-chain')}",
        ]
    )


def _pointers(ledger: LedgerFacts) -> Iterator[str]:
    yield f"`{ledger.file}`"
    yield f"{ledger.entries:,}"
    yield f"line 1, `{ledger.plan_sha256[:12]}`"
    yield f"line {ledger.scored[0].line}" if ledger.scored else "none"
    yield f"line {ledger.learned[0].line}" if ledger.learned else "none"
    yield f"line {ledger.closing.line}" if ledger.closing is not None else "none"
    yield f"`{ledger.head[:16]}`"


def _line_of(text: str | None, after: str, words: Sequence[str]) -> int | None:
    """The first line below ``after`` that holds one of ``words``."""
    lines = (text or "").split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith(after)), len(lines))
    below = enumerate(lines[start:], start=start + 1)
    return next((number for number, line in below if any(word in line for word in words)), None)


def _denominator(facts: Facts, verdict: Verdict) -> Iterator[str]:
    rows = []
    for seed in facts.seeds.values():
        score = seed.only("evaluate", "score", name="final")
        tokens, size_bytes = score.count("tokens"), score.number("bytes")
        rows.append([str(seed.seed), f"{tokens:,}", f"{size_bytes:,.0f}", f"{size_bytes / tokens:.6f}"])
    yield markdown_table(["seed", "scored targets", "bytes of text", "bytes per target"], rows, numbers=True)
    yield _found(verdict, "bytes-recounted")


def _significance(facts: Facts, verdict: Verdict) -> Iterator[str]:
    yield f"Seeds {', '.join(str(seed) for seed in facts.seeds)}. {_found(verdict, 'seeds-distinct')}"
    yield _found(verdict, "significance")
    tests: Sequence[GainTest] = facts.track.gain_tests
    if tests:
        yield "\n".join(
            f"- {test.profile}: a gain of more than {test.margin:g} at p below {test.p_max:g}, in {_UNITS[test.unit]}"
            for test in tests
        )


def _reproduce(facts: Facts, verdict: Verdict) -> Iterator[str]:
    seed = next(iter(facts.seeds))
    yield f"```sh\nSEED={seed} DATA_PATH=data TOKENIZER_PATH=data/tokenizer.model python {CODE}\n```"
    rows = [
        [str(each.seed), f"`{each.folder}{ARTIFACT}`", f"`{each.need_artifact().sha256}`"]
        for each in facts.seeds.values()
    ]
    yield markdown_table(["seed", "artifact", "SHA-256"], rows)
    yield f"{_found(verdict, 'one-program')} {_found(verdict, 'recipe-that-ran')}"


def _found(verdict: Verdict, rule: str) -> str:
    """What the judge's rule says, in its own words: the worst finding of each profile, all of what holds in one."""
    said: list[Finding] = [finding for finding in verdict.findings if finding.rule == rule]
    if not said:
        raise NoEvidence(f"the verdict has nothing of the rule {rule}")
    troubled = [finding for finding in said if finding.verdict != "PASS"]
    return " ".join(_sentence(finding) for finding in troubled or said)


def _sentence(finding: Finding) -> str:
    place = "" if finding.file is None else f" (`{finding.file}{'' if finding.line is None else f':{finding.line}'}`)"
    reading = "" if finding.profile == "both" else f", {finding.profile}"
    return f"`{finding.rule}`{reading}, {finding.verdict}: {finding.message}{place}."
