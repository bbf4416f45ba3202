import math

import pytest
from submissions import NAME, track_named, write

from fairway.verify import schemas
from fairway.verify.run import check
from fairway.verify.tree import FolderTree


def probe_of(record, name):
    return next(each for each in record["probes"] if each["name"] == name)


def edited(toy, change, seed=7):
    """The findings of the rule after a change of one seed's probes, and of ``complete``."""
    toy.edit_probe.append(lambda number, record: change(record) if number == seed else None)
    verdict = toy.write().judge()
    assert verdict.crashes == ()
    return [(f.verdict, f.message, f.file) for f in verdict.findings if f.rule in ("probes", "complete")]


def checked(toy):
    """What ``fairway check`` says of the folder."""
    return check(FolderTree(toy.folder), toy.track, path=str(toy.folder))


def failures(found):
    return [message for verdict, message, _ in found if verdict == "FAIL"]


def test_probes_that_all_passed_pass_with_their_numbers(toy, said):
    findings = said(toy.write().judge(), "probes")
    assert [f.verdict for f in findings] == ["PASS"] * 3
    assert "9 probes passed, 0 do not apply" in findings[0].message and findings[0].file == "seed7/probe.json"
    assert "9 targets decoded from 96 bits" in findings[0].message


def test_what_was_not_probed_cannot_be_verified(toy, said):
    toy.write()
    for seed in toy.seeds:
        (toy.folder / f"seed{seed}/probe.json").unlink()
    verdict = toy.sign().judge()
    assert [(f.verdict, f.file) for f in said(verdict, "probes")] == [("UNVERIFIABLE", None)]
    assert verdict.of("strict") == "UNVERIFIABLE"


def test_leaving_out_one_seed_fails(toy, said):
    toy.write()
    (toy.folder / "seed8/probe.json").unlink()
    (finding,) = said(toy.sign().judge(), "probes", "FAIL")
    assert finding.file == "seed8/probe.json" and "other seeds were probed" in finding.message


@pytest.mark.parametrize("name", ["future-flip", "self-flip", "truncation", "document-boundary", "zero-rate"])
def test_a_probe_that_moved_a_loss_fails_whatever_it_says(toy, name):
    for verdict in ("failed", "passed", "not-applicable"):
        found = edited(toy, lambda record: probe_of(record, name).update(measured=1e-6, verdict=verdict))  # noqa: B023
        (message,) = failures(found)
        assert name in message and "measured 1e-06 nats, limit 0.0" in message
        toy.edit_probe.clear()


def test_a_failed_probe_is_believed_whatever_its_numbers_say(toy):
    (message,) = failures(edited(toy, lambda record: probe_of(record, "order").update(verdict="failed")))
    assert "probe order failed" in message


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("future-flip", 0.01, "must be 0.0 at most"),
        ("a-a", 1e-3, "must be 0.0 at most"),
        ("sum-to-one", 0.1, "must be 0.0001 at most"),
        ("order", 1.0, "must be 0.0 at most"),
        ("uniform-stream", -40.0, "tokens drawn evenly give one of"),
        ("uniform-stream", 5.9, "tokens drawn evenly give one of"),
    ],
)
def test_a_limit_that_is_not_the_limit_fails(toy, name, limit, words):
    (message,) = failures(edited(toy, lambda record: probe_of(record, name).update(limit=limit)))
    assert name in message and words in message


def test_the_uniform_stream_must_cost_at_least_its_limit(toy):
    entropy = math.log(299)
    (message,) = failures(edited(toy, lambda record: probe_of(record, "uniform-stream").update(measured=entropy - 1)))
    assert "by its numbers it is failed" in message


def test_limits_follow_the_noise_floor_of_the_device_and_that_is_what_a_a_measured(toy):
    def on_card(record):
        record.update(device="cuda", noise_floor=0.001)
        probe_of(record, "a-a").update(measured=0.001, limit=0.05)
        probe_of(record, "truncation").update(measured=0.003, limit=0.004)

    assert failures(edited(toy, on_card)) == []
    toy.edit_probe.append(lambda number, record: record.update(noise_floor=0.002) if number == 7 else None)
    (message,) = failures(edited(toy, lambda record: None))
    assert message == "the noise floor is 0.002, probe a-a measured 0.001"


def test_noise_on_a_processor_fails(toy):
    def noisy(record):
        record.update(noise_floor=0.001)
        probe_of(record, "a-a").update(measured=0.001, limit=0.05)

    messages = failures(edited(toy, noisy))
    assert messages == ["probe a-a has limit 0.05 nats on cpu, must be 0.0 at most"]


def test_every_probe_stands_once_and_no_other(toy):
    def other(record):
        probe_of(record, "order")["name"] = "odour"

    assert failures(edited(toy, other)) == [
        "probe order stands 0 times, must once",
        "there is no probe odour",
    ]
    toy.edit_probe.clear()
    (message,) = failures(edited(toy, lambda record: record["probes"].append(record["probes"][0])))
    assert message == "probe a-a stands 2 times, must once"


@pytest.mark.parametrize("name", ["future-flip", "sum-to-one", "uniform-stream", "zero-rate", "document-boundary"])
def test_what_can_be_asked_of_the_method_was_asked(toy, name):
    def silent(record):
        probe_of(record, name).update(samples=0, verdict="not-applicable", measured=0.0, limit=0.0)

    (message,) = failures(edited(toy, silent))
    assert name in message and "looked at nothing" in message


def test_a_method_that_does_not_learn_is_not_asked_for_steps_of_size_zero(toy):
    toy.ledgers = {
        seed: [entry for entry in entries if entry["kind"] != "learn"] for seed, entries in toy.ledgers.items()
    }

    def silent(record):
        probe_of(record, "zero-rate").update(samples=0, verdict="not-applicable", measured=0.0, limit=0.0)

    found = edited(toy, silent)
    assert failures(found) == [] and any("8 probes passed, 1 do not apply" in message for _, message, _ in found)


@pytest.mark.parametrize("key", ["recipe_sha256", "code_sha256", "artifact_sha256"])
def test_probes_of_other_files_fail_and_say_which(toy, key):
    (message,) = failures(edited(toy, lambda record: record.update({key: "0" * 64})))
    assert message.startswith(f"{key} is 000000000000, that of ")


def test_probes_of_another_seed_or_method_fail(toy):
    def copied(record):
        record["seed"] = 9
        record["method"].update(rank=8, more=1)

    assert failures(edited(toy, copied)) == [
        "seed is 9, that of its folder is 7",
        "probed a method with more 1, the ledger has None",
        "probed a method with rank 8, the ledger has 4",
    ]


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ({"source": "made-up"}, "must be of the validation documents"),
        ({"documents": 4}, "4 documents were probed, the ledger has 3"),
        ({"targets": 18}, "18 targets were probed, the ledger has 17"),
        ({"targets": 16}, "by documents.tsv at most 13"),
        ({"documents": 3, "targets": 17}, "have tokens"),
        ({"documents": 3, "targets": 1}, "cannot have 1 targets"),
    ],
)
def test_a_stream_that_is_no_part_of_the_validation_set_fails(toy, stream, words):
    messages = failures(edited(toy, lambda record: record["stream"].update(stream)))
    assert any(words in message for message in messages)


def test_the_whole_validation_set_has_its_digest(toy):
    whole = {"documents": 3, "targets": 17, "tokens_sha256": toy.tokens_sha256}
    assert failures(edited(toy, lambda record: record["stream"].update(whole))) == []
    toy.edit_probe.clear()
    (message,) = failures(edited(toy, lambda record: record["stream"].update(tokens_sha256=toy.tokens_sha256)))
    assert "2 documents with 9 targets have tokens" in message


@pytest.mark.parametrize(
    ("decode", "words"),
    [
        ({"stream_bits": 146}, "by its numbers it failed: 146 bits for 80.5 of losses"),
        ({"stream_bits": 15}, "by its numbers it failed: 15 bits for 80.5 of losses"),
        ({"identical": False}, "identical: false"),
        ({"verdict": "failed"}, "decode failed"),
        ({"verdict": "not-applicable"}, "says not-applicable; by its numbers it passed"),
        ({"targets": 0}, "0 targets"),
        ({"limit_bits": 900.0}, "decode has limit 900.0 bits, 80.5 of losses give 144.6"),
    ],
)
def test_a_bitstream_is_as_long_as_its_losses_and_holds_what_went_in(toy, decode, words):
    (message,) = failures(edited(toy, lambda record: record["decode"].update(decode)))
    assert words in message


def test_without_a_bitstream_the_decode_proof_cannot_be_verified(toy):
    found = edited(toy, lambda record: record.update(decode=None))
    assert failures(found) == []
    assert ("UNVERIFIABLE", "seed 7: nothing was decoded from a bitstream", "seed7/probe.json") in found


def test_results_that_are_none_show_nothing_and_are_told_of_as_incomplete(toy):
    found = edited(toy, lambda record: record.pop("probes"))
    assert ("UNVERIFIABLE", "is not as it must be, so it shows nothing", "seed7/probe.json") in found
    assert ("FAIL", "the whole: 'probes' is a required property", "seed7/probe.json") in found


def test_a_ledger_that_was_tampered_with_shows_in_the_sums_and_leaves_the_probes_without_a_ledger(toy, said):
    toy.write()
    ledger = toy.read("seed7/ledger.jsonl").splitlines(keepends=True)
    toy.put("seed7/ledger.jsonl", "".join(ledger[:-1]))
    verdict = toy.judge()
    assert {f.rule for f in verdict.findings if f.verdict == "FAIL"} >= {"digests", "ledger-chain"}
    assert [f.verdict for f in said(verdict, "probes")] == ["UNVERIFIABLE", "PASS", "PASS"]


def test_a_probe_file_that_was_tampered_with_fails_even_with_new_sums(toy, said):
    toy.edit_probe.append(lambda seed, record: probe_of(record, "future-flip").update(verdict="failed", measured=0.3))
    toy.write()
    honest = toy.judge()
    assert [f.verdict for f in said(honest, "probes")] == ["FAIL"] * 3
    for seed in toy.seeds:
        text = toy.read(f"seed{seed}/probe.json")
        toy.put(f"seed{seed}/probe.json", text.replace('"failed"', '"passed"'))
    assert {f.rule for f in toy.judge().findings if f.verdict == "FAIL"} == {"digests", "probes"}
    assert "probes" in {f.rule for f in checked(toy).findings if f.verdict == "FAIL"}
    assert [f.verdict for f in said(toy.sign().judge(), "probes")] == ["FAIL"] * 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"seconds": 0.5}, "the probes took 1.5 s by their own clock, 0.5 s by the clock outside"),
        ({"exit_status": 1}, "the probes ended with status 1"),
        ({"isolation": {"reads": ["data/toy/train"]}}, "the probes were shown training shards: data/toy/train"),
    ],
)
def test_who_watched_the_probes_is_asked(toy, said, changed, words):
    def watched(record):
        seen = next(each for each in record["stages"] if each["seed"] == 7 and each["stage"] == "evaluate")
        walls = {**seen["isolation"], **changed.get("isolation", {})}
        record["stages"].append({**seen, "stage": "probe", **changed, "isolation": walls})

    toy.edit_environment.append(watched)
    verdict = toy.write().judge()
    assert [f.message for f in verdict.findings if f.verdict != "PASS"] == ([f"seed 7: {words}"] if words else [])
    assert len(said(verdict, "probes")) == 3


def test_a_stranger_s_folder_is_not_asked_for_probes(tmp_path):
    folder = write(tmp_path / NAME)
    verdict = check(FolderTree(folder), track_named(), path=str(folder))
    assert verdict.findings
    assert not [finding for finding in verdict.findings if finding.rule == "probes"]


def test_the_schema_refuses_what_is_not_asked_for(toy):
    record = toy.probe(7)
    assert schemas.violations("probe", record) == []
    for wrong in ({"more": 1}, {"format": "fairway-probe/2"}, {"noise_floor": -1}, {"probes": []}, {"decode": {}}):
        assert schemas.violations("probe", {**record, **wrong}) != []
