"""A statement of provenance: written, signed, tampered with, verified without a network."""

import json
import os
import random
import stat

import pytest

from fairway.errors import FairwayError
from fairway.records.attest import attest, new_key, statement_text
from fairway.verify.run import judge

TOLD = ("provenance.json", "provenance.intoto.jsonl", "ro-crate-metadata.json")


@pytest.fixture
def keys(tmp_path):
    new_key(tmp_path / "key", tmp_path / "key.pub")
    return tmp_path / "key", tmp_path / "key.pub"


@pytest.fixture
def attested(toy, keys, tmp_path):
    toy.write()
    attest(toy.folder, key=keys[0], workflow=tmp_path / "Snakefile")
    return toy


def provenance(toy, key=None):
    verdict = judge(toy.folder, toy.track, public_key=None if key is None else key.read_bytes())
    assert not verdict.crashes
    return [finding for finding in verdict.findings if finding.rule == "provenance"], verdict


def test_what_was_attested_verifies_and_the_other_rules_still_hold(attested, keys):
    findings, verdict = provenance(attested, keys[1])
    assert {finding.verdict for finding in findings} == {"PASS"} and len(findings) == 2
    assert {f.verdict for f in verdict.findings if f.rule in ("complete", "digests")} == {"PASS"}


def test_the_statement_is_in_totos_and_slsas(attested):
    told = json.loads((attested.folder / "provenance.json").read_text())
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    names = {each["name"] for each in told["subject"]}
    assert {"SHA256SUMS", "seed7/artifact.bin", "ro-crate-metadata.json"} <= names
    materials = {each["name"] for each in told["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {"data_manifest.json", "requirements/base.txt", "source"} <= materials
    assert statement_text(attested.folder) == (attested.folder / "provenance.json").read_text()


def test_the_crate_names_every_file_and_the_run(attested):
    graph = {
        each["@id"]: each for each in json.loads((attested.folder / "ro-crate-metadata.json").read_text())["@graph"]
    }
    assert "seed9/ledger.jsonl" in graph and graph["seed9/ledger.jsonl"]["sha256"]
    action = next(each for each in graph.values() if each["@type"] == "CreateAction")
    assert action["instrument"] == {"@id": "Snakefile"} and {"@id": "recipe.json"} in action["object"]


def test_without_a_key_a_signature_is_left_open(attested):
    findings, _ = provenance(attested)
    assert {finding.verdict for finding in findings} == {"PASS", "UNVERIFIABLE"}


def test_another_key_or_no_signature_fails(attested, tmp_path):
    new_key(tmp_path / "other", tmp_path / "other.pub")
    findings, _ = provenance(attested, tmp_path / "other.pub")
    assert "FAIL" in {finding.verdict for finding in findings}
    (attested.folder / "provenance.intoto.jsonl").unlink()
    findings, _ = provenance(attested, tmp_path / "other.pub")
    assert [f.file for f in findings if f.verdict == "FAIL"] == ["provenance.intoto.jsonl"]


def test_any_byte_that_is_flipped_is_found_and_its_file_named(attested, keys):
    draw = random.Random(5)
    names = [name for name in attested.files() if name != "verdict.json"]
    for name in names:
        path = attested.folder / name
        whole = path.read_bytes()
        for place in sorted(draw.sample(range(len(whole)), min(2 if name not in TOLD else 25, len(whole)))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
            findings, verdict = provenance(attested, keys[1])
            named = {f.file for f in verdict.findings if f.verdict == "FAIL"}
            assert verdict.failed and name in named, (name, place, named)
        path.write_bytes(whole)
    assert not provenance(attested, keys[1])[1].failed


def test_a_key_is_private_and_never_written_over(keys):
    assert stat.S_IMODE(os.stat(keys[0]).st_mode) == 0o600
    with pytest.raises(FairwayError, match="is there already"):
        new_key(*keys)


def test_what_is_no_key_is_one_clear_line(toy, tmp_path):
    toy.write()
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(FairwayError, match="bad: must be an unencrypted private key in PEM"):
        attest(toy.folder, key=tmp_path / "bad", workflow=tmp_path / "Snakefile")
    assert not (toy.folder / "provenance.json").exists()


def test_a_signed_statement_is_not_replaced_by_an_unsigned_one(attested, tmp_path):
    with pytest.raises(FairwayError, match="would be unsigned"):
        attest(attested.folder, key=None, workflow=tmp_path / "Snakefile")
