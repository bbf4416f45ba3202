import json

import pytest


def test_a_whole_folder_is_complete(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "complete")] == ["PASS"]


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "submission.json",
        "requirements.txt",
        "recipe.json",
        "data_manifest.json",
        "documents.tsv",
        "train_gpt.py",
        "train_gpt_source.py",
        "SHA256SUMS",
        "train_seed8.log",
        "seed8/artifact.bin",
        "seed8/ledger.jsonl",
        "seed8/events.jsonl",
    ],
)
def test_a_missing_file_fails_and_is_named(toy, said, name):
    toy.write()
    (toy.folder / name).unlink()
    if name != "SHA256SUMS":
        toy.sign()
    verdict = toy.judge()
    assert name in {f.file for f in said(verdict, "complete", "FAIL")} and verdict.crashes == ()


def test_documents_are_not_asked_for_where_the_corpus_is_a_published_export(toy, failing, said):
    toy.write()
    manifest = {**toy.manifest(), "documents": None, "corpus": {"kind": "hub"}}
    toy.put("data_manifest.json", json.dumps(manifest))
    (toy.folder / "documents.tsv").unlink()
    verdict = toy.sign().judge()
    assert failing(verdict) == set()
    assert {f.rule for f in verdict.findings if f.verdict == "UNVERIFIABLE"} == {"bytes-recounted", "disjoint-data"}
    assert verdict.of("strict") == "UNVERIFIABLE" and not verdict.failed


def test_an_event_that_is_missing_or_there_twice_fails(toy, said):
    def once_more(seed, events):
        if seed == 8:
            events.append(next(e for e in events if e.get("name") == "final"))
        if seed == 9:
            events[:] = [e for e in events if e["event"] != "stop"]

    toy.edit_events.append(once_more)
    messages = [f.message for f in said(toy.write().judge(), "complete", "FAIL")]
    assert messages == [
        "seed 8: stage evaluate has 2 events 'score final', must be one",
        "seed 9: stage train has 0 events 'stop', must be one",
    ]


def test_an_event_without_its_fields_fails_with_file_and_line(toy, said):
    def forget(seed, events):
        if seed == 7:
            del next(e for e in events if e["event"] == "replay")["seconds"]

    toy.edit_events.append(forget)
    (finding,) = said(toy.write().judge(), "complete", "FAIL")
    assert (finding.file, finding.line) == ("seed7/events.jsonl", 10) and "seconds" in finding.message


def test_a_stray_file_is_for_a_person_to_look_at(toy, said):
    toy.write()
    toy.put("notes.txt", "x")
    verdict = toy.sign().judge()
    assert [f.file for f in said(verdict, "complete", "REVIEW")] == ["notes.txt"]
    assert verdict.of("strict") == "REVIEW" and not verdict.failed


def test_a_folder_without_date_and_slug_fails(toy, said):
    toy.folder = toy.folder.with_name("my record")
    verdict = toy.write().judge()
    assert any("YYYY-MM-DD_slug" in f.message for f in said(verdict, "complete", "FAIL"))
