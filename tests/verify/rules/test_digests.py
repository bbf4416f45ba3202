import json

from fairway.verify.report import as_json


def test_a_signed_folder_with_its_verdict_holds(toy, said):
    toy.write()
    toy.put("verdict.json", as_json(toy.judge()))
    assert [f.verdict for f in said(toy.judge(), "digests")] == ["PASS"]


def test_a_file_that_is_not_signed_fails(toy, said):
    toy.write()
    toy.put("figures/late.png", b"late")
    assert [f.file for f in said(toy.judge(), "digests", "FAIL")] == ["figures/late.png"]


def test_a_signed_file_that_is_gone_fails(toy, said):
    toy.write()
    (toy.folder / "figures" / "loss.png").unlink()
    assert [f.file for f in said(toy.judge(), "digests", "FAIL")] == ["figures/loss.png"]


def test_an_artifact_exchanged_after_the_run_fails_though_it_is_signed(toy, make_toy, failing, said):
    toy.write()
    toy.put("seed7/artifact.bin", toy.artifact(8))
    verdict = toy.sign().judge()
    assert {f.file for f in said(verdict, "digests", "FAIL")} == {"seed7/artifact.bin"}
    assert {"digests", "ledger-chain", "seeds-distinct", "recipe-that-ran"} <= failing(verdict)


def test_a_verdict_that_was_edited_or_is_of_other_bytes_fails(toy, said):
    toy.write()
    text = as_json(toy.judge())
    toy.put("verdict.json", json.dumps({**json.loads(text), "findings": []}))
    assert [f.file for f in said(toy.judge(), "digests", "FAIL")] == ["verdict.json"]
    toy.put("verdict.json", text.replace('"crashes": []', '"crashes":  []'))
    assert [f.file for f in said(toy.judge(), "digests", "FAIL")] == ["verdict.json"]
    toy.put("verdict.json", text)
    toy.put("requirements.txt", "torch\n")
    assert [f.file for f in said(toy.sign().judge(), "digests", "FAIL")] == ["verdict.json"]


def test_a_run_folder_whose_artifact_changed_fails(toy, failing):
    toy.edit_events.append(lambda seed, events: events[-4].update(artifact_sha256="0" * 64))
    assert failing(toy.judge_run(7)) == {"digests"}
