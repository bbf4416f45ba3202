import json
import statistics
import time

import measure
import pytest
import torch


def test_seconds_are_those_of_each_call_and_warm_up_is_not_among_them():
    calls = []
    found = measure.seconds_of(lambda: calls.append(1), torch.device("cpu"), repeat=3, warm_up=2)
    assert len(found) == 3 and len(calls) == 5 and all(seconds > 0 for seconds in found)


def test_the_process_clock_does_not_count_waiting():
    (waited,) = measure.seconds_of(lambda: time.sleep(0.05), torch.device("cpu"), repeat=1, warm_up=0)
    (worked,) = measure.seconds_of(lambda: time.sleep(0.05), torch.device("cpu"), repeat=1, warm_up=0, clock="process")
    assert worked < 0.05 <= waited


def test_the_peak_counts_two_operations_for_each_product():
    order = 64
    seconds = []

    def timed(call, device, *, repeat, warm_up, clock):
        seconds.extend([0.5, 0.1, 0.2])
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "seconds_of", timed)
        peak = measure.matmul_peak(torch.device("cpu"), torch.float32, order=order)
    assert peak == pytest.approx(2 * order**3 / 0.2)


def test_the_interval_holds_the_median_and_is_the_same_again():
    values = [0.9, 1.0, 1.1, 1.2, 0.8, 1.05]
    low, high = measure.bootstrap_median(values, draws=500)
    assert low <= statistics.median(values) <= high and low < high
    assert (low, high) == measure.bootstrap_median(values, draws=500)
    assert measure.bootstrap_median([2.0] * 4, draws=50) == (2.0, 2.0)


def test_a_report_is_a_table_and_json(tmp_path, capsys):
    rows = [{"what": "a", "seconds": 1.5, "ratio": 1.0}, {"what": "b", "bytes": 12_345}]
    measure.report("made up", rows, "a device", unit="seconds", output=tmp_path / "deep" / "r.json", recipe="x")
    said = capsys.readouterr().out
    assert "12,345" in said and "1.5" in said
    found = json.loads((tmp_path / "deep" / "r.json").read_text(encoding="utf-8"))
    assert found["rows"] == rows and found["recipe"] == "x"
    assert {"name", "date", "device", "torch", "unit"} <= found.keys()
