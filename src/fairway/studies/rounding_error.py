"""What each way of rounding to six bits loses, with the scale floor of 1/31 and without (#1048, findings 4 to 6).

The early exporters take step = max(clip / 31, 1/31) (recipes D.1). A row whose largest weight is below 1 then has the
step 1/31 whatever its clip: the search for a better clip has nothing to choose. Ways are compared on the same matrices:
squared error of the weights, share of the output's energy that is lost (by the Hessian of the run), and order-0 entropy
of the symbols, because a finer step buys less error with more bytes. ``error_at_equal_rate`` is the squared error times
4**(bits - bits of nearest rounding on the same floor): what is left of a gain once its bytes are paid for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from fairway.quant.gptq import gptq, relative_error
from fairway.quant.grid import decode, encode, row_steps
from fairway.quant.plan import input_part
from fairway.quant.rotation import bake, bake_hessian, rotations
from fairway.records.style import MUTED
from fairway.runtime.seeding import generator
from fairway.spec.quant import Gptq, Grid, Hadamard, QuantileGrid
from fairway.spec.roles import Role, role_of
from fairway.studies.inputs import Inputs
from fairway.studies.result import Result, Table
from fairway.studies.weights import FLOOR, FLOORED, FREE, entropy_bits, gaussian_rows, matrices, run_tensors

CLIPS = (0.9, 0.95, 0.99, 0.999, 0.99999)
"""Quantiles of a row's absolute values that #1048 chooses among, for each row."""

_FLOORED_CLIP = QuantileGrid(bits=6, quantiles=CLIPS, scale_floor=FLOOR)
_FREE_CLIP = QuantileGrid(bits=6, quantiles=CLIPS)
_SIGMAS = Grid(bits=6, clip_sigmas=12.85)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of rounding."""

    grid: Grid | QuantileGrid
    gptq: bool = False
    turned: bool = False

    @property
    def is_floored(self) -> bool:
        """Whether steps are at least 1/31."""
        return self.grid.scale_floor == FLOOR


WAYS: Mapping[str, Way] = {
    "nearest, floor 1/31": Way(grid=FLOORED),
    "clip search, floor 1/31": Way(grid=_FLOORED_CLIP),
    "GPTQ, floor 1/31": Way(grid=FLOORED, gptq=True),
    "rotated GPTQ, floor 1/31": Way(grid=FLOORED, gptq=True, turned=True),
    "nearest": Way(grid=FREE),
    "clip search": Way(grid=_FREE_CLIP),
    "GPTQ": Way(grid=FREE, gptq=True),
    "rotated nearest": Way(grid=FREE, turned=True),
    "rotated GPTQ": Way(grid=FREE, gptq=True, turned=True),
    "nearest, 12.85 sigmas": Way(grid=_SIGMAS),
    "rotated GPTQ, 12.85 sigmas": Way(grid=_SIGMAS, gptq=True, turned=True),
}
"""The first of each kind of grid is what its others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one way loses of one matrix."""

    checkpoint: str
    name: str
    role: Role
    way: str
    count: int
    squared: float
    """Mean squared error of a weight."""
    output: float
    """Share of the output's energy."""
    bits: float
    """Entropy of a symbol."""
    at_floor: float
    """Share of the rows whose step is the floor."""


def study(inputs: Inputs) -> Result:
    """Every block matrix by every way, trained and Gaussian."""
    found: list[Loss] = []
    null: list[Loss] = []
    weighted = True
    for place, checkpoint in enumerate(inputs.checkpoints[:1] if inputs.quick else inputs.checkpoints):
        inputs.progress(f"rounding_error: {checkpoint.name}")
        hessians = run_tensors(inputs, place, "hessians.safetensors")
        named = matrices(checkpoint, embeddings=False)
        weighted &= named.keys() <= hessians.keys()
        turns = rotations({name: w_OI.shape for name, w_OI in named.items()}, Hadamard())
        for name, w_OI in named.items():
            h_II = hessians.get(name)
            turn_II = turns[input_part(name) or ""]
            twin_OI = gaussian_rows(w_OI, generator(0, f"rounding_error {checkpoint.name} {name}"))
            found += losses(checkpoint.name, name, w_OI, h_II, turn_II)
            null += losses(checkpoint.name, name, twin_OI, h_II, turn_II)
    return _told(found, null, weighted)


def losses(
    checkpoint: str,
    name: str,
    w_OI: Float[Tensor, "O I"],
    h_II: Float[Tensor, "I I"] | None,
    turn_II: Float[Tensor, "I I"],
) -> list[Loss]:
    """One matrix by every way; without a Hessian those that need none, with outputs weighed alike."""
    plain = w_OI, torch.eye(w_OI.shape[1]) if h_II is None else h_II.float()
    turned = bake(w_OI, turn_II), bake_hessian(plain[1], turn_II)
    found = []
    for called, way in WAYS.items():
        if way.gptq and h_II is None:
            continue
        basis_OI, weigh_II = turned if way.turned else plain
        step_O = row_steps(basis_OI, way.grid)
        symbols_OI = (
            gptq(basis_OI, weigh_II, step_O, way.grid, Gptq()) if way.gptq else encode(basis_OI, step_O, way.grid.bits)
        )
        rounded_OI = decode(symbols_OI, step_O)
        found.append(
            Loss(
                checkpoint=checkpoint,
                name=name,
                role=role_of(name),
                way=called,
                count=w_OI.numel(),
                squared=float((basis_OI - rounded_OI).square().mean()),
                output=relative_error(basis_OI, rounded_OI, weigh_II),
                bits=entropy_bits(symbols_OI),
                at_floor=float((step_O == torch.tensor(FLOOR).half()).float().mean()) if way.is_floored else 0.0,
            )
        )
    return found


def _mean(found: list[Loss], way: str, value: Callable[[Loss], float]) -> float:
    """Mean over the weights of all matrices."""
    those = [loss for loss in found if loss.way == way]
    return float(np.average([value(loss) for loss in those], weights=[loss.count for loss in those]))


def _base(way: str) -> str:
    return next(name for name in WAYS if WAYS[name].is_floored == WAYS[way].is_floored)


def _at_equal_rate(found: list[Loss], way: str) -> float:
    more = _mean(found, way, lambda loss: loss.bits) - _mean(found, _base(way), lambda loss: loss.bits)
    return _mean(found, way, lambda loss: loss.squared) * 4.0**more


def _gain(found: list[Loss], way: str, over: str, value: Callable[[Loss], float]) -> float:
    return 1.0 - _mean(found, way, value) / _mean(found, over, value)


def _told(found: list[Loss], null: list[Loss], weighted: bool) -> Result:
    ways = [way for way in WAYS if any(loss.way == way for loss in found)]
    first, clip, free, free_clip = "nearest, floor 1/31", "clip search, floor 1/31", "nearest", "clip search"
    numbers = {
        "rows_at_floor": _mean(found, first, lambda loss: loss.at_floor),
        "floor_squared": _mean(found, first, lambda loss: loss.squared),
        "floor_squared_predicted": FLOOR**2 / 12,
        "floor_squared_null": _mean(null, first, lambda loss: loss.squared),
        "clip_gain_floored": _gain(found, clip, first, lambda loss: loss.squared),
        "clip_gain_floored_null": _gain(null, clip, first, lambda loss: loss.squared),
        "clip_gain": _gain(found, free_clip, free, lambda loss: loss.squared),
        "clip_gain_null": _gain(null, free_clip, free, lambda loss: loss.squared),
        "clip_bits_more": _mean(found, free_clip, lambda x: x.bits) - _mean(found, free, lambda x: x.bits),
        "clip_gain_equal_rate": 1 - _at_equal_rate(found, free_clip) / _at_equal_rate(found, free),
        "clip_gain_equal_rate_null": 1 - _at_equal_rate(null, free_clip) / _at_equal_rate(null, free),
        "floor_bits": _mean(found, first, lambda loss: loss.bits),
        "free_bits": _mean(found, free, lambda loss: loss.bits),
        "floor_output": _mean(found, first, lambda loss: loss.output),
        "free_output": _mean(found, free, lambda loss: loss.output),
    }
    paragraph = (
        f"With the floor, {numbers['rows_at_floor']:.1%} of all rows have the step 1/31 itself; the squared error of"
        f" nearest rounding is then {numbers['floor_squared']:.3g}, where a uniform step predicts"
        f" {numbers['floor_squared_predicted']:.3g} and Gaussian weights have {numbers['floor_squared_null']:.3g}."
        f" The search among five clips lowers it by {numbers['clip_gain_floored']:.2%}"
        f" (Gaussian {numbers['clip_gain_floored_null']:.2%}) with the floor and by {numbers['clip_gain']:.1%}"
        f" (Gaussian {numbers['clip_gain_null']:.1%}) without it, where it takes {numbers['clip_bits_more']:+.2f} bits"
        f" a weight: at equal rate {numbers['clip_gain_equal_rate']:.1%} is left"
        f" (Gaussian {numbers['clip_gain_equal_rate_null']:.1%})."
        f" Without the floor six bits take {numbers['free_bits']:.2f} bits of entropy and lose"
        f" {1e6 * numbers['free_output']:.0f} ppm of the outputs' energy; with it {numbers['floor_bits']:.2f} and"
        f" {1e6 * numbers['floor_output']:.0f} ppm."
    )
    if "GPTQ" in ways:
        for key, over, way in (
            ("gptq_gain", "nearest", "GPTQ"),
            ("turn_gain_nearest", "nearest", "rotated nearest"),
            ("turn_gain_gptq", "GPTQ", "rotated GPTQ"),
            ("gptq_gain_floored", first, "GPTQ, floor 1/31"),
            ("turn_gain_floored", "GPTQ, floor 1/31", "rotated GPTQ, floor 1/31"),
        ):
            numbers[key] = _gain(found, way, over, lambda loss: loss.output)
            numbers[f"{key}_null"] = _gain(null, way, over, lambda loss: loss.output)
        numbers["turn_bits"] = _mean(found, "rotated GPTQ", lambda x: x.bits) - _mean(found, "GPTQ", lambda x: x.bits)
        numbers["turn_bits_null"] = _mean(null, "rotated GPTQ", lambda x: x.bits) - _mean(
            null, "GPTQ", lambda x: x.bits
        )
        paragraph += (
            f" GPTQ loses {numbers['gptq_gain']:.0%} less of the outputs than nearest rounding"
            f" (Gaussian {numbers['gptq_gain_null']:.0%}); rotating first changes that by"
            f" {-numbers['turn_gain_gptq']:+.1%} (Gaussian {-numbers['turn_gain_gptq_null']:+.1%}) at"
            f" {numbers['turn_bits']:+.3f} bits a weight, and with the floor by {-numbers['turn_gain_floored']:+.1%}"
            f" (Gaussian {-numbers['turn_gain_floored_null']:+.1%})."
        )
    elif not weighted:
        paragraph += " GPTQ was left out: there are no Hessians beside the checkpoints."
    return Result(
        study="rounding_error",
        title="What six bits lose, by way of rounding",
        tables={"ways": _by_way(found, null, ways), "roles": _by_role(found, null, ways), "tensors": _by_tensor(found)},
        draw=lambda figure: _draw(figure, found, null, ways),
        paragraph=paragraph,
        null="Independent Gaussian weights whose rows have the mean squares of the trained, under the same Hessians.",
        numbers=numbers,
        inches=(8.0, 5.5),
    )


def _values(found: list[Loss], way: str) -> tuple[float, float, float, float]:
    squared, output, bits = (
        _mean(found, way, value) for value in (lambda x: x.squared, lambda x: x.output, lambda x: x.bits)
    )
    return squared, output, bits, _at_equal_rate(found, way)


def _by_way(found: list[Loss], null: list[Loss], ways: list[str]) -> Table:
    names = ("squared_error", "output_error_share", "entropy_bits", "squared_error_at_equal_rate")
    return Table(
        columns=("way", *(f"{kind}{name}" for name in names for kind in ("", "null_"))),
        rows=tuple(
            (way, *(x for pair in zip(_values(found, way), _values(null, way), strict=True) for x in pair))
            for way in ways
        ),
    )


def _by_role(found: list[Loss], null: list[Loss], ways: list[str]) -> Table:
    rows = []
    for role in dict.fromkeys(loss.role for loss in found):
        of_role = [[loss for loss in losses if loss.role is role] for losses in (found, null)]
        for way in ways:
            mine, theirs = (_values(losses, way) for losses in of_role)
            rows.append((role.value, way, mine[0], theirs[0], mine[1], theirs[1], mine[2], theirs[2]))
    return Table(
        columns=(
            *("role", "way", "squared_error", "null_squared_error", "output_error_share", "null_output_error_share"),
            *("entropy_bits", "null_entropy_bits"),
        ),
        rows=tuple(rows),
    )


def _by_tensor(found: list[Loss]) -> Table:
    return Table(
        columns=("checkpoint", "tensor", "way", "squared_error", "output_error_share", "entropy_bits", "rows_at_floor"),
        rows=tuple((x.checkpoint, x.name, x.way, x.squared, x.output, x.bits, x.at_floor) for x in found),
    )


def _draw(figure: Figure, found: list[Loss], null: list[Loss], ways: list[str]) -> None:
    axes = figure.subplots()
    place = np.arange(len(ways))
    for losses, shift, colour, label in (
        (found, -0.2, "#2f6fb0", "trained"),
        (null, 0.2, MUTED, "Gaussian, same rows"),
    ):
        shares = [1e6 * _mean(losses, way, lambda x: x.output) for way in ways]
        axes.barh(place + shift, shares, height=0.38, color=colour, label=label)
        for y, way, share in zip(place + shift, ways, shares, strict=True):
            axes.text(share, y, f" {_mean(losses, way, lambda x: x.bits):.2f} bits", va="center", fontsize=7)
    axes.set_yticks(place, ways)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("output energy lost (ppm); entropy of the symbols beside the bars")
    axes.legend()
