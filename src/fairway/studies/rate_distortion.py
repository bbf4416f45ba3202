"""Bits against lost energy of the outputs, by role and way of rounding, beside the bound for Gaussian weights.

Each matrix is rounded at several steps, which are shares of its rows' standard deviations. The rate is the order-0
entropy of its symbols by their own counts; on a trellis that of a symbol whose parity is known, since the state says
it, which the decoder of ``quant.trellis_codec`` makes use of. Steps and tables are left out, as they are for all ways.

The bound is Shannon's for independent Gaussian weights whose rows have the variances of these, under the Hessian at
hand: reverse water-filling over rows and eigenvalues. At high rate scalar rounding with all steps alike stays a quarter
of a bit away from it where the Hessian is white. GPTQ's feedback makes the rest of the way through a Hessian that is
not, but for one thing: columns differ in how much of an error later ones can make up for, and share a step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from matplotlib.figure import Figure
from torch import Tensor

from fairway.quant.gptq import gptq_batch, output_energy
from fairway.quant.grid import decode, encode, largest_symbol, row_steps
from fairway.quant.plan import input_part
from fairway.quant.rotation import bake, bake_hessian, rotations
from fairway.quant.trellis_compiled import c_compiler
from fairway.runtime.seeding import generator
from fairway.spec.quant import Gptq, Grid, Hadamard, TrellisGrid
from fairway.spec.roles import Role, role_of
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.weights import entropy_bits, gaussian_rows, matrices, run_tensors

STATES = 8
"""Of the trellis; a recipe's 64 gain some 0.02 bits more."""
STEPS = (0.3, 0.42, 0.6, 0.85)
"""In standard deviations of a row: of scalar rounding, and of a trellis between even symbols."""
_QUICK_STEPS = (0.42, 0.85)
_LARGEST_BITS = 8
NEAREST, GPTQ, TURNED, PATH, TURNED_PATH = WAYS = (
    "nearest",
    "GPTQ",
    "rotated GPTQ",
    "trellis GPTQ",
    "rotated trellis GPTQ",
)
_COLOURS = ("#8a8a8a", "#2f6fb0", "#7fb2e5", "#d1632a", "#f0a875")
_TRAINED, _GAUSSIAN = "trained", "gaussian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One matrix by one way at one step."""

    checkpoint: str
    name: str
    role: Role
    weights: str
    way: str
    step: float
    count: int
    bits: float
    """Entropy of a symbol."""
    energy: float
    """tr(W H W^T)."""
    lost: float
    """tr(E H E^T)."""
    bound: float
    """The least of that for Gaussian weights at this rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Matrices of one shape that are rounded together, with their Hessians, in one basis."""

    names: tuple[str, ...]
    weights: tuple[str, ...]
    w_LOI: Float[Tensor, "L O I"]
    h_LII: Float[Tensor, "L I I"]


def has_compiler() -> bool:
    """Whether paths can be found by compiled code; they are the same ones without, but take thirty times as long."""
    return c_compiler() is not None


def study(inputs: Inputs) -> Result:
    """Every matrix that has a Hessian by every way and step, trained and Gaussian."""
    compiled = has_compiler()
    steps = _QUICK_STEPS if inputs.quick else STEPS
    found: list[Point] = []
    for place, checkpoint in enumerate(inputs.checkpoints[:1] if inputs.quick or not compiled else inputs.checkpoints):
        inputs.progress(f"rate_distortion: {checkpoint.name}")
        hessians = run_tensors(inputs, place, "hessians.safetensors")
        named = {name: w_OI.float() for name, w_OI in matrices(checkpoint).items() if name in hessians}
        if not named:
            raise Needs("study rate_distortion needs hessians.safetensors beside a checkpoint")
        twins = {
            name: gaussian_rows(w_OI, generator(0, f"rate_distortion {checkpoint.name} {name}"))
            for name, w_OI in named.items()
        }
        for stack, turned in stacks(named, twins, hessians):
            for way in WAYS:
                if turned is None and way in (TURNED, TURNED_PATH):
                    continue
                basis = turned if turned is not None and way in (TURNED, TURNED_PATH) else stack
                for step in steps:
                    found += points(checkpoint.name, basis, way, step, compiled)
    return _told(found, steps, compiled)


def stacks(
    named: Mapping[str, Tensor], twins: Mapping[str, Tensor], hessians: Mapping[str, Tensor]
) -> Iterable[tuple[Stack, Stack | None]]:
    """Trained and Gaussian matrices of each role and shape, and the same rotated; None for what is never rotated."""
    turns = rotations({name: w_OI.shape for name, w_OI in named.items()}, Hadamard())
    kinds: dict[tuple[object, ...], list[str]] = {}
    for name, w_OI in named.items():
        kinds.setdefault((tuple(w_OI.shape), input_part(name)), []).append(name)
    for names in kinds.values():
        those = [(name, kind, w[name]) for kind, w in ((_TRAINED, named), (_GAUSSIAN, twins)) for name in names]
        h = {name: hessians[name].float() for name in names}
        labels, kinds_L = tuple(name for name, _, _ in those), tuple(kind for _, kind, _ in those)
        plain = Stack(labels, kinds_L, torch.stack([w for *_, w in those]), torch.stack([h[n] for n in labels]))
        turn_II = turns.get(input_part(names[0]) or "")
        turned = None
        if turn_II is not None:
            h_turned = {name: bake_hessian(h_II, turn_II) for name, h_II in h.items()}
            turned = Stack(
                labels,
                kinds_L,
                torch.stack([bake(w_OI, turn_II) for w_OI in plain.w_LOI]),
                torch.stack([h_turned[name] for name in labels]),
            )
        yield plain, turned


def points(checkpoint: str, stack: Stack, way: str, step: float, compiled: bool) -> list[Point]:
    """A stack by one way at one step."""
    bits = _LARGEST_BITS
    scalar = Grid(bits=bits, clip_sigmas=step * largest_symbol(bits))
    grid: Grid | TrellisGrid = scalar
    if way in (PATH, TURNED_PATH):
        grid = TrellisGrid(
            bits=bits,
            clip_sigmas=step / 2 * largest_symbol(bits),
            states=STATES,
            engine="compiled" if compiled else "torch",
        )
    step_LO = torch.stack([row_steps(w_OI, grid) for w_OI in stack.w_LOI])
    if way == NEAREST:
        q_LOI = torch.stack([encode(w, s, bits) for w, s in zip(stack.w_LOI, step_LO, strict=True)])
    else:
        rows = [stack.w_LOI.shape[1]]
        q_LOI = gptq_batch(stack.w_LOI, stack.h_LII, step_LO, grid, Gptq(), stack.names, rows)
    found = []
    for name, weights, w_OI, h_II, step_O, q_OI in zip(
        stack.names, stack.weights, stack.w_LOI, stack.h_LII, step_LO, q_LOI, strict=True
    ):
        rate = path_bits(q_OI) if isinstance(grid, TrellisGrid) else entropy_bits(q_OI)
        found.append(
            Point(
                checkpoint=checkpoint,
                name=name,
                role=role_of(name),
                weights=weights,
                way=way,
                step=step,
                count=w_OI.numel(),
                bits=rate,
                energy=output_energy(w_OI, h_II),
                lost=output_energy(w_OI - decode(q_OI, step_O), h_II),
                bound=gaussian_bound(w_OI, h_II, rate),
            )
        )
    return found


def path_bits(q_OI: Int8[Tensor, "O I"]) -> float:
    """Entropy of a symbol on a trellis whose parity the state tells, in bits."""
    odd_OI = (q_OI & 1).bool()
    share = float(odd_OI.double().mean())
    parts = ((share, q_OI[odd_OI]), (1.0 - share, q_OI[~odd_OI]))
    return sum(part * entropy_bits(symbols_N) for part, symbols_N in parts if len(symbols_N))


def gaussian_bound(w_OI: Float[Tensor, "O I"], h_II: Float[Tensor, "I I"], bits: float) -> float:
    """Least tr(E H E^T) for independent Gaussian weights with these rows' mean squares at so many bits a weight."""
    spectrum_I = torch.linalg.eigvalsh(h_II.double()).clamp_min(0.0)
    variance_N = (w_OI.double().square().mean(1)[:, None] * spectrum_I).flatten()
    variance_N = variance_N[variance_N > 0].sort().values
    # logarithm of the water level: bits asked for are the mean of half the log of what stands above it
    logs_N = variance_N.log2()
    above_N = logs_N.flip(0).cumsum(0)
    counts_N = torch.arange(1, len(logs_N) + 1, dtype=torch.float64)
    level_N = (above_N - 2.0 * bits * w_OI.numel()) / counts_N
    lower_N = torch.cat([logs_N.flip(0)[1:], logs_N.new_full((1,), -float("inf"))])
    active = int((level_N < lower_N).double().argmin())  # the first level that no further component stands above
    level = float(2.0 ** level_N[active])
    return float(variance_N[: len(variance_N) - active - 1].sum() + level * (active + 1))


def _curve(found: Sequence[Point], way: str, weights: str, role: Role | None) -> tuple[list[float], ...]:
    """Mean bits, share of the energy lost and the bound's share, by step: means over weights, and over matrices."""
    those = [p for p in found if p.way == way and p.weights == weights and role in (None, p.role)]
    rows = []
    for step in sorted({p.step for p in those}):
        at = [p for p in those if p.step == step]
        counts = [p.count for p in at]
        # a geometric mean: a share of the error is as much in one matrix as in another
        lost, bound = (
            float(np.exp(np.average(np.log(shares), weights=counts)))
            for shares in ([p.lost / p.energy for p in at], [p.bound / p.energy for p in at])
        )
        rows.append((float(np.average([p.bits for p in at], weights=counts)), lost, bound))
    return tuple(map(list, zip(*rows, strict=True))) if rows else ([], [], [])


def _saved(found: Sequence[Point], way: str, over: str, weights: str, role: Role | None) -> tuple[float, float]:
    """Share of the error that a way saves at equal rate, and bits a weight at equal error; means along the curve.

    Between steps logarithms of errors are taken to be straight, and beyond the last ones not to be known.
    """
    bits, lost, _ = _curve(found, way, weights, role)
    bits_over, lost_over, _ = _curve(found, over, weights, role)
    if len(bits) < 2 or len(bits_over) < 2:
        return float("nan"), float("nan")
    # by step both fall, so that interpolation wants them from the last
    logs, logs_over = np.log(lost)[::-1], np.log(lost_over)[::-1]
    rates, rates_over = np.array(bits)[::-1], np.array(bits_over)[::-1]
    inside = (rates_over >= rates.min()) & (rates_over <= rates.max())
    error = 1.0 - np.exp((np.interp(rates_over, rates, logs) - logs_over)[inside])
    within = (logs_over >= logs.min()) & (logs_over <= logs.max())
    saved = (rates_over - np.interp(-logs_over, -logs, rates))[within]
    return (
        float(error.mean()) if len(error) else float("nan"),
        float(saved.mean()) if len(saved) else float("nan"),
    )


def _gap(found: Sequence[Point], way: str, weights: str, role: Role | None) -> float:
    """Bits a weight to the bound, a mean along the curve: half the logarithm of the errors' ratio."""
    _, lost, bound = _curve(found, way, weights, role)
    return float(np.mean(0.5 * np.log2(np.array(lost) / np.array(bound)))) if lost else float("nan")


PAIRS = {
    "gptq": (GPTQ, NEAREST),
    "turn": (TURNED, GPTQ),
    "trellis": (PATH, GPTQ),
    "turn_trellis": (TURNED_PATH, PATH),
    "trellis_turned": (TURNED_PATH, TURNED),
}
"""What is compared with what."""


def _told(found: list[Point], steps: Sequence[float], compiled: bool) -> Result:
    turned = [p for p in found if p.role is not Role.EMBEDDING]
    numbers = {}
    for suffix, weights in (("", _TRAINED), ("_null", _GAUSSIAN)):
        for key, (way, over) in PAIRS.items():
            # what is never rotated would say that rotation changes nothing
            numbers[f"{key}_error{suffix}"], numbers[f"{key}_bits{suffix}"] = _saved(turned, way, over, weights, None)
        for way in WAYS:
            numbers[f"gap_{way.replace(' ', '_').lower()}{suffix}"] = _gap(turned, way, weights, None)
    roles = list(dict.fromkeys(p.role for p in found))
    for role in roles:
        numbers[f"trellis_error.{role.value}"] = _saved(found, PATH, GPTQ, _TRAINED, role)[0]
        numbers[f"trellis_bits.{role.value}"] = _saved(found, PATH, GPTQ, _TRAINED, role)[1]
        numbers[f"turn_trellis_error.{role.value}"] = _saved(found, TURNED_PATH, PATH, _TRAINED, role)[0]
    rate = _curve(turned, GPTQ, _TRAINED, None)[0]
    numbers["bits_share"] = numbers["trellis_bits"] / float(np.mean(rate))
    engine = "by compiled code" if compiled else "of the first checkpoint only: there is no C compiler here"
    paragraph = (
        f"In block matrices a trellis of {STATES} states (paths {engine}) loses {numbers['trellis_error']:.1%} less of"
        f" the outputs' energy than scalar GPTQ at equal rate (Gaussian {numbers['trellis_error_null']:.1%}), or takes"
        f" {numbers['trellis_bits']:.3f} bits a weight less at equal error, {numbers['bits_share']:.1%} of"
        f" {np.mean(rate):.2f} bits (Gaussian {numbers['trellis_bits_null']:.3f}). GPTQ saves"
        f" {numbers['gptq_error']:.0%} of what nearest rounding loses (Gaussian {numbers['gptq_error_null']:.0%})."
        f" Rotation saves {numbers['turn_error']:.1%} of the error of scalar GPTQ (Gaussian"
        f" {numbers['turn_error_null']:.1%}) and {numbers['turn_trellis_error']:.1%} of that of the trellis (Gaussian"
        f" {numbers['turn_trellis_error_null']:.1%}); of two that are rotated the trellis loses"
        f" {numbers['trellis_turned_error']:.1%} less. Bits a weight to the bound for Gaussian weights: nearest"
        f" rounding {numbers['gap_nearest']:.2f}, GPTQ {numbers['gap_gptq']:.3f} (Gaussian"
        f" {numbers['gap_gptq_null']:.3f}), trellis {numbers['gap_trellis_gptq']:.3f}"
        f" ({numbers['gap_trellis_gptq_null']:.3f}), rotated GPTQ"
        f" {numbers['gap_rotated_gptq']:.3f} ({numbers['gap_rotated_gptq_null']:.3f}), rotated trellis"
        f" {numbers['gap_rotated_trellis_gptq']:.3f} ({numbers['gap_rotated_trellis_gptq_null']:.3f})."
    )
    return Result(
        study="rate_distortion",
        title="Bits against lost energy of the outputs",
        tables={"curves": _curves(found, roles), "gains": _gains(found, roles), "tensors": _tensors(found)},
        draw=lambda figure: _draw(figure, found, roles),
        paragraph=paragraph,
        null="Independent Gaussian weights whose rows have the mean squares of the trained, under the same Hessians.",
        numbers=numbers,
        inches=(9.0, 5.5),
    )


def _curves(found: Sequence[Point], roles: Sequence[Role]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for role in roles:
        for way in WAYS:
            mine, theirs = (_curve(found, way, weights, role) for weights in (_TRAINED, _GAUSSIAN))
            for one, other in zip(zip(*mine, strict=True), zip(*theirs, strict=True), strict=True):
                rows.append((role.value, way, *one, *other))
    names = ("entropy_bits", "output_error_share", "gaussian_bound_share")
    return Table(columns=("role", "way", *names, *(f"null_{name}" for name in names)), rows=tuple(rows))


def _gains(found: Sequence[Point], roles: Sequence[Role]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for role in roles:
        for way, over in PAIRS.values():
            mine, theirs = (_saved(found, way, over, weights, role) for weights in (_TRAINED, _GAUSSIAN))
            rows.append((role.value, way, over, mine[0], theirs[0], mine[1], theirs[1]))
    columns = ("role", "way", "over", "error_saved_share", "null_error_saved_share", "bits_saved", "null_bits_saved")
    return Table(columns=columns, rows=tuple(rows))


def _tensors(found: Sequence[Point]) -> Table:
    return Table(
        columns=("checkpoint", "tensor", "way", "step_sigmas", "entropy_bits", "output_error_share", "gaussian_bound"),
        rows=tuple(
            (p.checkpoint, p.name, p.way, p.step, p.bits, p.lost / p.energy, p.bound / p.energy)
            for p in found
            if p.weights == _TRAINED
        ),
    )


def _draw(figure: Figure, found: Sequence[Point], roles: Sequence[Role]) -> None:
    rows = 2 if len(roles) > 3 else 1
    every = np.atleast_1d(figure.subplots(rows, -(-len(roles) // rows), sharex=True)).ravel()
    for axes, role in zip(every, roles, strict=False):
        for way, colour in zip(WAYS, _COLOURS, strict=True):
            bits, lost, bound = _curve(found, way, _TRAINED, role)
            if not bits:
                continue
            axes.plot(bits, 1e6 * np.array(lost), marker=".", color=colour, label=way)
            if way == PATH:
                axes.plot(bits, 1e6 * np.array(bound), color="black", linestyle=":", label="Gaussian bound")
        axes.set_yscale("log")
        axes.set_title(role.value, fontsize=9)
    for axes in every[len(roles) :]:
        axes.set_axis_off()
    figure.supxlabel("entropy of a symbol (bits)")
    figure.supylabel("output energy lost (ppm)")
    # where a role is missing there is room
    has_room = len(every) > len(roles)
    every[-1 if has_room else 0].legend(*every[0].get_legend_handles_labels(), fontsize=8 if has_room else 6)
