"""Code and model together fit, for every seed and by each of four readings of the rule.

Logged: what the run printed. Literal: the printed model with the program as it lies in the folder. All code: with the
files of the folder that the program reaches. Packed: with the program packed as small as can be shown here.
"""

import re
from collections.abc import Iterator

from fairway.verify.claims import headline
from fairway.verify.claims.sums import code_bytes, model_bytes
from fairway.verify.claims.tell import at, number
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission
from fairway.verify.unpack import SOURCE_LIMIT_BYTES, repacked

MEBIBYTES_16 = 16 * 2**20

_MODEL_FILE = re.compile(r"(?:[^/]*/)*[^/]*(?:model|artifact)[^/]*\.(?:ptz|bin|lzma|xz|zst|br|zlib|gz)", re.IGNORECASE)
_SIZE_IN_TEXT = re.compile(r"(?<![0-9.])([0-9]{1,3}\.[0-9]{1,3})\s?(Mi?B)\b")
_LIMIT_IN_CODE = re.compile(
    r"\b16\s*\*\s*1024\s*\*\s*1024\b|\b16\s*<<\s*20\b|\b16\s*\*\s*2\s*\*\*\s*20\b|\b16_?777_?216\b"
)
_OF_THE_ARTIFACT = re.compile(r"artifact|submission size|compressed|total size|model size|under|limit", re.IGNORECASE)


def _check(submission: Submission) -> Iterator[Finding]:
    logs = [
        log for log in headline.trained(submission.logs) if log.bytes_total is not None or model_bytes(log) is not None
    ]
    claimed = [*_claimed(submission)]
    shipped = [*_shipped(submission)]
    yield from claimed
    yield from shipped
    for log in logs:
        yield from _run(submission, log)
    rounded = [*_rounded(submission)]
    yield from rounded
    yield from _mebibytes(submission)
    if submission.track.size.cap_bytes < MEBIBYTES_16:
        yield from _limit_in_code(submission)
    if not (logs or claimed or shipped or rounded):
        yield from _from_readme(submission)
        raise NoEvidence("neither a log, nor submission.json, nor a file of the folder says how large the artifact is")
    if not (logs or shipped or rounded):
        raise NoEvidence("no log states the size of the artifact, so the claimed size stands alone")


def _run(submission: Submission, log: LogFacts) -> Iterator[Finding]:
    limit = submission.track.size
    total, model = log.bytes_total, model_bytes(log)
    main = submission.programs.main
    place = {"file": log.file, "line": log.lines.get("bytes_total") or log.lines.get("bytes_model")}
    literal = None if model is None or main is None else model + len(main.shipped)
    code = code_bytes(submission)
    everything = None if model is None or code is None else model + code
    told = f"logged {number(total)}, literal {number(literal)}, all code {number(everything)}"
    if total is not None and total > limit.cap_bytes:
        yield failed(f"{total:,} bytes by the log, {total - limit.cap_bytes:,} over the cap ({told})", **place)
        return
    if literal is not None and literal > limit.cap_bytes:
        over = literal - limit.cap_bytes
        yield failed(
            f"model and program as it lies here are {literal:,} bytes, {over:,} over the cap ({told})",
            profile="strict",
            **place,
        )
        yield _packed(submission, log, told)
    elif everything is not None and everything > limit.cap_bytes:
        message = f"with the code that the program reaches, {everything:,} bytes, {everything - limit.cap_bytes:,} over"
        yield failed(f"{message} the cap ({told})", profile="strict", **place)
        yield review(f"{message} the cap ({told})", profile="precedent", **place)
    elif max(total or 0, literal or 0) >= limit.review_from_bytes:
        spare = limit.cap_bytes - max(total or 0, literal or 0)
        yield review(
            f"only {spare:,} bytes below the cap: sizes move by some kilobytes from run to run ({told})", **place
        )
    else:
        yield passed(f"{told}, the cap is {limit.cap_bytes:,}", **place)


def _packed(submission: Submission, log: LogFacts, told: str) -> Finding:
    """Accepted records from 2026-04-10 on count a packed program that they do not ship."""
    main, model, cap = submission.programs.main, model_bytes(log), submission.track.size.cap_bytes
    place = {"file": log.file, "line": log.lines.get("bytes_code"), "profile": "precedent"}
    if main is None or model is None or main.hidden or len(main.text) > SOURCE_LIMIT_BYTES:
        return review(f"over the cap as shipped, and its program cannot be packed here ({told})", **place)
    packed = model + len(repacked(main.text, enough_bytes=int(cap - model)))
    if packed <= cap:
        return passed(f"{packed:,} bytes with the program packed, which is not how it is shipped ({told})", **place)
    message = f"{packed:,} bytes with the program packed as it stands; the log counts {number(log.bytes_code)} of code"
    return review(f"{message}, of a packed program that is not shipped ({told})", **place)


def _claimed(submission: Submission) -> Iterator[Finding]:
    claim, cap = submission.claim, submission.track.size.cap_bytes
    if claim is None:
        return
    sizes = {"": claim.bytes_total, **{seed: entry.bytes_total for seed, entry in (claim.per_seed or {}).items()}}
    for seed, size in sizes.items():
        if size is not None and size > cap:
            of = f"seed {seed}: " if seed else ""
            within = "; that is under 16 MiB, but the cap is decimal" if size <= MEBIBYTES_16 else ""
            place = at(submission, "seed_results" if seed else "bytes_total")
            yield failed(f"{of}{size:,} bytes claimed, {size - cap:,} over the cap{within}", **place)
    if sizes[""] is not None and sizes[""] <= cap:
        yield passed(f"{sizes['']:,} bytes claimed, the cap is {cap:,}", **at(submission, "bytes_total"))


def _shipped(submission: Submission) -> Iterator[Finding]:
    """A model that lies in the folder can be weighed."""
    main, cap = submission.programs.main, submission.track.size.cap_bytes
    code = 0 if main is None else len(main.shipped)
    for path, entry in submission.tree.files.items():
        if _MODEL_FILE.fullmatch(path) and "token" not in path.lower():
            message = f"{entry.size_bytes:,} bytes, with the program {entry.size_bytes + code:,}; the cap is {cap:,}"
            yield (failed if entry.size_bytes + code > cap else passed)(message, file=path)


def _rounded(submission: Submission) -> Iterator[Finding]:
    """A log that gives its total in megabytes alone."""
    cap = submission.track.size.cap_bytes
    for log in headline.trained(submission.logs):
        if log.bytes_total is None and log.megabytes_total is not None:
            megabytes, decimals = log.megabytes_total
            most = 1e6 * megabytes + 0.5 * 10.0 ** (6 - decimals)
            message = f"{megabytes:.{decimals}f} MB by the log, so up to {most:,.0f} bytes; the cap is {cap:,}"
            line = log.lines.get("megabytes_total")
            yield (review if most > cap else passed)(message, file=log.file, line=line)


def _mebibytes(submission: Submission) -> Iterator[Finding]:
    """A text that says MiB of what must fit into MB: 15.59 MiB are 16,349,337 bytes."""
    cap = submission.track.size.cap_bytes
    for number_, line in enumerate((submission.readme or "").split("\n"), start=1):
        for match in _SIZE_IN_TEXT.finditer(line):
            size = float(match[1]) * 2**20
            if match[2] == "MiB" and cap < size <= MEBIBYTES_16 and _OF_THE_ARTIFACT.search(line):
                message = f"says {match[0]}: that is {size:,.0f} bytes, over the cap of {cap:,}, which is decimal"
                yield review(message, file=submission.readme_file, line=number_)


def _limit_in_code(submission: Submission) -> Iterator[Finding]:
    """A program that checks its size against 16 MiB."""
    main = submission.programs.main
    for number_, line in enumerate((main.text if main else "").split("\n"), start=1):
        if _LIMIT_IN_CODE.search(line) and _OF_THE_ARTIFACT.search(line) and main is not None:
            message = f"compares with 16 MiB, {MEBIBYTES_16:,} bytes: the cap is {submission.track.size.cap_bytes:,}"
            yield review(message, file=main.file, line=number_)
            return


def _from_readme(submission: Submission) -> Iterator[Finding]:
    """Where nothing else says a size, the README may."""
    cap = submission.track.size.cap_bytes
    for number_, line in enumerate((submission.readme or "").split("\n"), start=1):
        for match in _SIZE_IN_TEXT.finditer(line):
            size = float(match[1]) * (2**20 if match[2] == "MiB" else 1e6)
            if cap < size < 2 * cap and _OF_THE_ARTIFACT.search(line):
                message = f"says {match[0]}, about {size:,.0f} bytes; the cap is {cap:,}"
                yield review(message, file=submission.readme_file, line=number_)
                return


RULE = Rule(
    id="submission-size",
    why="The challenge is what fits: every seed, the code counted, and a megabyte is a million bytes.",
    source="openai/parameter-golf README FAQ: 16,000,000 bytes, code plus compressed model; not 16 MiB",
    scope="submission",
    check=_check,
    category="size",
    fix="Shrink the model or ship a packed train_gpt.py; leave some kilobytes of room, and weigh every seed.",
    cases=(1809, 1412, 1040, 1041, 960, 1463, 1978, 1068),
)
