"""The three questions to the ledger, each on ledgers whose hashes are right again after the change."""

import json

import pytest


def scored(entries):
    return [entry for entry in entries if entry["kind"] == "score"]


def test_a_ledger_in_order_passes_all_three(toy, said):
    verdict = toy.write().judge()
    for rule in ("every-target-scored-once", "scored-before-learned", "ledger-chain"):
        assert [f.verdict for f in said(verdict, rule)] == ["PASS"] * 3


def test_a_target_that_is_never_scored_fails(toy, said):
    entries = toy.ledgers[7]
    span = scored(entries)[0]["spans"][0]
    span[2] -= 1
    for finding in said(toy.write().judge(), "every-target-scored-once", "FAIL"):
        assert "never scored" in finding.message or "targets at the start" in finding.message
    assert len(said(toy.judge(), "every-target-scored-once", "FAIL")) == 2


def test_a_target_that_is_scored_twice_fails_with_the_line_of_the_second_score(toy, said):
    entries = toy.ledgers[7]
    entries.append(json.loads(json.dumps(scored(entries)[1])))
    findings = said(toy.write().judge(), "every-target-scored-once", "FAIL")
    assert "scored twice" in findings[0].message
    assert findings[0].file == "seed7/ledger.jsonl" and findings[0].line == len(entries) + 1


def test_a_part_of_the_validation_set_fails(toy, said):
    def less(seed, opening):
        opening.update(targets=opening["targets"] - 1, documents=2)

    toy.edit_open.append(less)
    messages = [f.message for f in said(toy.write().judge(), "every-target-scored-once", "FAIL")]
    assert any("the stream ends at 16" in message for message in messages)
    assert any("data_manifest.json has 17" in message for message in messages)
    assert any("2 documents, data_manifest.json has 3" in message for message in messages)


def test_learning_from_a_target_before_its_score_fails(toy, failing, said):
    entries = toy.ledgers[8]
    at = next(i for i, entry in enumerate(entries) if entry["kind"] == "learn")
    entries[at], entries[at - 1] = entries[at - 1], entries[at]
    verdict = toy.write().judge()
    assert failing(verdict) == {"scored-before-learned"}
    assert "which no earlier entry scored" in said(verdict, "scored-before-learned", "FAIL")[0].message


def test_learning_across_several_scored_spans_passes_and_one_target_beyond_fails(toy, failing):
    first, second = scored(toy.ledgers[7])[:2]
    start, stop = first["spans"][0][1], second["spans"][0][2]
    at = toy.ledgers[7].index(second)
    toy.ledgers[7].insert(at + 1, {"kind": "learn", "what": "sgd", "spans": [[start, stop]]})
    assert failing(toy.write().judge()) == set()
    toy.ledgers[7][at + 1]["spans"] = [[start, stop + 1]]
    assert failing(toy.write().judge()) == {"scored-before-learned"}


def test_reading_an_input_that_was_not_scored_before_fails(toy, failing, said):
    entries = toy.ledgers[9]
    # The last document is scored first: its context may not reach into the document before it.
    scored(entries)[0]["spans"][0][0] -= 2
    verdict = toy.write().judge()
    assert failing(verdict) == {"scored-before-learned"}
    assert "not scored before" in said(verdict, "scored-before-learned", "FAIL")[0].message


def test_context_that_reaches_into_a_document_scored_before_passes(toy, failing):
    for seed in toy.seeds:
        toy.ledgers[seed].sort(key=lambda entry: entry["spans"][0][-4 if entry["kind"] == "score" else 0])
    scored(toy.ledgers[9])[-1]["spans"][0][0] = 0
    assert failing(toy.write().judge()) == set()


def test_a_flat_method_that_learns_fails(toy, said):
    toy.recipe["score"]["method"] = {"kind": "flat"}
    assert len(said(toy.write().judge(), "scored-before-learned", "FAIL")) == 3


def test_an_entry_taken_out_breaks_the_chain_and_is_named_by_line(toy, said):
    toy.write()
    lines = toy.read("seed7/ledger.jsonl").splitlines(keepends=True)
    toy.put("seed7/ledger.jsonl", "".join(lines[:3] + lines[4:]))
    verdict = toy.sign().judge()
    (finding,) = said(verdict, "ledger-chain", "FAIL")
    assert (finding.file, finding.line) == ("seed7/ledger.jsonl", 4)
    assert [f.verdict for f in said(verdict, "every-target-scored-once")] == ["UNVERIFIABLE", "PASS", "PASS"]


@pytest.mark.parametrize("cut", ["close", "half", "line feed"])
def test_a_truncated_ledger_fails_in_one_line(toy, said, cut):
    toy.write()
    text = toy.read("seed7/ledger.jsonl")
    lines = text.splitlines(keepends=True)
    shorter = {"close": "".join(lines[:-1]), "half": text[: len(text) // 2], "line feed": text[:-1]}
    toy.put("seed7/ledger.jsonl", shorter[cut])
    findings = said(toy.sign().judge(), "ledger-chain", "FAIL")
    assert any("truncated" in finding.message for finding in findings)


def test_sums_that_are_not_those_of_the_entries_fail(toy, rechain, failing, said):
    toy.write()
    entries = toy.ledger(7)
    entries[-1]["nats"] *= 0.999
    toy.put("seed7/ledger.jsonl", rechain(entries))
    verdict = toy.sign().judge()
    assert failing(verdict) == {"ledger-chain"}
    messages = [f.message for f in said(verdict, "ledger-chain", "FAIL")]
    assert len(messages) == 3 and "'close' says" in messages[0]


def test_better_losses_written_into_the_ledger_do_not_match_the_score(toy, rechain, failing):
    toy.write()
    for entry in scored(toy.ledgers[7]):
        entry["spans"][0][3] *= 0.9
    toy.put("seed7/ledger.jsonl", rechain(toy.ledger(7)))
    assert failing(toy.sign().judge()) == {"ledger-chain"}


def test_entries_that_do_not_follow_the_announced_plan_fail(toy, failing):
    toy.edit_open.append(lambda seed, opening: opening.update(plan_sha256="0" * 64))
    assert failing(toy.write().judge()) == {"ledger-chain"}


def test_the_ledger_of_another_artifact_fails(toy, failing):
    toy.edit_open.append(lambda seed, opening: opening.update(artifact_sha256="0" * 64))
    assert failing(toy.write().judge()) == {"ledger-chain"}


@pytest.mark.parametrize(
    "spoil",
    [
        {"spans": [[0, 1, 2, float("1e308") * 10, 1]]},
        {"spans": [[0, 1, 1, 1.0, 1]]},
        {"spans": [[0, -1, 2, 1.0, 1]]},
        {"spans": [[0, 1, 2, -1.0, 1]]},
        {"spans": [[0, 1, 2, 1.0]]},
        {"spans": [[0, True, 2, 1.0, 1]]},
        {"spans": "all"},
        {"losses_sha256": 5},
        {"kind": "rescore"},
        {"more": 1},
    ],
    ids=str,
)
def test_entries_of_another_shape_fail_and_crash_nothing(toy, rechain, said, spoil):
    toy.write()
    entries = toy.ledger(7)
    entries[1].update(spoil)
    toy.put("seed7/ledger.jsonl", rechain(entries))
    verdict = toy.sign().judge()
    (finding,) = said(verdict, "ledger-chain", "FAIL")
    assert finding.line == 2 and verdict.crashes == ()
