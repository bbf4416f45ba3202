"""The bytes of the folder are those that were signed, and the artifact is the one that was packed and scored."""

from collections.abc import Iterator

from fairway.verify import report
from fairway.verify.facts import CHECKSUMS, UNSUMMED, VERDICT, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, unverifiable


def _check(facts: Facts) -> Iterator[Finding]:
    findings = [*_sums(facts), *_verdict(facts), *each_seed(facts, _artifact)]
    yield from findings
    if not findings:
        yield passed(f"{len(facts.files)} files have the bytes that were signed")


def _sums(facts: Facts) -> Iterator[Finding]:
    """SHA256SUMS lists every file but itself and the verdict, each with its digest."""
    if facts.scope == "seed":
        return
    if facts.listed is None:
        yield unverifiable("is missing or cannot be read, so nothing says which bytes were signed", file=CHECKSUMS)
        return
    for path, (sha256, line) in facts.listed.items():
        if path in UNSUMMED:
            yield failed(f"{CHECKSUMS} lists {path}, which is written after it", file=CHECKSUMS, line=line)
        elif path not in facts.files:
            yield failed(f"is listed in {CHECKSUMS} (line {line}) but not in the folder", file=path)
        elif facts.files[path].sha256 != sha256:
            found = facts.files[path].sha256
            yield failed(f"has SHA-256 {found[:12]}, {CHECKSUMS} (line {line}) says {sha256[:12]}", file=path)
    for path in sorted(facts.files.keys() - facts.listed.keys() - UNSUMMED):
        yield failed(f"is not listed in {CHECKSUMS}", file=path)


def _verdict(facts: Facts) -> Iterator[Finding]:
    """A verdict that lies in the folder is whole, and speaks of these bytes."""
    if facts.verdict_text is None:
        return
    try:
        said = report.read_sealed(facts.verdict_text)
    except ValueError as error:
        yield failed(f"is no verdict as the judge writes it: {error}", file=VERDICT)
        return
    sums = facts.files[CHECKSUMS].sha256 if CHECKSUMS in facts.files else None
    if said["sums_sha256"] != sums:
        yield failed(f"speaks of other bytes than {CHECKSUMS} lists now", file=VERDICT)
    if said["folder"] != facts.folder:
        yield failed(f"speaks of the folder {said['folder']!r}", file=VERDICT)


def _artifact(seed: SeedFacts) -> Iterator[Finding]:
    artifact = seed.need_artifact()
    done, load = seed.only("compress", "done"), seed.only("evaluate", "load")
    for event in (done, load):
        if event.text("artifact_sha256") != artifact.sha256:
            yield failed(
                f"has SHA-256 {artifact.sha256[:12]}, {event.file}:{event.line} (event {event.name} of stage"
                f" {event.stage}) speaks of {event.text('artifact_sha256')[:12]}",
                file=artifact.path,
            )
    if done.count("artifact_bytes") != artifact.size_bytes:
        yield failed(
            f"has {artifact.size_bytes} bytes, {done.file}:{done.line} says {done.count('artifact_bytes')}",
            file=artifact.path,
        )


RULE = Rule(
    id="digests",
    why="Evidence that can be changed afterwards without anybody noticing is none.",
    source="README: submissions are reproducible and self-contained (rules 1.5); fairway: SHA256SUMS",
    scope="seed",
    check=_check,
)
