import random
from dataclasses import replace

import pytest


def weigh(toy, seed, total):
    """Give a seed the artifact that makes code and artifact weigh exactly so much."""
    while (missing := total - len(toy.code) - len(toy.artifact(seed))) != 0:
        toy.payload_bytes[seed] += missing


def test_code_and_artifact_at_the_cap_fit(toy, failing):
    weigh(toy, 8, 3000)
    verdict = toy.write().judge()
    assert failing(verdict) == set()
    assert [f.file for f in verdict.findings if f.verdict == "REVIEW"] == ["seed8/artifact.bin"]


def test_one_seed_a_byte_over_the_cap_fails_as_the_rule_is_written(toy, failing, said):
    weigh(toy, 8, 3001)
    verdict = toy.write().judge()
    assert failing(verdict) == {"size-cap"} and verdict.of("strict") == "FAIL"
    finding = said(verdict, "size-cap", "FAIL")[0]
    assert (finding.file, finding.profile) == ("seed8/artifact.bin", "strict")
    assert "1 over the cap of 3000" in finding.message


def test_every_reading_is_told_for_every_seed(toy, said):
    findings = said(toy.write().judge(), "size-cap", "PASS")
    assert len(findings) == 3
    for seed, finding in zip(toy.seeds, findings, strict=True):
        literal = len(toy.code) + len(toy.artifact(seed))
        repacked = min(len(toy.code), len(toy.minified)) + len(toy.artifact(seed))
        assert f"= {literal} bytes" in finding.message
        assert f"all code {literal + len(toy.source)}, claimed {literal}, repacked {repacked}" in finding.message


def readable(toy):
    """Ship the readable program as the file that runs, as accepted records do."""
    words = " ".join(str(random.Random(1).random()) for _ in range(15))
    toy.source = f"{toy.source}\nWORDS = '{words} {words} {words}'\n"
    toy.code = toy.source.encode()


def test_a_file_that_fits_when_packed_fits_by_precedent_alone(toy, failing, said):
    readable(toy)
    weigh(toy, 8, 3001)
    verdict = toy.write().judge()
    assert (verdict.of("strict"), verdict.of("precedent")) == ("FAIL", "PASS")
    assert failing(verdict) == {"size-cap"}
    assert [f.profile for f in said(verdict, "size-cap") if f.message.startswith("seed 8")] == ["strict", "precedent"]


def test_a_file_that_cannot_be_unpacked_is_not_excused_by_precedent(toy, said):
    toy.code = b"import zlib\nexec(zlib.decompress(open('elsewhere').read()))\n" * 50
    toy.track = replace(toy.track, size=replace(toy.track.size, cap_bytes=2000, review_from_bytes=1999))
    verdict = toy.write().judge()
    assert {f.profile: f.verdict for f in said(verdict, "size-cap")} == {"strict": "FAIL", "precedent": "UNVERIFIABLE"}


@pytest.mark.parametrize(("helper_bytes", "seen"), [(100, []), (3000, ["helper.py"])])
def test_helpers_that_would_not_fit_are_for_a_person_to_look_at(toy, said, helper_bytes, seen):
    toy.write()
    toy.put("helper.py", "#" * helper_bytes)
    verdict = toy.sign().judge()
    assert [f.file for f in said(verdict, "size-cap", "REVIEW")][:1] == seen


def test_a_run_folder_is_weighed_with_the_file_that_ran(toy, failing):
    toy.payload_bytes[7] = 2900
    assert failing(toy.judge_run(7)) == {"size-cap"}
