"""Averages of one trajectory's weights: raw, EMA, SWA and LAWA by size, bytes and score (#1048, finding 4).

#1048 compares an EMA of 8,672 steps with an SWA of 5,532: weights 2.3 times smaller, artifact 24% smaller, and calls
them smoother. Two things differ there, the average and the length of the run, and bytes at a fixed step of 1/31 follow
the size of the weights alone (recipes D.1). A checkpoint holds only its averaged weights, so this study trains by
itself: the recipe for few steps, all averages taken from the same steps, and once more with the share 5,532 / 8,672 of
the steps.

The null model is raw weights shrunk matrix by matrix to the spread of the average: where they take the same bytes, size
is all there is to smoothness. Late replay, late rounding and late freezing of a recipe are left out.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from fairway.data.batches import Batch
from fairway.main import training_batches
from fairway.model.ahead import add_ahead_map
from fairway.model.banks import unbank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.model.weights import bake_symmetry
from fairway.optim.average import Snapshots
from fairway.optim.ema import Ema
from fairway.optim.schedule import rate_scale
from fairway.records.style import MUTED
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import generator
from fairway.spec.mechanisms import Mtp, SymLayers, SymMix
from fairway.spec.model import Loops
from fairway.spec.optim import LawaAverage, SwaAverage
from fairway.spec.quant import Grid, QuantileGrid
from fairway.spec.recipe import Recipe
from fairway.spec.roles import MATRIX_ROLES, Role, is_named, role_of
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.result import Result, Table
from fairway.studies.scoring import flat_bpb, opening_text
from fairway.studies.weights import CODECS, FLOOR, FLOORED, excess_kurtosis, laid, on_grid
from fairway.train.step import Stepper

STEPS, QUICK_STEPS = 120, 12
SHORTER = 5532 / 8672
"""Steps of #1048's SWA run over those of its EMA run."""
REPORTED_STD = (0.2056, 0.0912)
"""Of MLP up in #1048's EMA and SWA checkpoints."""
TOKENS, _QUICK_TOKENS = 8_000, 1_000
"""At least so many of validation; whole documents."""
SWA_BELOW = 0.5
"""Rate multiplier below which snapshots are averaged, as in #198."""

_SWA_SNAPSHOTS, _LAWA_KEEP, _LAWA_SHARE, _EMA_SHARE = 16, 10, 1 / 7, 1 / 6
_SIGMAS = Grid(bits=6, clip_sigmas=12.85)
_MOST_SECONDS = 600.0
_SEED = 1
_WAYS = ("raw", "EMA", "SWA", "LAWA")

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaged:
    """One set of weights of one run."""

    steps: int
    way: str
    std_up: float
    std_down: float
    kurtosis_up: float
    roughness: float
    """Mean difference of neighbouring weights of a row over their standard deviation; independent ones have 1.128."""
    roughness_shuffled: float
    floor_bytes: int
    """Symbols with the step 1/31, each matrix by the range coder."""
    zstd_bytes: int
    """The same by zstd, all matrices in one stream."""
    shrunk_bytes: int
    """As ``floor_bytes``, of raw weights that have each matrix's spread."""
    sigma_bytes: int
    """The same of the average with a step in proportion to each row's spread."""
    bpb: float
    shrunk_bpb: float
    """Not of the shorter run, like the next: NaN."""
    floor_bpb: float
    """With the symbols of step 1/31."""


def study(inputs: Inputs) -> Result:
    """Two runs, four sets of weights each; ``Needs`` without a recipe, training text and validation text."""
    recipe = inputs.recipe
    if recipe is None or inputs.train is None:
        raise Needs("study averaging trains by itself: give --recipe and --data FOLDER with train/ and val/")
    text = opening_text(inputs, recipe, _QUICK_TOKENS if inputs.quick else TOKENS)
    steps = QUICK_STEPS if inputs.quick else STEPS
    found = []
    for count in (steps, max(2, round(SHORTER * steps))):
        inputs.progress(f"averaging: {count} steps of {recipe.name}")
        ways = trajectory(recipe, inputs, count)
        for way in _WAYS:
            inputs.progress(f"averaging: {way} after {count} steps")
            shrunk, is_long = shrunk_to(ways["raw"], ways[way]), count == steps
            bpb = flat_bpb(recipe, ways[way], text)
            found.append(
                Averaged(
                    steps=count,
                    way=way,
                    std_up=_std(ways[way], Role.MLP_UP),
                    std_down=_std(ways[way], Role.MLP_DOWN),
                    kurtosis_up=_kurtosis(ways[way], Role.MLP_UP),
                    roughness=roughness(ways[way]),
                    roughness_shuffled=roughness(_shuffled(ways[way])),
                    floor_bytes=_bytes(ways[way], FLOORED),
                    zstd_bytes=CODECS["zstd"](laid([on_grid(w, FLOORED)[0] for w in _blocks(ways[way]).values()])),
                    shrunk_bytes=_bytes(shrunk, FLOORED),
                    sigma_bytes=_bytes(ways[way], _SIGMAS),
                    bpb=bpb,
                    shrunk_bpb=math.nan if not is_long else bpb if way == "raw" else flat_bpb(recipe, shrunk, text),
                    floor_bpb=flat_bpb(recipe, _rounded(ways[way]), text) if is_long else math.nan,
                )
            )
    return _told(found, recipe, text.words)


def trajectory(recipe: Recipe, inputs: Inputs, steps: int) -> dict[str, dict[str, Tensor]]:
    """The weights of one run and their averages over its steps, by names outside banks.

    EMA has its decay's horizon at a sixth of the steps, as pocket's; SWA takes 16 snapshots while the rate is below
    half; LAWA holds the last 10 of one every seventieth of the run. ``Needs`` if the first step says that it would
    take more than ten minutes.
    """
    assert inputs.train is not None
    spec, ranks = recipe.model, Ranks(rank=0, world=1, device=torch.device("cpu"))
    model = Gpt(spec)
    initialise(model, _SEED)
    if isinstance(spec.mtp, Mtp):
        add_ahead_map(model, spec)
    small = replace(recipe, train=replace(recipe.train, prefetch=0, compile=False))
    batches = training_batches(small, inputs.train, ranks)
    stepper = Stepper(model, replace(recipe.optim, muon=replace(recipe.optim.muon, engine="replicated")), ranks)
    averages: dict[str, Ema | Snapshots] = {
        "EMA": Ema(stepper.parameters, max(0.0, 1.0 - 1.0 / (_EMA_SHARE * steps))),
        "SWA": Snapshots(stepper.parameters, SwaAverage(every=_every_swa(recipe, steps), below_scale=SWA_BELOW)),
        "LAWA": Snapshots(stepper.parameters, LawaAverage(every=_every_lawa(steps), keep=_LAWA_KEEP)),
    }
    began = time.perf_counter()
    for step in range(steps):
        share = step / steps
        looped = isinstance(spec.loops, Loops) and share >= spec.loops.start_fraction
        scale = rate_scale(share, recipe.optim)
        micro_batches = [next(batches) for _ in range(small.train.batch_tokens // small.train.micro_batch_tokens)]
        stepper.step(lambda batch: _loss(model, batch, looped), micro_batches, lr_scale=scale, momentum_step=step)  # noqa: B023
        for average in averages.values():
            if isinstance(average, Snapshots):
                average.look(step + 1, scale)
            average.update()
        if (expected := (time.perf_counter() - began) * steps / (step + 1)) > _MOST_SECONDS:
            raise Needs(
                f"study averaging would train {recipe.name} for {expected:.0f} s; give a smaller recipe (--recipe)"
            )
    ways = {"raw": _weights(model, recipe)}
    for way, average in averages.items():
        average.load_into_weights()
        ways[way] = _weights(model, recipe)
    return ways


def _every_swa(recipe: Recipe, steps: int) -> int:
    return max(1, round(SWA_BELOW * recipe.optim.warmdown_fraction * steps / _SWA_SNAPSHOTS))


def _every_lawa(steps: int) -> int:
    return max(1, round(_LAWA_SHARE * steps / _LAWA_KEEP))


def _loss(model: Gpt, batch: Batch, looped: bool) -> Tensor:
    bounds = batch.cu_seqlens
    longest = None if bounds is None else int(bounds.diff().max())
    loss: Tensor = model.loss(batch.inputs_BT, batch.targets_BT, looped=looped, cu_seqlens=bounds, max_len=longest)
    return loss


@torch.no_grad()
def _weights(model: Gpt, recipe: Recipe) -> dict[str, Tensor]:
    """A copy of what a checkpoint would hold."""
    named = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    if isinstance(recipe.model.symmetry, SymMix | SymLayers):
        bake_symmetry(named, recipe.model)
    if isinstance(recipe.model.mtp, Mtp):
        plain = Gpt(recipe.model)
        named = {name: named[name] for name, _ in plain.named_parameters()}
    return unbank(named, recipe.model)


def _blocks(state: State) -> dict[str, Tensor]:
    return {name: w for name, w in state.items() if is_named(name) and role_of(name) in MATRIX_ROLES}


def shrunk_to(raw: State, average: State) -> dict[str, Tensor]:
    """The raw weights, each block matrix scaled to the root mean square of the average's; all else is the average's."""
    blocks = _blocks(raw)
    return {
        name: blocks[name] * (w.square().mean() / blocks[name].square().mean().clamp_min(1e-30)).sqrt()
        if name in blocks
        else w
        for name, w in average.items()
    }


def _bytes(state: State, grid: Grid | QuantileGrid) -> int:
    return sum(CODECS["range"](laid([on_grid(w_OI, grid)[0]])) for w_OI in _blocks(state).values())


def _rounded(state: State) -> dict[str, Tensor]:
    rounded = {name: on_grid(w_OI, FLOORED) for name, w_OI in _blocks(state).items()}
    return {**state, **{name: q_OI.float() * step_O[:, None] for name, (q_OI, step_O) in rounded.items()}}


def _of_role(state: State, role: Role) -> Float[Tensor, " N"]:
    return torch.cat([w.flatten() for name, w in _blocks(state).items() if role_of(name) is role])


def _std(state: State, role: Role) -> float:
    return float(_of_role(state, role).std())


def _kurtosis(state: State, role: Role) -> float:
    return excess_kurtosis(_of_role(state, role))


def roughness(state: State) -> float:
    """Mean over block matrices of |difference of neighbours in a row| over the standard deviation."""
    return float(np.mean([float(w.diff(dim=1).abs().mean() / w.std()) for w in _blocks(state).values()]))


def _shuffled(state: State) -> dict[str, Tensor]:
    dice = generator(0, "averaging")
    return {
        name: w.flatten()[torch.randperm(w.numel(), generator=dice)].view_as(w) for name, w in _blocks(state).items()
    }


def gaussian_bits(std: float, step: float) -> float:
    """Entropy in bits of a Gaussian rounded to multiples of a step."""
    edges = (torch.arange(-2000, 2002, dtype=torch.float64) - 0.5) * step / std
    shares = torch.special.ndtr(edges).diff()
    return float(torch.special.entr(shares).sum()) / math.log(2)


def _told(found: list[Averaged], recipe: Recipe, text: str) -> Result:
    long = {each.way: each for each in found if each.steps == found[0].steps}
    short = {each.way: each for each in found if each.steps == found[-1].steps}
    numbers = {"steps": float(found[0].steps), "steps_short": float(found[-1].steps)}
    for label, ways in (("", long), ("short_", short)):
        for way, each in ways.items():
            key = f"{label}{way.lower()}"
            numbers |= {
                f"{key}_std_up": each.std_up,
                f"{key}_kurtosis_up": each.kurtosis_up,
                f"{key}_floor_bytes": float(each.floor_bytes),
                f"{key}_zstd_bytes": float(each.zstd_bytes),
                f"{key}_shrunk_bytes": float(each.shrunk_bytes),
                f"{key}_sigma_bytes": float(each.sigma_bytes),
                f"{key}_bpb": each.bpb,
                f"{key}_shrunk_bpb": each.shrunk_bpb,
                f"{key}_floor_bpb": each.floor_bpb,
            }
    reported = [gaussian_bits(std, FLOOR) for std in REPORTED_STD]
    numbers["reported_bits_ratio"] = reported[1] / reported[0]
    numbers["swa_over_ema_bytes"] = long["SWA"].floor_bytes / long["EMA"].floor_bytes
    numbers["swa_over_ema_std"] = long["SWA"].std_up / long["EMA"].std_up
    numbers["swa_over_ema_sigma_bytes"] = long["SWA"].sigma_bytes / long["EMA"].sigma_bytes
    numbers["short_swa_over_ema_bytes"] = short["SWA"].floor_bytes / long["EMA"].floor_bytes
    numbers["short_swa_over_ema_std"] = short["SWA"].std_up / long["EMA"].std_up
    unlike = max(abs(each.shrunk_bytes / each.floor_bytes - 1) for each in found)
    numbers["largest_shrunk_difference"] = unlike
    numbers["largest_sigma_difference"] = (
        max(each.sigma_bytes for each in found) / min(each.sigma_bytes for each in found) - 1
    )

    def listed(ways: Mapping[str, Averaged], field: str, form: str) -> str:
        return ", ".join(f"{way} {format(getattr(each, field), form)}" for way, each in ways.items())

    paragraph = (
        f"{found[0].steps} steps of {recipe.name}, trained here: MLP up has standard deviation"
        f" {listed(long, 'std_up', '.4f')}, excess kurtosis {listed(long, 'kurtosis_up', '.2f')}; with the step 1/31"
        f" the range coder makes {listed(long, 'floor_bytes', ',d')} bytes of the block matrices. Raw weights shrunk to"
        f" each average's spread take the same within {unlike:.2%}, and with a step in proportion to each row's spread"
        f" all take the same within {numbers['largest_sigma_difference']:.2%}. Neighbours"
        f" in a row differ by {min(e.roughness for e in found):.3f} to {max(e.roughness for e in found):.3f} standard"
        f" deviations ({min(e.roughness_shuffled for e in found):.3f} to {max(e.roughness_shuffled for e in found):.3f}"
        " once shuffled)."
        f" SWA over EMA of the same run: spread {numbers['swa_over_ema_std']:.3f}, bytes"
        f" {numbers['swa_over_ema_bytes']:.3f}; SWA of a run of {found[-1].steps} steps over it:"
        f" {numbers['short_swa_over_ema_std']:.3f} and {numbers['short_swa_over_ema_bytes']:.3f}. For the spreads that"
        f" #1048 reports a Gaussian predicts {numbers['reported_bits_ratio']:.3f}, where its artifacts have 0.76."
        f" Bits per byte on {text}: {listed(long, 'bpb', '.4f')}; of raw weights shrunk alike"
        f" {listed(long, 'shrunk_bpb', '.4f')}; with symbols of step 1/31 {listed(long, 'floor_bpb', '.4f')}; after"
        f" {found[-1].steps} steps {listed(short, 'bpb', '.4f')}."
    )
    columns = (
        *("steps", "weights", "std_mlp_up", "std_mlp_down", "excess_kurtosis_mlp_up", "neighbour_difference_stds"),
        *("null_shuffled_neighbour_difference_stds", "fixed_step_bytes", "null_shrunk_raw_fixed_step_bytes"),
        *(
            "fixed_step_zstd_bytes",
            "sigma_step_bytes",
            "bits_per_byte",
            "null_shrunk_raw_bits_per_byte",
            "fixed_step_bits_per_byte",
        ),
    )
    rows = tuple(
        (
            *(e.steps, e.way, e.std_up, e.std_down, e.kurtosis_up, e.roughness, e.roughness_shuffled, e.floor_bytes),
            *(e.shrunk_bytes, e.zstd_bytes, e.sigma_bytes, e.bpb, e.shrunk_bpb, e.floor_bpb),
        )
        for e in found
    )
    return Result(
        study="averaging",
        title="Averages of one run's weights: size, bytes and score",
        tables={"averages": Table(columns=columns, rows=rows)},
        draw=lambda figure: _draw(figure, found),
        paragraph=paragraph,
        null=(
            "Raw weights of the same run, each matrix shrunk to the spread that it has in the average; shuffled weights"
            " for the differences of neighbours."
        ),
        numbers=numbers,
    )


def _draw(figure: Figure, found: list[Averaged]) -> None:
    left, right = figure.subplots(1, 2)
    for steps, marker in zip(dict.fromkeys(each.steps for each in found), "os", strict=True):
        those = [each for each in found if each.steps == steps]
        spreads = [each.std_up for each in those]
        left.plot(spreads, [e.shrunk_bytes / 1000 for e in those], "_", color=MUTED, markersize=14)
        left.plot(spreads, [e.floor_bytes / 1000 for e in those], marker, label=f"{steps} steps, step 1/31")
        left.plot(
            spreads, [e.sigma_bytes / 1000 for e in those], marker, fillstyle="none", label=f"{steps} steps, sigmas"
        )
        right.plot([e.floor_bytes / 1000 for e in those], [e.bpb for e in those], marker, label=f"{steps} steps")
        for e in those:
            left.annotate(
                e.way, (e.std_up, e.floor_bytes / 1000), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
            right.annotate(e.way, (e.floor_bytes / 1000, e.bpb), fontsize=7, xytext=(3, 3), textcoords="offset points")
    left.set(xlabel="standard deviation of MLP up", ylabel="bytes of block matrices (thousands); bar: raw, shrunk")
    left.legend(fontsize=7)
    right.set(xlabel="bytes at step 1/31 (thousands)", ylabel="bits per byte, float weights")
    right.legend(fontsize=7)
