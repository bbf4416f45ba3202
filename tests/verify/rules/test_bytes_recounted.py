from dataclasses import replace

from fairway.verify.tracks import ValidationSet


def spans(entries):
    return [span for entry in entries if entry["kind"] == "score" for span in entry["spans"]]


def test_bytes_of_the_text_pass(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "bytes-recounted")] == ["PASS"] * 3


def test_more_bytes_than_the_text_has_fail(toy, failing, said):
    for seed in toy.seeds:
        spans(toy.ledgers[seed])[0][4] += 4
    verdict = toy.write().judge()
    assert failing(verdict) == {"bytes-recounted"}
    assert "45 bytes scored, the text has 41" in said(verdict, "bytes-recounted", "FAIL")[0].message


def test_bytes_moved_from_one_document_to_another_fail_though_their_sum_is_right(toy, failing, said):
    own = sorted(spans(toy.ledgers[8]), key=lambda span: span[1])
    own[0][4] += 1
    own[-1][4] -= 1
    verdict = toy.write().judge()
    assert failing(verdict) == {"bytes-recounted"}
    assert "up to the end of document 0 14 bytes are scored, the text has 13" in verdict_message(verdict)


def verdict_message(verdict):
    return next(f.message for f in verdict.findings if f.verdict == "FAIL")


def test_a_manifest_that_counts_otherwise_than_the_documents_fails(toy, failing):
    toy.write()
    toy.put(
        "data_manifest.json", toy.read("data_manifest.json").replace('"val_text_bytes": 41', '"val_text_bytes": 42')
    )
    assert failing(toy.sign().judge()) == {"bytes-recounted"}


def test_a_score_that_its_loss_and_bytes_do_not_give_fails(toy, said):
    def cheat(seed, events):
        next(e for e in events if e.get("name") == "quantized")["val_bpb"] *= 0.96

    toy.edit_events.append(cheat)
    findings = said(toy.write().judge(), "bytes-recounted", "FAIL")
    assert len(findings) == 3 and "score quantized was divided by" in findings[0].message


def test_bytes_far_from_the_fixed_validation_set_of_a_track_fail(toy, failing):
    def fixed(size_bytes):
        return ValidationSet(documents=3, bytes=size_bytes, targets=(17,), tolerance=0.0002, source="toy rule 7")

    toy.track = replace(toy.track, validation=fixed(41))
    assert failing(toy.write().judge()) == set()
    toy.track = replace(toy.track, validation=fixed(43))
    assert failing(toy.judge()) == {"bytes-recounted"}
