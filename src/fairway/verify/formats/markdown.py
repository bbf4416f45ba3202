"""Verdicts as Markdown: a comment that a bot can post to a pull request."""

from collections.abc import Iterator, Sequence

from fairway.verify.finding import SEVERITY, Finding, Verdict
from fairway.verify.formats.escape import markdown

_SIGNS = {"PASS": "✅", "UNVERIFIABLE": "❔", "REVIEW": "🔎", "FAIL": "❌"}
MOST_CHARACTERS = 60_000
"""A comment of GitHub's may have 65,536."""


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """One section a folder: the verdict, what fails and what a person should look at, the rest folded away."""
    lines = [line for verdict in verdicts for line in _folder(verdict)]
    lines.append(
        "FAIL is arithmetic, REVIEW asks a person to look, UNVERIFIABLE means that the evidence is not there. "
    )
    lines[-1] += "Nothing of the folder was run."
    text = "\n".join(lines) + "\n"
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS].rsplit("\n", 1)[0] + "\n\n… cut here; `fairway check` tells the rest.\n"
    return text


def _folder(verdict: Verdict) -> Iterator[str]:
    yield f"### `fairway check`: {markdown(verdict.path or verdict.folder)}"
    yield ""
    told = ", ".join(f"{_SIGNS[verdict.of(name)]} {name} **{verdict.of(name)}**" for name in verdict.profiles)
    yield f"{told} (track {markdown(verdict.track)}, rules version {verdict.rules_version})"
    yield ""
    if verdict.crashes:
        crashed = ", ".join(markdown(rule) for rule in verdict.crashes)
        yield f"**No verdict**: {crashed} crashed, which is a fault of the judge."
        yield ""
    ordered = sorted(verdict.findings, key=lambda finding: -SEVERITY[finding.verdict])
    yield from _table([f for f in ordered if f.verdict in ("FAIL", "REVIEW")])
    rest = [f for f in ordered if f.verdict not in ("FAIL", "REVIEW")]
    if rest:
        held = sum(finding.verdict == "PASS" for finding in rest)
        yield "<details>"
        yield f"<summary>{held} findings that hold, {len(rest) - held} that cannot be verified</summary>"
        yield ""
        yield from _table(rest)
        yield "</details>"
        yield ""


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield "| verdict | rule | where | what |"
    yield "| --- | --- | --- | --- |"
    for finding in findings:
        place = finding.file or ""
        if finding.file is not None and finding.line is not None:
            place = f"{finding.file}:{finding.line}"
        profile = "" if finding.profile == "both" else f" ({finding.profile})"
        waived = f" — waived: {markdown(finding.waived)}" if finding.waived else ""
        sign = _SIGNS[finding.verdict]
        yield (
            f"| {sign} {finding.verdict}{profile} | {markdown(finding.rule)} | {markdown(place)} "
            f"| {markdown(finding.message)}{waived} |"
        )
    yield ""
