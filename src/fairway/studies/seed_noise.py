"""Spread over seeds, seeds that a claim needs, and how often the significance rule says yes to nothing (rules 1.7).

Scores come from score.json of the runs, losses by document from their ledgers. The spread is held against one that
seeds without a character of their own would have: within each document, which seed had which loss is drawn anew.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens
from fairway.errors import DataError
from fairway.records.figures import document_scores
from fairway.records.ledgers import read_ledger
from fairway.studies.acceptance import (
    CLAIMANTS,
    RULES,
    WRITTEN,
    power,
    seeds_needed,
    share_accepted,
)
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.resampling import Floats, interval
from fairway.studies.result import Cell, Result, Table

RECENT_SPREAD = 0.0006 * math.log(2)
"""Nats per byte: the middle of the standard deviations of the accepted records of April 2026 (rules 1.7)."""
STAGES = ("float", "quantized", "final")
_GAINS = (0.006, 0.0075, 0.01, 0.015, 0.02, 0.05)
"""True gains in nats."""
_SEEDS = (3, 5, 10, 30)
_COLOURS = ("#2f6fb0", "#d1632a", "#2a9d74", "#8e5ea2")


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Scores and losses of several seeds of one recipe."""

    names: tuple[str, ...]
    bpb: Mapping[str, Floats]
    """By stage, bits per byte of each seed."""
    nats_per_token: Mapping[str, Floats]
    nats_SD: Floats
    """Of the final evaluation, by seed and document."""
    bytes_D: Floats


def study(inputs: Inputs) -> Result:
    """Read the runs beside the checkpoints and tell their noise."""
    if len(inputs.checkpoints) < 2:
        raise Needs("study seed_noise needs two checkpoints or more, of different seeds: one shows no spread")
    if inputs.val is None:
        raise Needs("study seed_noise needs --data FOLDER with val/: a ledger does not say where documents end")
    runs = _read(inputs)
    return result(runs, samples=500 if inputs.quick else 20_000)


def _read(inputs: Inputs) -> Runs:
    assert inputs.val is not None
    lengths = np.asarray(document_lengths(load_tokens(inputs.val, "val")), dtype=np.int64)
    bpb: dict[str, list[float]] = {stage: [] for stage in STAGES}
    loss: dict[str, list[float]] = {stage: [] for stage in STAGES}
    documents, spelled = [], np.zeros(0)
    for i, checkpoint in enumerate(inputs.checkpoints):
        for name in ("float.json", "score.json"):
            for score in _scores(inputs, i, name):
                bpb[score["name"]].append(float(score["bpb"]))
                loss[score["name"]].append(float(score["loss_nats"]))
        path = inputs.run_file(i, "ledger.jsonl")
        if path is None:
            raise Needs(f"study seed_noise needs ledger.jsonl beside {checkpoint.path}")
        ledger = read_ledger(path)
        if int(ledger.stops.max()) != int(lengths.sum()):
            raise DataError(
                f"{path}: scores targets up to {int(ledger.stops.max()) - 1}, but the validation stream of --data has"
                f" {int(lengths.sum())} tokens; name the dataset that the run was scored on"
            )
        nats, spelled = document_scores(ledger, lengths)
        documents.append(nats)
    written = spelled > 0
    return Runs(
        names=tuple(checkpoint.name for checkpoint in inputs.checkpoints),
        bpb={stage: np.asarray(values) for stage, values in bpb.items()},
        nats_per_token={stage: np.asarray(values) for stage, values in loss.items()},
        nats_SD=np.stack(documents)[:, written],
        bytes_D=spelled[written],
    )


def _scores(inputs: Inputs, index: int, name: str) -> Sequence[Mapping[str, Any]]:
    path = inputs.run_file(index, name)
    if path is None:
        raise Needs(f"study seed_noise needs {name} beside {inputs.checkpoints[index].path}: the run's own scores")
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        if sorted(score["name"] for score in scores) != (["float"] if name == "float.json" else ["final", "quantized"]):
            raise ValueError(f"unexpected names {[score['name'] for score in scores]}")
        return [{key: score[key] for key in ("name", "bpb", "loss_nats")} for score in scores]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not what an evaluation writes: {error}") from error


def result(runs: Runs, *, samples: int) -> Result:
    """Tables, figure and paragraph of some runs."""
    spread = float(runs.bpb["final"].std(ddof=1)) * math.log(2)
    stages, found = _stages(runs, samples)
    documents, more = _documents(runs, samples)
    rules, rates = _rules(spread, len(runs.names), samples)
    needed, counts = _needed(spread)
    numbers = {**found, **more, **rates, **counts}
    return Result(
        study="seed_noise",
        title="Noise of seeds, and what the significance rule makes of it",
        tables={
            "stages": stages,
            "documents": documents,
            "rules": rules,
            "power": _power(spread, samples),
            "needed": needed,
        },
        draw=lambda figure: _draw(figure, runs, spread, samples),
        paragraph=_paragraph(numbers, len(runs.names)),
        null=(
            "For the spread: seeds without a character of their own, drawn by permuting the seeds' labels within each"
            " document. For the rules: simulated claims whose true gain is zero, or exactly the margin that is granted."
        ),
        numbers=numbers,
    )


def _stages(runs: Runs, samples: int) -> tuple[Table, dict[str, float]]:
    seeds = len(runs.names)
    low, high = (math.sqrt((seeds - 1) / float(stats.chi2.ppf(share, seeds - 1))) for share in (0.975, 0.025))
    null = _permuted_spread(runs, samples)
    rows: list[tuple[Cell, ...]] = []
    for stage in STAGES:
        bpb, std = runs.bpb[stage], float(runs.bpb[stage].std(ddof=1))
        per_token = float(runs.nats_per_token[stage].std(ddof=1))
        if stage == "final":
            own = (float(np.mean(null)), float((1 + np.count_nonzero(null >= std)) / (1 + len(null))))
        else:
            own = (math.nan, math.nan)
        rows.append((stage, seeds, float(bpb.mean()), std, std * low, std * high, std * math.log(2), per_token, *own))
    columns = (
        *("stage", "seeds", "mean (BPB)", "std (BPB)", "std low (BPB)", "std high (BPB)"),
        *("std (nats/byte)", "std (nats/token)", "null: std with labels permuted (BPB)", "p"),
    )
    final = rows[-1]
    names = ("std_bpb", "std_low_bpb", "std_high_bpb", "std_nats_per_byte", "std_nats_per_token", "null_std_bpb", "p")
    return Table(columns=columns, rows=tuple(rows)), {
        "seeds": float(seeds),
        "mean_bpb": float(runs.bpb["final"].mean()),
        **dict(zip(names, map(float, final[3:]), strict=True)),
    }


def _permuted_spread(runs: Runs, samples: int) -> Floats:
    """Standard deviation over seeds of each sample, in bits per byte."""
    generator = np.random.default_rng(1017)
    scale = runs.bytes_D.sum() * math.log(2)
    drawn = [generator.permuted(runs.nats_SD, axis=0).sum(1).std(ddof=1) / scale for _ in range(min(samples, 4000))]
    return np.asarray(drawn)


def _documents(runs: Runs, samples: int) -> tuple[Table, dict[str, float]]:
    """Bootstrap over documents (Efron 1979) of each score and of each pair of seeds on the same documents."""
    generator = np.random.default_rng(212)
    count = runs.nats_SD.shape[1]
    which = generator.integers(0, count, (min(samples, 4000), count))
    text = runs.bytes_D[which].sum(1)
    drawn = np.stack([nats_D[which].sum(1) / text / math.log(2) for nats_D in runs.nats_SD])
    scores = runs.nats_SD.sum(1) / runs.bytes_D.sum() / math.log(2)
    rows: list[tuple[Cell, ...]] = []
    singles, pairs = [], []
    for name, score, own in zip(runs.names, scores, drawn, strict=True):
        between = interval(own)
        singles.append(float(own.std(ddof=1)))
        rows.append((name, float(score), singles[-1], between.low, between.high))
    for i in range(len(runs.names)):
        for j in range(i + 1, len(runs.names)):
            own = drawn[j] - drawn[i]
            between = interval(own)
            pairs.append(float(own.std(ddof=1)))
            name = f"{runs.names[j]} - {runs.names[i]}"
            rows.append((name, float(scores[j] - scores[i]), pairs[-1], between.low, between.high))
    columns = ("run or pair", "score or difference (BPB)", "std over documents (BPB)", "low (BPB)", "high (BPB)")
    return Table(columns=columns, rows=tuple(rows)), {
        "documents": float(count),
        "document_std_bpb": float(np.mean(singles)),
        "pair_document_std_bpb": float(np.mean(pairs)),
    }


def _spreads(spread: float) -> tuple[tuple[str, str, float], ...]:
    """Key, name and standard deviation, in nats per byte, of the noise that rules are tried with."""
    return ("these", "these runs", spread), ("recent", "recent records", RECENT_SPREAD)


def _rules(spread: float, seeds: int, samples: int) -> tuple[Table, dict[str, float]]:
    rows: list[tuple[Cell, ...]] = []
    found: dict[str, float] = {}
    count = max(seeds, 2)
    for where, noise, sigma in _spreads(spread):
        for claimant in CLAIMANTS:
            for gain in (0.0, WRITTEN.tested_gain):
                shares = [
                    share_accepted(rule, claimant, gain=gain, spread=sigma, seeds=count, samples=samples, seed=1902)
                    for rule in RULES
                ]
                rows.append((noise, sigma, claimant.name, gain, count, *shares))
                for rule, share in zip(RULES, shares, strict=True):
                    found[f"{rule.key}_{claimant.key}_{'margin' if gain else 'zero'}_{where}"] = share
    columns = (
        *("spread of", "spread (nats/byte)", "noise of the claim's runs", "true gain (nats)", "seeds a side"),
        *(f"accepted: {rule.name}" for rule in RULES),
    )
    return Table(columns=columns, rows=tuple(rows)), found


def _power(spread: float, samples: int) -> Table:
    """The written rule with normal noise: simulated, and computed."""
    rows: list[tuple[Cell, ...]] = []
    for _, noise, sigma in _spreads(spread):
        for seeds in _SEEDS[:3]:
            for gain in _GAINS:
                simulated = share_accepted(
                    WRITTEN, CLAIMANTS[0], gain=gain, spread=sigma, seeds=seeds, samples=samples, seed=49
                )
                exact = power(WRITTEN, gain=gain, spread=sigma, seeds=seeds)
                rows.append((noise, sigma, seeds, gain, simulated, exact))
    columns = ("spread of", "spread (nats/byte)", "seeds a side", "true gain (nats)", "accepted", "computed")
    return Table(columns=columns, rows=tuple(rows))


def _needed(spread: float) -> tuple[Table, dict[str, float]]:
    rows: list[tuple[Cell, ...]] = []
    found = {}
    for where, noise, sigma in _spreads(spread):
        for gain in _GAINS:
            counts = [seeds_needed(WRITTEN, gain=gain, spread=sigma, wanted=wanted) for wanted in (0.8, 0.95)]
            rows.append((noise, sigma, gain, *(math.nan if each is None else each for each in counts)))
            if gain == 2 * WRITTEN.tested_gain:
                found[f"seeds_needed_{where}"] = math.nan if counts[0] is None else float(counts[0])
                found[f"power_of_3_{where}"] = power(WRITTEN, gain=gain, spread=sigma, seeds=3)
    columns = ("spread of", "spread (nats/byte)", "true gain (nats)", "seeds a side for 80%", "for 95%")
    return Table(columns=columns, rows=tuple(rows)), found


def _paragraph(found: Mapping[str, float], seeds: int) -> str:
    def rate(rule: str, claimant: str, gain: str, where: str) -> str:
        return f"{found[f'{rule}_{claimant}_{gain}_{where}']:.2%}"

    return (
        f"The final score of {seeds} seeds scatters by {found['std_bpb']:.4f} BPB (95%:"
        f" {found['std_low_bpb']:.4f} to {found['std_high_bpb']:.4f}), {found['std_nats_per_byte']:.5f} nats per byte;"
        f" seeds whose losses are exchanged within documents scatter by {found['null_std_bpb']:.4f}"
        f" (p = {found['p']:.2g}). Drawing the {found['documents']:.0f} documents again moves a score by"
        f" {found['document_std_bpb']:.4f} BPB but the difference of two seeds by {found['pair_document_std_bpb']:.4f}:"
        " seeds find the same documents hard. With this spread a true gain of 0.01 nats, twice the margin, takes"
        f" {found['seeds_needed_these']:.0f} seeds a side to be accepted in four claims of five (three seeds:"
        f" {found['power_of_3_these']:.1%}); with that of recent records {found['seeds_needed_recent']:.0f} (three:"
        f" {found['power_of_3_recent']:.1%}). The written rule accepts a claim without any gain in"
        f" {rate('written', 'plain', 'zero', 'these')} of simulations at this spread and in"
        f" {rate('written', 'plain', 'zero', 'recent')} at the recent one, and a gain of exactly the margin in"
        f" {rate('written', 'plain', 'margin', 'recent')}; with two more runs, of which the worst go unreported, in"
        f" {rate('written', 'best_runs', 'margin', 'recent')}, with five attempts in"
        f" {rate('written', 'best_attempt', 'margin', 'recent')}. The audit's rule accepts no gain at all in"
        f" {rate('audit', 'plain', 'zero', 'recent')}, and in {rate('audit', 'best_attempt', 'zero', 'recent')} where"
        " five are tried."
    )


def _draw(figure: Figure, runs: Runs, spread: float, samples: int) -> None:
    left, right = figure.subplots(1, 2)
    table, _ = _documents(runs, samples)
    for i, row in enumerate(table.rows[: len(runs.names)]):
        score, low, high = (float(row[j]) for j in (1, 3, 4))
        left.plot([i, i], [low, high], color="#6b7785", linewidth=1.0)
        left.plot([i], [score], color=_COLOURS[i % len(_COLOURS)], marker="o")
    left.set_xticks(range(len(runs.names)), runs.names)
    left.set_xlim(-0.5, len(runs.names) - 0.5)
    left.set_ylabel("bits per byte; bars: 95% over documents")
    gains = np.linspace(0.0, WRITTEN.tested_gain + 5 * spread, 60)
    for colour, seeds in zip(_COLOURS, _SEEDS, strict=True):
        levels = [power(WRITTEN, gain=float(gain), spread=spread, seeds=seeds) for gain in gains]
        right.plot(gains, levels, color=colour, label=f"{seeds} seeds a side")
    right.axhline(WRITTEN.p_max, color="#1f2933", linewidth=0.8, linestyle=(0, (1, 2)))
    right.axvline(WRITTEN.tested_gain, color="#1f2933", linewidth=0.8, linestyle=(0, (4, 3)))
    right.set_xlabel("true gain in nats per byte; dashed: the margin")
    right.set_ylabel("share of claims accepted")
    right.legend(loc="lower right")
