"""The harness against a script made up here, in the form of the published ones."""

import json
import runpy
import sys
from pathlib import Path

import flash_attn_interface as shim
import pytest
import torch
from side import Marks, RunFailed, Side, read_marks

MAIN = Path(__file__).resolve().parents[2] / "benchmarks" / "rival"
BACKWARD_TWICE = 2

SCRIPT = """
import os, time
import torch
from flash_attn_interface import flash_attn_func

steps, seed = int(os.environ["ITERATIONS"]), int(os.environ.get("SEED", "0"))

class Loader:
    def __init__(self):
        self.draws = torch.Generator().manual_seed(seed)
    def next_batch(self):
        tokens = torch.randint(8, (2, 5), generator=self.draws)
        return tokens[:, :-1], tokens[:, 1:]

weight = torch.nn.Parameter(torch.randn(8, 8))
optimizer = torch.optim.AdamW([weight], lr=0.01)
loader = Loader()

def step():
    optimizer.zero_grad()
    for _ in range(2):
        x, y = loader.next_batch()
        q = weight[x].view(2, 4, 2, 4)
        out = flash_attn_func(q, q[:, :, :1], q[:, :, :1], causal=True).reshape(2, 4, 8)
        loss = torch.nn.functional.cross_entropy((out @ weight.T).flatten(0, 1), y.flatten())
        loss.backward()
    time.sleep(float(os.environ.get("PAUSE", "0")))
    optimizer.step()
    return loss.item()

step()  # warm-up
for number in range(steps):
    print(f"step:{number + 1}/{steps} train_loss:{step():.4f}")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train_gpt.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def harness(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rival", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(MAIN / "__main__.py"), run_name="__main__")
    return stop.value.code


def both(script, **ours):
    environment = {"rival": "ITERATIONS=6", "ours": f"ITERATIONS=6 {' '.join(f'{k}={v}' for k, v in ours.items())}"}
    call = ["--steps", 6, "--calls", BACKWARD_TWICE, "--phase", "all=1:6", "--pairs", 2, "--hashes", 4]
    for side, given in environment.items():
        call += [f"--{side}", script, f"--{side}-env", given, f"--{side}-loader", "Loader.next_batch"]
    return call


def test_two_runs_of_a_script_are_compared_step_by_step(script, tmp_path, monkeypatch, capfd):
    result, runs = tmp_path / "result.json", tmp_path / "runs"
    status = harness(monkeypatch, *both(script, PAUSE=0.2), "--keep", runs, "-o", result)
    assert status == 0, capfd.readouterr().err
    found = json.loads(result.read_text(encoding="utf-8"))
    rows = {row["what"]: row for row in found["rows"]}
    assert rows["all: rival"]["ratio"] == 1.0 and rows["all: ours"]["seconds"] >= 0.2
    assert rows["all: ours"]["ratio"] > 1.0 and rows["all: ours"]["low"] <= rows["all: ours"]["high"]
    assert rows["peak memory: ours"]["bytes"] > 1_000_000
    assert (found["pairs"], found["batches_equal"], found["batches_compared"]) == (1, 4, 4)
    assert found["rival"]["attention"].endswith("shim/flash_attn_interface.py") == ("shim" in shim.__file__)
    assert sorted(path.name for path in runs.iterdir()) == ["00_ours", "00_rival", "01_ours", "01_rival"]
    assert "step:6/6 train_loss:" in (runs / "01_rival" / "output.log").read_text(encoding="utf-8")


def test_a_script_that_fails_ends_the_comparison_with_its_last_line(script, monkeypatch, capfd):
    script.write_text("raise SystemExit('no shards here')\n", encoding="utf-8")
    assert harness(monkeypatch, *both(script)) == 2
    assert "rival: " in (said := capfd.readouterr().err) and "no shards here" in said


@pytest.mark.parametrize("phase", ["plain", "plain=5", "plain=5:6", "=1:9", "plain=a:9"])
def test_a_phase_that_is_none_is_refused(script, monkeypatch, phase):
    assert "NAME=FIRST:END" in harness(monkeypatch, *both(script), "--phase", phase)


def side(calls, steps):
    return Side(name="a", command=(), environment={}, calls=calls, steps=steps)


def test_steps_end_with_their_last_backward_and_are_counted_from_the_end():
    # Two calls of warm-up, then three steps of two calls: they end at 13, 17, 22.
    found = {"backward_s": [0, 5, 11, 13, 14, 17, 20, 22], "batches": [["x", "y"]], "peak_bytes": 3, "torch": "t"}
    marks = read_marks(found, side(2, 3))
    assert marks.step_s == (4, 5) and marks.told == {"torch": "t"} and marks.batches == (("x", "y"),)
    assert marks.seconds(1, 3) == 4.5 and marks.seconds(2, 3) == 5
    with pytest.raises(RunFailed, match="8 calls of backward, but 5 steps of 2 make 10"):
        read_marks(found, side(2, 5))


def test_batches_are_told_apart_by_inputs_and_targets_and_not_by_how_bounds_are_padded():
    equal_batches = runpy.run_path(str(MAIN / "__main__.py"))["equal_batches"]

    def marks(*batches):
        return Marks(step_s=(), batches=batches, peak_bytes=0, told={})

    theirs = marks(("in", "out", "bounds"), ("in", "out"), ("in", "out"))
    assert equal_batches([(theirs, marks(("in", "out", "other"), ("in", "else")))]) == (1, 2)


def test_ratios_are_those_of_pairs():
    compared = runpy.run_path(str(MAIN / "__main__.py"))["compared"]

    def marks(second):
        return Marks(step_s=(9.0, second, second), batches=(), peak_bytes=int(second * 10), told={})

    pairs = [(marks(2.0), marks(1.0)), (marks(4.0), marks(2.2)), (marks(3.0), marks(1.5))]
    rival, ours, *memory = compared(pairs, {"late": (2, 4)})
    assert (rival["seconds"], ours["seconds"], ours["ratio"]) == (3.0, 1.5, 0.5)
    assert ours["low"] == 0.5 and ours["high"] == pytest.approx(0.55) and ours["differs"] == "True"
    assert [row["bytes"] for row in memory] == [40, 22]


def reference(q, k, v, bounds):
    """Causal attention inside segments, in float64, one query at a time."""
    out = torch.zeros_like(q)
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        for t in range(begin, end):
            for head in range(q.shape[1]):
                kv = head * k.shape[1] // q.shape[1]
                weights = (k[begin : t + 1, kv] @ q[t, head] / q.shape[2] ** 0.5).softmax(0)
                out[t, head] = weights @ v[begin : t + 1, kv]
    return out


def test_the_shim_attends_inside_segments_forward_and_backward():
    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(9, h, 4, generator=draws, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2))
    bounds = [0, 3, 4, 9, 9, 9]
    cu = torch.tensor(bounds, dtype=torch.int32)
    found = shim.flash_attn_varlen_func(q, k, v, cu, cu, 5, 5, causal=True)
    due = reference(q, k, v, bounds)
    torch.testing.assert_close(found, due)
    weights = torch.randn(due.shape, generator=draws, dtype=torch.float64)
    for one, two in zip(*(torch.autograd.grad((y * weights).sum(), (q, k, v)) for y in (found, due)), strict=True):
        torch.testing.assert_close(one, two)
    row = shim.flash_attn_func(q[None], k[None], v[None], causal=True)[0]
    torch.testing.assert_close(row, reference(q, k, v, [0, 9]))


def test_the_shim_refuses_what_it_does_not_know():
    q = torch.zeros(1, 2, 1, 4)
    with pytest.raises(NotImplementedError, match="softcap"):
        shim.flash_attn_func(q, q, q, causal=True, softcap=30.0)
