from fairway.machine.doctor import (
    Check,
    Pace,
    able,
    check_cards,
    check_cores,
    check_disk,
    check_memory,
    check_pace,
    check_packages,
    check_walls,
    pace_of,
)
from fairway.machine.sandbox import Walls

MACHINE = {
    "cpu": {"usable": 2, "model": "made up"},
    "gpu": {"cards": []},
    "memory_bytes": 8_000_000_000,
    "packages": {"torch": {"version": "2.13.0"}},
    "compiler": None,
}
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559}


def test_one_no_is_enough():
    checks = [Check(what="a", state="look", found="", wanted=""), Check(what="b", state="unknown", found="", wanted="")]
    assert able(checks) and not able([*checks, Check(what="c", state="no", found="", wanted="")])


def test_cards_are_those_of_the_track():
    assert check_cards(MACHINE, None, 0).state == "ok"
    assert check_cards(MACHINE, "H100", 8).state == "no"
    assert check_cards({**MACHINE, "gpu": {"cards": [H100]}}, "H100", 8).state == "look"
    assert check_cards({**MACHINE, "gpu": {"cards": [H100] * 8}}, "H100", 8).state == "ok"
    assert check_cards({**MACHINE, "gpu": {"cards": [{**H100, "name": "A100"}] * 8}}, "H100", 8).state == "look"


def test_memory_is_that_of_a_card_where_there_is_one():
    assert check_memory(MACHINE, None).state == "unknown"
    assert [check_memory(MACHINE, peak).state for peak in (10**9, 7 * 10**9, 9 * 10**9)] == ["ok", "look", "no"]
    assert check_memory({**MACHINE, "gpu": {"cards": [H100]}}, 41 * 10**9).state == "ok"


def test_disk_and_cores(tmp_path):
    assert check_disk(tmp_path / "not" / "yet", 1).state == "ok"
    assert check_disk(tmp_path, 10**18).state == "no"
    assert [check_cores(MACHINE, threads).state for threads in (0, 2, 3)] == ["ok", "ok", "look"]


def test_packages_are_held_against_the_record_first(tmp_path):
    assert check_packages(MACHINE, tmp_path, None).state == "unknown"
    recorded = {"packages": {"torch": {"version": "2.11.0"}, "fairway": {"version": "9"}}}
    check = check_packages(MACHINE, tmp_path, recorded)
    assert check.state == "look" and check.found == "torch 2.13.0, recorded 2.11.0"
    assert check_packages(MACHINE, tmp_path, {"packages": MACHINE["packages"]}).state == "ok"


def test_walls_are_wished_for_not_asked_for():
    assert check_walls(Walls(mechanism="bubblewrap 0.8.0")).state == "ok"
    assert check_walls(Walls(mechanism=None, reason="no")).state == "look"


def steps(ms_before, ms_after, switch=10, last=20):
    events, train_s = [], 0.0
    for step in range(1, last + 1):
        train_s += (ms_before if step <= switch else ms_after) / 1000.0
        events.append({"event": "step", "step": step, "train_s": train_s})
    return [*events, {"event": "loops_on", "step": switch}]


def test_a_pace_is_taken_before_and_after_the_switch():
    pace = pace_of(steps(10.0, 15.0))
    assert round(pace.before_ms, 6) == 10.0 and round(pace.after_ms, 6) == 15.0
    assert pace_of(steps(10.0, 15.0)[:5]).after_ms is None
    assert pace_of([]) == Pace(before_ms=None, after_ms=None)


def test_the_forecast_mixes_both_parts_and_knows_the_budget():
    pace = Pace(before_ms=10.0, after_ms=20.0)
    counted = check_pace(pace, None, steps=500, share_before=0.35, budget_s=240.0)
    assert counted.state == "ok" and "16.5 ms, so 8 s for 500 steps" in counted.found
    assert check_pace(pace, None, steps=500, share_before=0.35, budget_s=5.0).state == "no"
    timed = check_pace(pace, pace, steps=None, share_before=0.5, budget_s=600.0)
    assert timed.state == "ok" and "40000 steps in 600 s (1.00 of the record's)" in timed.found
    slow = Pace(before_ms=20.0, after_ms=40.0)
    assert check_pace(slow, pace, steps=None, share_before=0.5, budget_s=600.0).state == "look"
    assert (
        check_pace(Pace(before_ms=None, after_ms=None), pace, steps=5, share_before=1.0, budget_s=1.0).state
        == "unknown"
    )
