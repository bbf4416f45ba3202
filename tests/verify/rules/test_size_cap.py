def test_code_and_artifact_at_the_cap_fit(toy, failing):
    toy.payload_bytes[8] += 3000 - len(toy.code) - len(toy.artifact(8))
    while len(toy.code) + len(toy.artifact(8)) != 3000:
        toy.payload_bytes[8] += 3000 - len(toy.code) - len(toy.artifact(8))
    verdict = toy.write().judge()
    assert failing(verdict) == set()
    assert [f.file for f in verdict.findings if f.verdict == "REVIEW"] == ["seed8/artifact.bin"]


def test_one_seed_a_byte_over_the_cap_fails(toy, failing, said):
    while len(toy.code) + len(toy.artifact(8)) != 3001:
        toy.payload_bytes[8] += 3001 - len(toy.code) - len(toy.artifact(8))
    verdict = toy.write().judge()
    assert failing(verdict) == {"size-cap"}
    (finding,) = said(verdict, "size-cap", "FAIL")
    assert finding.file == "seed8/artifact.bin" and "1 over the cap of 3000" in finding.message


def test_a_run_folder_is_weighed_with_the_code_that_its_log_names(toy, failing):
    toy.payload_bytes[7] = 2900
    assert failing(toy.judge_run(7)) == {"size-cap"}
