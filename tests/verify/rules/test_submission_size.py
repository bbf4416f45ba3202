import json

import pytest
from submissions import PROGRAM, claim, log, submission, with_program

from fairway.verify.facts import NoEvidence
from fairway.verify.rules.submission_size import RULE

CODE = len(PROGRAM.encode())
FILLER = "\n".join(f"# {number:08x} {number * 2654435761 % 2**32:08x}" for number in range(14_000)) + "\n"
REPEATED = "# the same line again and again\n" * 6_000


def found(read):
    return [(finding.verdict, finding.profile) for finding in RULE.check(read)]


def told(read):
    return " | ".join(finding.message for finding in RULE.check(read) if finding.verdict != "PASS")


def weighing(tmp_path, model_bytes, **changed):
    value = claim(seeds=(7,), bytes_total=None, seed_results=None, **changed)
    files = {"train_seed42.log": None, "train_seed1337.log": None, "submission.json": json.dumps(value)}
    return submission(tmp_path, {**files, "train_seed7.log": log(7, model_bytes=model_bytes)})


def test_the_made_up_folder_fits(tmp_path):
    assert set(found(submission(tmp_path))) == {("PASS", "both")}


@pytest.mark.parametrize(("over", "verdict"), [(1, "FAIL"), (0, "REVIEW"), (-999, "REVIEW"), (-5_000, "PASS")])
def test_the_cap_is_sixteen_million_and_near_it_a_person_looks(tmp_path, over, verdict):
    assert found(weighing(tmp_path, 16_000_000 - CODE + over)) == [(verdict, "both")]


def test_one_seed_over_the_cap_is_enough(tmp_path):
    read = submission(tmp_path, {"train_seed42.log": log(42, model_bytes=16_000_000)})
    assert [finding.file for finding in RULE.check(read) if finding.verdict == "FAIL"] == ["train_seed42.log"]


def test_under_sixteen_mebibytes_is_not_under_the_cap(tmp_path):
    text = told(weighing(tmp_path, 15_000_000, compressed_size_bytes=16_349_337))
    assert "16,349,337 bytes claimed" in text and "the cap is decimal" in text


def test_mebibytes_in_the_readme_are_turned_into_bytes(tmp_path):
    read = submission(tmp_path, {"README.md": "one\nartifact: 15.59 MiB, under the 16 MiB limit\n"})
    finding = next(finding for finding in RULE.check(read) if finding.verdict == "REVIEW")
    assert finding.line == 2 and "16,347,300 bytes" in finding.message


def test_a_readable_program_over_the_cap_fails_by_the_letter_and_passes_packed(tmp_path):
    program = PROGRAM + REPEATED
    files = with_program(program)
    files |= {f"train_seed{seed}.log": log(seed, program=program, code_bytes=CODE) for seed in (7, 42, 1337)}
    verdicts = found(submission(tmp_path, files))
    assert verdicts.count(("FAIL", "strict")) == 3 and verdicts.count(("PASS", "precedent")) == 3


def test_a_program_that_does_not_pack_so_small_is_looked_at(tmp_path):
    program = PROGRAM + FILLER
    files = with_program(program, bytes_total=None, seed_results=None)
    files |= {
        f"train_seed{seed}.log": log(seed, program=program, code_bytes=CODE, model_bytes=15_960_000)
        for seed in (7, 42, 1337)
    }
    read = submission(tmp_path, files)
    assert found(read).count(("REVIEW", "precedent")) == 3 and "a packed program that is not shipped" in told(read)


def test_code_beside_the_program_counts_by_the_letter(tmp_path):
    program = PROGRAM.replace("import glob\n", "import glob\nimport helper\n")
    files = with_program(program, bytes_total=None, seed_results=None)
    files |= {f"train_seed{seed}.log": log(seed, program=program, model_bytes=15_960_000) for seed in (7, 42, 1337)}
    read = submission(tmp_path, {**files, "helper.py": "x = 1\n" + "# a comment\n" * 4_000})
    assert "with the code that the program reaches" in told(read) and ("FAIL", "strict") in found(read)


def test_a_model_in_the_folder_is_weighed(tmp_path):
    read = weighing(tmp_path, 15_000_000)
    path = tmp_path / "records" / "track_10min_16mb" / "2026-04-02_Made_Up" / "final_model.ptz"
    with path.open("wb") as file:
        file.truncate(16_000_000)
    again = submission(tmp_path, {}, defaults=False)
    assert len(again.tree.files) == len(read.tree.files) + 1
    assert [finding.file for finding in RULE.check(again) if finding.verdict == "FAIL"] == ["final_model.ptz"]


def test_where_nothing_else_says_a_size_the_readme_is_asked(tmp_path):
    read = submission(tmp_path, {"README.md": "| Compressed size | 16.1 MB (zstd-22) |"}, defaults=False)
    with pytest.raises(NoEvidence):
        findings = []
        for finding in RULE.check(read):
            findings.append((finding.verdict, finding.line))
    assert findings == [("REVIEW", 1)]


def test_a_program_that_compares_with_sixteen_mebibytes_is_looked_at(tmp_path):
    program = PROGRAM + "LIMIT_BYTES = 16 * 1024 * 1024  # the submission limit\n"
    assert "compares with 16 MiB" in told(submission(tmp_path, with_program(program)))
