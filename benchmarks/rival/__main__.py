r"""Steps of a published script, unmodified, against ours: the same shards, the same device, in turns.

    python benchmarks/rival --steps 120 --calls 8 --phase plain=20:55 --phase looped=70:115 --pairs 7 \
        --rival RIVAL/train_gpt.py --rival-loader DocumentPackingLoader.next_batch \
        --rival-env 'DATA_PATH=... MAX_WALLCLOCK_SECONDS=0 ITERATIONS=120 ENABLE_LOOPING_AT=0.5 WARMUP_STEPS=5 ...' \
        --ours 'OURS/train_gpt_source.py --stage train --data ... --seed 1 -o {out}/w --events {out}/e' \
        --ours-loader TokenBatches.__next__ -o benchmarks/results/rival_step.json

The script is given by its path, with its published environment; nothing of it is kept here. Where FlashAttention 3 is
missing, a shim stands in for it on both sides. Runs alternate, each in a new process; the first pair is thrown away.
``ratio`` is the median over pairs of our seconds over the rival's, with a bootstrap interval of 95 %; a difference is
called one if it is more than twice the spread between pairs. Batches are compared by the hashes of their first
tensors. Our recipe is to count as many steps as the rival's environment, and to switch its loops on at the same one.

Steps are counted from the last call of ``backward``: whatever calls it after training (test-time training) must be off.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import Row, bootstrap_median, report  # noqa: E402 - lies beside
from side import Marks, Phases, RunFailed, Side, needs_shim, run  # noqa: E402 - lies beside


def in_turns(rival: Side, ours: Side, folder: Path, *, pairs: int, hashes: int) -> list[tuple[Marks, Marks]]:
    """Marks of the rival and of ours, ``pairs`` times; the first pair warms caches and is left out."""
    shim = needs_shim(rival.python) or needs_shim(ours.python)
    found = []
    for number in range(pairs):
        pair = [run(side, folder / f"{number:02}_{side.name}", shim=shim, hashes=hashes) for side in (rival, ours)]
        sys.stderr.write(f"pair {number + 1}/{pairs}\n")
        found.append((pair[0], pair[1]))
    return found[1:]


def compared(pairs: Sequence[tuple[Marks, Marks]], phases: Phases) -> list[Row]:
    """Two rows a phase: seconds of the rival, and ours with the ratio."""
    rows: list[Row] = []
    for phase, steps in phases.items():
        theirs, ours = ([marks.seconds(*steps) for marks in side] for side in zip(*pairs, strict=True))
        ratios = [mine / his for his, mine in zip(theirs, ours, strict=True)]
        ratio, spread = statistics.median(ratios), statistics.stdev(ratios) if len(ratios) > 1 else float("inf")
        low, high = bootstrap_median(ratios)
        rows.append({"what": f"{phase}: rival", "seconds": statistics.median(theirs), "ratio": 1.0})
        rows.append(
            {
                "what": f"{phase}: ours",
                "seconds": statistics.median(ours),
                "ratio": ratio,
                "low": low,
                "high": high,
                "spread": spread,
                "differs": str(abs(ratio - 1.0) > 2.0 * spread),
            }
        )
    peaks = [max(marks.peak_bytes for marks in side) for side in zip(*pairs, strict=True)]
    rows.append({"what": "peak memory: rival", "bytes": peaks[0], "ratio": 1.0})
    rows.append({"what": "peak memory: ours", "bytes": peaks[1], "ratio": peaks[1] / peaks[0]})
    return rows


def equal_batches(pairs: Sequence[tuple[Marks, Marks]], tensors: int = 2) -> tuple[int, int]:
    """How many of the hashed batches are equal in their first tensors (inputs, targets), and of how many."""
    theirs, ours = (marks.batches for marks in pairs[0])
    both = list(zip(theirs, ours, strict=False))
    return sum(his[:tensors] == mine[:tensors] for his, mine in both), len(both)


def main() -> int:
    """Run both sides in turns and write what was found; 2 if a script failed."""
    asked = _arguments()
    phases = {name: (int(first), int(end)) for name, first, end in (_phase(text) for text in asked.phase)}
    sides = [
        Side(
            name=name,
            command=_absolute(shlex.split(getattr(asked, name))),
            environment=dict(word.split("=", 1) for word in shlex.split(getattr(asked, f"{name}_env"))),
            calls=getattr(asked, f"{name}_calls") or asked.calls,
            steps=asked.steps,
            loader=getattr(asked, f"{name}_loader"),
            python=getattr(asked, f"{name}_python"),
        )
        for name in ("rival", "ours")
    ]
    with tempfile.TemporaryDirectory() as kept:
        try:
            pairs = in_turns(*sides, asked.keep or Path(kept) / "runs", pairs=asked.pairs, hashes=asked.hashes)
        except RunFailed as error:
            sys.stderr.write(f"{error}\n")
            return 2
    equal, of = equal_batches(pairs)
    told = [dict(marks.told) for marks in pairs[0]]
    report(
        "training step against a published script",
        compared(pairs, phases),
        told[0]["device"],
        unit="seconds a step, median over pairs of medians",
        output=asked.output,
        pairs=len(pairs),
        batches_equal=equal,
        batches_compared=of,
        rival=told[0],
        ours=told[1],
    )
    sys.stdout.write(f"{equal} of {of} hashed batches are equal\n")
    return 0


def _phase(text: str) -> tuple[str, str, str]:
    name, _, steps = text.partition("=")
    first, colon, end = steps.partition(":")
    if not (name and colon and first.isdigit() and end.isdigit() and int(first) + 1 < int(end)):
        raise SystemExit(f"--phase must be NAME=FIRST:END, such as plain=20:55, got {text!r}")
    return name, first, end


def _absolute(command: list[str]) -> list[str]:
    return [str(Path(command[0]).resolve()), *command[1:]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/rival", description=(__doc__ or "").splitlines()[0])
    for side in ("rival", "ours"):
        parser.add_argument(f"--{side}", required=True, help="script and arguments; {out} is the folder of the run")
        parser.add_argument(f"--{side}-env", default="", help="NAME=VALUE ..., quoted as in a shell")
        parser.add_argument(f"--{side}-calls", type=int, help="calls of backward a step, if not --calls")
        parser.add_argument(f"--{side}-loader", default="", help="Class.method that returns batches")
        parser.add_argument(f"--{side}-python", default=sys.executable, help="another interpreter, with its own torch")
    parser.add_argument("--steps", type=int, required=True, help="training steps of one run")
    parser.add_argument("--calls", type=int, default=1, help="calls of backward a step")
    parser.add_argument("--phase", action="append", required=True, help="NAME=FIRST:END, steps that are timed")
    parser.add_argument("--pairs", type=int, default=7, help="two at least: the first is thrown away")
    parser.add_argument("--hashes", type=int, default=8, help="batches that are hashed; time none of their steps")
    parser.add_argument("--keep", type=Path, help="folder that takes logs and marks of every run")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error(f"--pairs must be 2 or more, got {asked.pairs}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
