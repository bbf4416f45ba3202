"""The tables of the bench, and every miss below each."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runs import Challenged, Judged

_SKIPPED = {"verdict", "expected_hard", "expected_soft", "info", "folder", "path", "track", "pr", "merged"}
"""Keys of a case that are no facts of a folder: names, and what its makers concluded from the facts."""


def facts(cases: Sequence[Mapping[str, Any]], judged: Mapping[str, Judged], markdown: bool) -> None:
    """Share of the expected values that were read, key by key; then the mechanical verdicts."""
    hits: Counter[str] = Counter()
    due: Counter[str] = Counter()
    misses: list[str] = []
    for case in cases:
        told = judged[case["path"]].verdict.facts
        expected = {key: value for key, value in case.items() if key not in _SKIPPED}
        for key, want, got in _leaves(expected, told):
            name = _general(key)
            due[name] += 1
            hits[name] += same(want, got)
            if not same(want, got):
                misses.append(f"{case['folder'][:44]}  {key}: expected {want!r}, got {got!r}")
    crashes = [f"{path}  {crash}: {_why(one)}" for path, one in judged.items() for crash in one.verdict.crashes]
    _print_misses("crashes", crashes)
    _print_misses("facts that differ", misses)
    _table(
        "facts", ("fact", "equal", "of"), [(name, hits[name], due[name]) for name in sorted(due)], markdown, share=True
    )
    hits, due, misses = Counter(), Counter(), []
    for case in cases:
        told = judged[case["path"]].verdict.facts.get("verdict", {})
        for key, want in case["verdict"].items():
            got = told.get(key, "absent")
            due[key] += 1
            hits[key] += want == got
            if want != got:
                misses.append(f"{case['folder'][:44]}  {key}: expected {want}, got {got}")
    _print_misses("mechanical verdicts that differ", misses)
    rows = [(name, hits[name], due[name]) for name in sorted(due)]
    _table("mechanical verdicts", ("verdict", "equal", "of"), rows, markdown, share=True)


def merged(judged: Sequence[Judged], legality: frozenset[str] | set[str], markdown: bool) -> None:
    """What is held against merged folders under ``precedent``."""
    failing: list[str] = []
    suspected: list[str] = []
    flagged: Counter[str] = Counter()
    suspects: set[str] = set()
    for one in judged:
        told = [f for f in one.verdict.findings if f.profile in ("precedent", "both")]
        for crash in one.verdict.crashes:
            failing.append(f"{one.path}  CRASH {crash}: {_why(one)}")
        for finding in told:
            line = (
                f"{one.path[8:60]}  [{finding.category}] {finding.rule} {finding.file}:{finding.line} {finding.message}"
            )
            if finding.verdict == "FAIL":
                failing.append(line)
            if finding.verdict in ("FAIL", "REVIEW") and finding.category in legality:
                suspected.append(f"{finding.verdict} {line}")
                suspects.add(one.path)
        for category in {f.category for f in told if f.verdict in ("FAIL", "REVIEW")}:
            flagged[category] += 1
    _print_misses("FAIL under precedent on merged folders", failing)
    _print_misses("legality findings on merged folders", suspected)
    rows = [(category, count, len(judged)) for category, count in sorted(flagged.items())]
    _table("merged folders with a finding (FAIL or REVIEW)", ("category", "folders", "of"), rows, markdown, share=True)
    record = [one for one in judged if "track_10min" in one.path]
    print(f"merged folders with a legality finding: {len(suspects)} of {len(judged)}; ", end="")
    print(f"record track {sum(one.path in suspects for one in record)} of {len(record)}")
    seconds = sorted(one.seconds for one in judged)
    if seconds:
        slowest = max(judged, key=lambda one: one.seconds)
        print(f"time: {sum(seconds):.1f} s in all, median {seconds[len(seconds) // 2]:.2f} s, ", end="")
        print(f"slowest {slowest.seconds:.2f} s ({slowest.path})\n")


def challenged(
    cases: Sequence[Mapping[str, Any]],
    found: Sequence[Challenged],
    merged_too: Sequence[Judged],
    only: str | None,
    markdown: bool,
) -> None:
    """Recall per category, and how many of those that are flagged were challenged for it."""
    due: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    misses: list[str] = []
    crashes: list[str] = []
    complete = 0
    for case, one in zip(cases, found, strict=True):
        told = one.flagged()
        complete += set(case["categories"]) <= told
        for verdict in one.verdicts:
            crashes += [
                f"#{case['pr']} {verdict.folder[:50]}  {finding.rule}: {finding.message}"
                for finding in verdict.findings
                if finding.rule in verdict.crashes and "crashed" in finding.message
            ]
        if one.error:
            crashes.append(f"#{case['pr']}  {one.error}")
        for category in told:
            flagged[category] += 1
        for category in case["categories"]:
            due[category] += 1
            hits[category] += category in told
            if category not in told and only in (None, category):
                misses.append(f"#{case['pr']} {category}: {[v.folder[:50] for v in one.verdicts]}, got {sorted(told)}")
    on_merged = _on_merged(merged_too)
    _print_misses("crashes", crashes)
    _print_misses("challenged pull requests without a finding in their category", misses)
    rows = []
    for category in sorted(due):
        if only in (None, category):
            precise = hits[category] / (flagged[category] + on_merged[category]) if flagged[category] else math.nan
            rows.append(
                (category, due[category], hits[category], _percent(hits[category], due[category]))
                + (flagged[category], on_merged[category] if merged_too else "-", f"{precise:.2f}")
            )
    heads = ("category", "labelled", "found", "recall", "flagged", "merged flagged", "precision")
    _table("challenged pull requests", heads, rows, markdown, share=False)
    print(f"pull requests with a finding in each of their categories: {complete} of {len(cases)}")
    print(
        f"labels found: {sum(hits.values())} of {sum(due.values())}; {sum(one.seconds for one in found):.1f} s in all\n"
    )


def _why(one: Judged) -> str:
    return "; ".join(f.message for f in one.verdict.findings if "which is a fault of the judge" in f.message)


def same(want: Any, got: Any) -> bool:
    """Equal; numbers to one part in a million."""
    if isinstance(want, bool) or isinstance(got, bool) or not isinstance(want, (int, float)):
        return bool(want == got)
    return isinstance(got, (int, float)) and math.isclose(want, got, rel_tol=1e-6, abs_tol=1e-12)


def _on_merged(judged: Sequence[Judged]) -> Counter[str]:
    count: Counter[str] = Counter()
    for one in judged:
        count.update({f.category for f in one.verdict.findings if f.verdict in ("FAIL", "REVIEW")})
    return count


def _leaves(want: Any, got: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, expected and found value of everything that is expected and not null; logs are matched by name."""
    if isinstance(want, dict):
        for name, value in want.items():
            below = got.get(name) if isinstance(got, Mapping) else None
            yield from _leaves(value, below, f"{key}.{name}" if key else name)
    elif isinstance(want, list) and key == "logs":
        by_name: defaultdict[str, Any] = defaultdict(dict)
        for log in got if isinstance(got, list) else []:
            by_name[log.get("log", "")] = log
        for log in want:
            yield from _leaves(log, by_name[log["log"]], f"logs[{log['log']}]")
    elif want is not None:
        yield key, want, got


def _general(key: str) -> str:
    """The key without the log, the seed or the GPU that it is about."""
    if key.startswith("logs["):
        return "logs." + key.split("].", 1)[1].split(".", 1)[0]
    if key.startswith("claim.per_seed."):
        return "claim.per_seed." + key.rsplit(".", 1)[1]
    return "final_bpb_per_seed" if key.startswith("final_bpb_per_seed") else key


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _print_misses(title: str, lines: Sequence[str]) -> None:
    print(f"{title}: {len(lines)}")
    for line in lines:
        print(f"  {' '.join(line.split())[:420]}")
    print()


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], markdown: bool, *, share: bool) -> None:
    if share:
        heads = (*heads, "share")
        total = (sum(row[1] for row in rows), sum(row[2] for row in rows))
        rows = [(*row, _percent(row[1], row[2])) for row in rows]
        if "folders" not in heads:
            rows = [*rows, ("all", *total, _percent(*total))]
    if markdown:
        print(f"| {' | '.join(heads)} |\n| --- {'| --: ' * (len(heads) - 1)}|")
        for row in rows:
            print(f"| {' | '.join(map(str, row))} |")
    else:
        print(title)
        for row in [heads, *rows]:
            print(f"  {str(row[0]):44}" + "".join(f"{entry!s:>15}" for entry in row[1:]))
    print()
