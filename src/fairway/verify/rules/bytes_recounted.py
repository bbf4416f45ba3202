"""The bytes that divide the score are the bytes of the validation text, counted from the documents themselves."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from fairway.verify.documents import Document, document_starts
from fairway.verify.facts import MANIFEST, Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, lacking, passed
from fairway.verify.ledger import ScoredSpan

_RELATIVE = 1e-6


def _check(facts: Facts) -> Iterator[Finding]:
    val: tuple[Document, ...] | None = None
    try:
        val = _recounted(facts)
    except NoEvidence as missing:
        if facts.track.validation is None:
            yield lacking(missing)
    if val is not None:
        yield from _manifest(facts, val)

    def one(seed: SeedFacts) -> Iterator[Finding]:
        ledger, opening, closing = seed.whole_ledger()
        findings = [*_fixed_set(facts, seed, closing.bytes), *_implied(seed)]
        if val is not None:
            findings += _against_text(seed, val, ledger.scored, closing.bytes)
        if facts.val_payload_sha256 not in (None, opening.tokens_sha256):
            findings.append(
                failed(
                    f"seed {seed.seed}: scored tokens {opening.tokens_sha256[:12]}, the validation shards hold"
                    f" {str(facts.val_payload_sha256)[:12]}",
                    file=ledger.file,
                    line=1,
                )
            )
        yield from findings
        if not findings and (val is not None or facts.track.validation is not None):
            against = "the text has" if val is not None else "as the track's validation set has"
            yield passed(f"seed {seed.seed}: {closing.bytes} bytes scored, {against} the same", file=ledger.file)

    yield from each_seed(facts, one)


def _recounted(facts: Facts) -> tuple[Document, ...]:
    manifest = facts.manifest
    if manifest is not None and manifest.get("documents") is None:
        raise NoEvidence("a published export: its text is not at hand, so its bytes cannot be recounted", MANIFEST)
    return facts.need_documents().of("val")


def _manifest(facts: Facts, val: Sequence[Document]) -> Iterator[Finding]:
    """The manifest and the table of documents are two counts of the same text."""
    manifest, table = facts.need_manifest(), facts.need_documents()
    train = table.of("train")
    counted = {
        ("documents", "val"): len(val),
        ("documents", "train"): len(train),
        ("documents", "val_text_bytes"): sum(row.text_bytes for row in val),
        ("documents", "train_text_bytes"): sum(row.text_bytes for row in train),
        ("val", "tokens"): sum(row.tokens for row in val),
        ("val", "targets"): sum(row.tokens for row in val) - 1,
        ("val", "bytes"): sum(row.text_bytes for row in val),
    }
    for (part, key), value in counted.items():
        block = manifest.get(part)
        said = block.get(key) if isinstance(block, dict) else None
        if said != value:
            yield failed(f"{part}.{key} is {said}, the documents give {value}", file=MANIFEST)
    listed = manifest.get("documents")
    file = facts.files.get(table.file)
    if isinstance(listed, dict) and "sha256" in listed and file is not None and listed["sha256"] != file.sha256:
        yield failed(f"has SHA-256 {file.sha256[:12]}, {MANIFEST} says {str(listed['sha256'])[:12]}", file=table.file)


def _against_text(
    seed: SeedFacts, val: Sequence[Document], scored: Sequence[ScoredSpan], size_bytes: int
) -> Iterator[Finding]:
    """All bytes, and those up to each document's end wherever spans end there too.

    A document's text stands on its targets after BOS; the next BOS, its last target, stands for no byte.
    """
    file = seed.need_ledger().file
    text_bytes = sum(row.text_bytes for row in val)
    if size_bytes != text_bytes:
        yield failed(f"seed {seed.seed}: {size_bytes} bytes scored, the text has {text_bytes}", file=file)
    starts = document_starts(val)
    upto = list(accumulate((row.text_bytes for row in val), initial=0))
    counted, due = 0, 1
    for span in sorted(scored, key=lambda span: span.start):
        if span.start != due:
            return  # not a partition: another rule's finding
        counted += span.bytes
        due = span.stop
        # The span may end before the BOS of the next document or behind it, which is no difference in bytes.
        for boundary in (due, due - 1):
            k = bisect_left(starts, boundary)
            if k < len(starts) and starts[k] == boundary and counted != upto[k]:
                yield failed(
                    f"seed {seed.seed}: up to the end of document {k - 1} {counted} bytes are scored,"
                    f" the text has {upto[k]}",
                    file=file,
                    line=span.line,
                )
                return


def _implied(seed: SeedFacts) -> Iterator[Finding]:
    """Of each score: tokens, loss and bits per byte imply the bytes that it was divided by."""
    for event in (*seed.of("float", "score"), *seed.of("evaluate", "score")):
        loss, bpb = event.number("val_loss"), event.number("val_bpb")
        tokens, size_bytes = event.count("tokens"), event.count("bytes")
        implied = tokens * loss / (math.log(2.0) * bpb) if bpb > 0 else math.inf
        if not math.isclose(implied, size_bytes, rel_tol=_RELATIVE):
            yield failed(
                f"seed {seed.seed}: score {event.fields.get('name')} was divided by {implied:.1f} bytes,"
                f" it says {size_bytes}",
                file=event.file,
                line=event.line,
            )


def _fixed_set(facts: Facts, seed: SeedFacts, size_bytes: int) -> Iterator[Finding]:
    fixed = facts.track.validation
    if fixed is not None and abs(size_bytes - fixed.bytes) > fixed.bytes * fixed.tolerance:
        yield failed(
            f"seed {seed.seed}: {size_bytes} bytes scored, the track's validation set has {fixed.bytes}"
            f" (within {fixed.tolerance:.2%})",
            file=seed.need_ledger().file,
            source=fixed.source,
        )


RULE = Rule(
    id="bytes-recounted",
    why="Bits per byte with too many bytes look better than they are: the most frequent mistake of all.",
    source="rules 1.8 and 2.2 C6: original UTF-8 bytes of the scored text (#1143, #1545, #755)",
    scope="seed",
    check=_check,
)
