import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.errors import DataError
from fairway.verify.finding import Rule
from fairway.verify.report import as_json
from fairway.verify.run import RULES, judge, verify_seed


def test_a_complete_record_passes_every_rule_in_both_profiles(toy):
    verdict = toy.write().judge()
    assert [f for f in verdict.findings if f.verdict != "PASS"] == []
    assert {f.rule for f in verdict.findings} == {rule.id for rule in RULES}
    assert (verdict.of("strict"), verdict.of("precedent")) == ("PASS", "PASS")


def test_a_run_folder_of_one_seed_passes_every_rule_that_is_asked_of_it(toy):
    verdict = toy.judge_run(7)
    assert [f for f in verdict.findings if f.verdict != "PASS"] == []
    assert {f.rule for f in verdict.findings} == {rule.id for rule in RULES if rule.scope == "seed"}


def test_every_finding_names_its_rule_and_where_the_rule_is_written(toy):
    verdict = toy.write().judge()
    assert all(finding.rule and finding.source and finding.message for finding in verdict.findings)
    assert all("\n" not in finding.message for finding in verdict.findings)


def test_ids_of_rules_are_distinct_and_each_rule_says_why(toy):
    assert len({rule.id for rule in RULES}) == len(RULES) == 21
    assert all(rule.why and rule.source for rule in RULES)


def test_flipping_one_byte_of_any_file_fails_and_names_the_file(toy):
    toy.write()
    toy.put("verdict.json", as_json(toy.judge()))
    assert toy.judge().of("strict") == "PASS"
    for name in toy.files():
        path = toy.folder / name
        whole = path.read_bytes()
        for at in {len(whole) // 3, len(whole) - 1}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            verdict = toy.judge()
            named = [f for f in verdict.findings if f.verdict == "FAIL" and (f.file == name or name in f.message)]
            assert named and verdict.crashes == (), (name, at)
        path.write_bytes(whole)


def test_a_rule_that_crashes_is_a_finding_of_its_own_and_stops_no_other_rule(toy):
    def crash(facts):
        raise ZeroDivisionError("a mistake\nin the judge")

    broken = Rule(id="broken", why="a test", source="a test", scope="seed", check=crash)
    toy.write()
    verdict = judge(toy.folder, toy.track, rules=(broken, *RULES))
    assert verdict.crashes == ("broken",)
    assert [f.verdict for f in verdict.findings if f.rule == "broken"] == ["UNVERIFIABLE"]
    assert {f.rule for f in verdict.findings} == {"broken", *(rule.id for rule in RULES)}


def test_a_rule_that_says_nothing_counts_as_crashed(toy):
    silent = Rule(id="silent", why="a test", source="a test", scope="seed", check=lambda facts: [])
    toy.write()
    assert judge(toy.folder, toy.track, rules=(silent,)).crashes == ("silent",)


def test_an_empty_folder_fails_in_one_line(toy, failing, said):
    toy.folder.mkdir(parents=True)
    verdict = toy.judge()
    assert failing(verdict) == {"complete"} and verdict.crashes == ()
    assert [f.message for f in said(verdict, "complete")] == ["the folder is empty"]


def test_no_folder_and_a_file_instead_of_a_folder_are_mistakes_of_the_caller(toy, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        judge(tmp_path / "nowhere", toy.track)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="must be a folder"):
        judge(tmp_path / "file", toy.track)


def test_a_run_folder_of_another_name_is_a_mistake_of_the_caller(toy):
    run, recipe, data = toy.write_run(7)
    other = run.with_name("seven")
    run.rename(other)
    with pytest.raises(DataError, match="seed<N>"):
        verify_seed(other, toy.track, recipe=recipe, data=data, code=recipe.with_name("train_gpt.py"))


def test_a_run_folder_without_its_recipe_and_data_is_judged_as_far_as_it_goes(toy, failing):
    run, recipe, data = toy.write_run(7)
    recipe.unlink()
    shutil.rmtree(data)
    verdict = verify_seed(run, toy.track, recipe=recipe, data=data, code=recipe.with_name("train_gpt.py"))
    assert verdict.crashes == () and failing(verdict) == {"complete"}


def test_scored_tokens_that_are_not_those_of_the_shards_fail(toy, failing):
    run, recipe, data = toy.write_run(7)
    (data / "val" / "fineweb_val_000000.bin").write_bytes(bytes(1024) + toy.val_tokens[:-2] + b"\0\0")
    assert failing(verify_seed(run, toy.track, recipe=recipe, data=data, code=recipe.with_name("train_gpt.py"))) == {
        "bytes-recounted"
    }


FILES = (
    "submission.json",
    "recipe.json",
    "data_manifest.json",
    "documents.tsv",
    "README.md",
    "SHA256SUMS",
    "verdict.json",
    "seed7/events.jsonl",
    "seed7/ledger.jsonl",
    "seed7/artifact.bin",
    "seed7/probe.json",
)
GARBAGE = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"val_bpb": NaN}',
    b'{"val_bpb": 1e999}',
    b'{"val_bpb": 1, "val_bpb": 2}',
    b'{"seed": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b"\xff\xfe",
    b"\0" * 50,
    b'{"seed_results": {"7": 3}, "seeds": "all", "recipe": [], "documents": 3}\n',
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: garbage[:24].decode("latin1"))
def test_garbage_in_every_file_is_a_finding_for_each_and_never_an_exception(toy, garbage):
    toy.write()
    for name in FILES:
        toy.put(name, garbage)
    verdict = toy.judge()
    assert verdict.crashes == ()
    named = {finding.file for finding in verdict.findings if finding.verdict == "FAIL"}
    assert set(FILES) - {"README.md"} <= named


@pytest.mark.parametrize("garbage", [GARBAGE[1], GARBAGE[-1]], ids=["cut", "shape"])
@pytest.mark.parametrize("name", FILES)
def test_garbage_in_one_file_is_a_finding_that_names_it_and_never_an_exception(toy, name, garbage):
    toy.write()
    toy.put(name, garbage)
    if name != "SHA256SUMS":
        toy.sign()
    verdict = toy.judge()
    assert verdict.crashes == ()
    if name != "README.md":
        assert any(f.verdict == "FAIL" and f.file == name for f in verdict.findings)


def test_links_unreadable_entries_and_folders_in_place_of_files_are_findings(toy, tmp_path, said):
    toy.write()
    (tmp_path / "elsewhere").write_text("secret")
    (toy.folder / "link").symlink_to(tmp_path / "elsewhere")
    (toy.folder / "seed7" / "ledger.jsonl").unlink()
    (toy.folder / "seed7" / "ledger.jsonl").mkdir()
    verdict = toy.judge()
    assert verdict.crashes == ()
    assert {"link", "seed7/ledger.jsonl"} <= {f.file for f in said(verdict, "complete", "FAIL")}


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_of_the_json_files_crashes_no_rule(toy, data):
    if not toy.folder.exists():
        toy.write()
        toy.whole = {name: toy.read(name) for name in ("submission.json", "recipe.json", "data_manifest.json")}
        toy.whole["seed7/probe.json"] = toy.read("seed7/probe.json")
        toy.whole["events"] = toy.read("seed7/events.jsonl")
    for name, text in toy.whole.items():
        if name == "events":
            lines = text.splitlines()
            at = data.draw(st.integers(0, len(lines) - 1))
            lines[at] = _mutated(lines[at], data)
            toy.put("seed7/events.jsonl", "\n".join(lines) + "\n")
        else:
            toy.put(name, _mutated(text, data))
    assert toy.judge().crashes == ()


def _mutated(text, data):
    value = json.loads(text)
    place = value
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_json)
        return json.dumps(value)


def test_profiles_that_were_not_asked_for_do_not_fail_a_folder(toy):
    toy.track = replace(toy.track, train=replace(toy.track.train, limits=()))
    toy.track = replace(
        toy.track, eval=replace(toy.track.eval, limits=(replace(toy.track.eval.limits[0], limit_s=1.0),))
    )
    toy.write()
    assert judge(toy.folder, toy.track).failed
    assert judge(toy.folder, toy.track, profiles=("strict",)).failed
    assert not judge(toy.folder, toy.track, profiles=("precedent",)).failed
