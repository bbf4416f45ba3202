"""What stands both in the judge and in the code it judges, on purpose: here the two are compared."""

import hashlib
from pathlib import Path

from fairway.probes import compare, noise, result, sums
from fairway.quant import artifact as written
from fairway.records import layout
from fairway.score.ledger import FIRST_PREV, Ledger, canonical_json, plan_line
from fairway.verify import artifact, facts, ledger, schemas, strict_json
from fairway.verify.facts import log_name
from fairway.verify.rules import probes


def test_names_of_files_and_stages_are_those_of_the_layout_of_records():
    for name in (
        "RECIPE",
        "README",
        "SUBMISSION",
        "REQUIREMENTS",
        "MANIFEST",
        "DOCUMENTS",
        "CODE",
        "SOURCE",
        "CHECKSUMS",
    ):
        assert getattr(facts, name) == getattr(layout, name)
    for name in ("VERDICT", "ARTIFACT", "LEDGER", "EVENTS", "PROBE", "STAGES"):
        assert getattr(facts, name) == getattr(layout, name)
    assert facts.UNSUMMED == layout.UNSUMMED
    assert log_name(7) == layout.log_name(7)


def test_the_artifact_begins_the_same_for_writer_and_judge():
    assert (artifact.MAGIC, artifact.VERSION) == (written.ARTIFACT_MAGIC, written.ARTIFACT_VERSION)


def test_the_judge_reads_the_ledger_that_the_referee_writes(tmp_path: Path):
    spans = [[0, 1, 3, 2.5, 4], [0, 3, 4, 1.25e-5, 0]]
    digest = "a" * 64
    opening = {"artifact_sha256": digest, "tokens_sha256": digest, "documents": 1, "targets": 3, "method": {"lr": 1e-4}}
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as writer:
        writer.append("open", {**opening, "plan_sha256": digest})
        writer.append("score", {"spans": spans, "losses_sha256": digest})
        writer.append("learn", {"what": "sgd", "spans": [[1, 3]]})
        writer.append("close", {"targets": 3, "bytes": 4, "nats": 2.5000125})
    read = ledger.read_ledger(path, "ledger.jsonl")
    assert read.breaks == [] and read.entries == 4 and read.head == writer.head
    assert [[span.context, span.start, span.stop, span.nats, span.bytes] for span in read.scored] == spans
    steps = plan_line("score", [span[:3] for span in spans]) + plan_line("learn", [[1, 3]], "sgd")
    assert read.plan_sha256 == hashlib.sha256(steps.encode()).hexdigest()


def test_canonical_json_and_the_first_link_are_the_same():
    value = {"b": [1, 2.5, 1e-7, None, True], "a": {"ü": "\n"}}
    assert strict_json.canonical(value).decode() == canonical_json(value)
    assert ledger.FIRST_PREV == FIRST_PREV


def test_the_judge_knows_the_probes_and_their_limits():
    assert probes.PROBES == result.PROBES
    assert (probes.NOISE_MULTIPLE, probes.MOST_NOISE) == (compare.NOISE_MULTIPLE, noise.MOST_NOISE)
    assert (probes.MOST_LOG_SUM, probes.STANDARD_ERRORS) == (sums.MOST_LOG_SUM, sums.STANDARD_ERRORS)


def test_what_probes_write_follows_the_schema():
    facts_of_stream = result.StreamFacts(source="validation", tokens_sha256="b" * 64, documents=2, targets=9)
    asked = result.judged("future-flip", 0.0, 0.0, unit="nats", samples=3, because="none moved")
    left_out = result.not_applicable("zero-rate", "learns nothing")
    decode = result.DecodeResult(
        verdict="passed",
        documents=1,
        targets=4,
        stream_bits=96,
        ledger_bits=70.5,
        limit_bits=134.6,
        identical=True,
        because="what came out is what went in",
    )
    for decoded in (None, decode):
        written_down = result.ProbeResult(
            recipe_sha256="c" * 64,
            code_sha256="d" * 64,
            artifact_sha256="e" * 64,
            seed=7,
            method={"kind": "lora"},
            stream=facts_of_stream,
            device="cpu",
            noise_floor=0.0,
            seconds=1.5,
            probes=[asked, left_out],
            decode=decoded,
        )
        assert schemas.violations("probe", strict_json.parse(result.as_json(written_down))) == []


def test_an_artifact_as_it_is_packed_follows_the_schema():
    header = {"extra": {"seed": 1, "recipe_sha256": "0" * 64}, "rotation": None, "streams": [], "tensors": []}
    assert schemas.violations("artifact", header) == []
    assert schemas.violations("artifact", {**header, "pickle": 1}) != []
