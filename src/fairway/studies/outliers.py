"""Tails of the weights, and whether heavy tails make a matrix sensitive to rounding (#1048, finding 5).

Rows and columns of different size give a heavy tail by themselves. So each kurtosis stands beside that of Gaussian
weights with the same rows, and with the same rows and columns: what exceeds the second is an outlier of its own.

Sensitivity is the share of a matrix's output energy that six bits lose, with the step of the row's largest weight and
no floor, weighed by the Hessian of the run (or by none, where there is none).
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import hypergeom, spearmanr
from torch import Tensor

from fairway.quant.gptq import relative_error
from fairway.records.style import MUTED, ROLE_COLOURS
from fairway.runtime.seeding import generator
from fairway.spec.roles import Role, role_of
from fairway.studies.inputs import Inputs
from fairway.studies.result import Result, Table
from fairway.studies.weights import (
    FREE,
    excess_kurtosis,
    gaussian_rows,
    gaussian_rows_columns,
    matrices,
    on_grid,
    run_tensors,
)

BEYOND_SIGMAS = 4.0
"""Weights beyond so many standard deviations of their matrix are counted: 63 in a million of a Gaussian's."""
TOP_COLUMNS = 0.1
"""Share of the columns that are called outliers of a matrix."""

_DRAWS, _QUICK_DRAWS = 8, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """One matrix beside its Gaussian twins."""

    checkpoint: str
    name: str
    role: Role
    std: float
    kurtosis: float
    kurtosis_rows: float
    """Mean over Gaussian matrices with the same rows."""
    kurtosis_both: float
    """The same with rows and columns."""
    spread_both: float
    """Standard deviation over those."""
    beyond_ppm: float
    beyond_both_ppm: float
    error: float
    """Share of the output's energy that rounding to six bits loses."""
    error_both: float
    """That of a Gaussian matrix with the same rows and columns, under the same Hessian."""


def study(inputs: Inputs) -> Result:
    """Kurtosis, tails, sensitivity, and columns that outliers of different layers share."""
    found, overlaps, weighted = [], [], True
    for place, checkpoint in enumerate(inputs.checkpoints):
        inputs.progress(f"outliers: {checkpoint.name}")
        hessians = run_tensors(inputs, place, "hessians.safetensors")
        named = matrices(checkpoint)
        for name, w_OI in named.items():
            weighted &= name in hessians
            h_II = hessians.get(name, torch.eye(w_OI.shape[1]))
            draws = _QUICK_DRAWS if inputs.quick else _DRAWS
            found.append(tails(checkpoint.name, name, w_OI, h_II, draws))
        overlaps += [(checkpoint.name, *pair) for pair in column_overlaps(named)]
    return _told(found, overlaps, weighted)


def tails(checkpoint: str, name: str, w_OI: Float[Tensor, "O I"], h_II: Float[Tensor, "I I"], draws: int) -> Tails:
    """A matrix and ``draws`` Gaussian matrices of each kind."""
    dice = generator(0, f"outliers {checkpoint} {name}")
    rows = [excess_kurtosis(gaussian_rows(w_OI, dice)) for _ in range(draws)]
    twins = [gaussian_rows_columns(w_OI, dice) for _ in range(draws)]
    both = [excess_kurtosis(twin_OI) for twin_OI in twins]
    return Tails(
        checkpoint=checkpoint,
        name=name,
        role=role_of(name),
        std=float(w_OI.std()),
        kurtosis=excess_kurtosis(w_OI),
        kurtosis_rows=float(np.mean(rows)),
        kurtosis_both=float(np.mean(both)),
        spread_both=float(np.std(both, ddof=1)) if draws > 1 else 0.0,
        beyond_ppm=_beyond_ppm(w_OI),
        beyond_both_ppm=float(np.mean([_beyond_ppm(twin_OI) for twin_OI in twins])),
        error=_six_bit_error(w_OI, h_II),
        error_both=float(np.mean([_six_bit_error(twin_OI, h_II) for twin_OI in twins[:2]])),
    )


def _beyond_ppm(w_OI: Tensor) -> float:
    return 1e6 * float((w_OI.abs() > BEYOND_SIGMAS * w_OI.std()).float().mean())


def _six_bit_error(w_OI: Tensor, h_II: Tensor) -> float:
    q_OI, step_O = on_grid(w_OI, FREE)
    return relative_error(w_OI, q_OI.float() * step_O[:, None], h_II.float())


def column_overlaps(named: dict[str, Tensor]) -> list[tuple[str, str, float, float, float]]:
    """K of every two layers: how far their outlier columns are the same.

    Names, Jaccard index, that expected of columns drawn at random, and the chance that the best of all pairs of random
    choices reaches what this pair has.
    """
    keys = {name: w_OI for name, w_OI in named.items() if role_of(name) is Role.KEY}
    pairs = list(itertools.combinations(keys, 2))
    found = []
    for one, other in pairs:
        columns = keys[one].shape[1]
        if keys[other].shape[1] != columns:
            continue
        top = max(1, round(TOP_COLUMNS * columns))
        shared = len(_outlier_columns(keys[one], top) & _outlier_columns(keys[other], top))
        sizes = np.arange(top + 1)
        chance = hypergeom.pmf(sizes, columns, top, top)
        expected = float((chance * sizes / (2 * top - sizes)).sum())
        at_least = min(float(hypergeom.sf(shared - 1, columns, top, top)), 1 - 1e-16)
        of_best = -float(np.expm1(len(pairs) * np.log1p(-at_least)))
        found.append((one, other, shared / (2 * top - shared), expected, of_best))
    return found


def _outlier_columns(w_OI: Tensor, top: int) -> set[int]:
    return set(w_OI.pow(4).sum(0).topk(top).indices.tolist())


def _told(found: list[Tails], overlaps: list[tuple[str, str, str, float, float, float]], weighted: bool) -> Result:
    heaviest = {c: max((t for t in found if t.checkpoint == c), key=lambda t: t.kurtosis) for c in _checkpoints(found)}
    worst = {c: max((t for t in found if t.checkpoint == c), key=lambda t: t.error) for c in _checkpoints(found)}
    top = max(heaviest.values(), key=lambda t: t.kurtosis)
    count = sum(t.checkpoint == top.checkpoint for t in found)
    alike = max(list(each.name for each in heaviest.values()).count(t.name) for t in heaviest.values())
    rho = {c: _rank_correlation([t for t in found if t.checkpoint == c]) for c in heaviest}
    own = sum(abs(t.kurtosis - t.kurtosis_both) > 3 * max(t.spread_both, 1e-3) for t in found)
    explained = _share_explained(found)
    best = max(overlaps, key=lambda pair: pair[3]) if overlaps else None
    numbers = {
        "kurtosis_top": top.kurtosis,
        "kurtosis_top_rows": top.kurtosis_rows,
        "kurtosis_top_both": top.kurtosis_both,
        "kurtosis_mean": float(np.mean([t.kurtosis for t in found])),
        "kurtosis_mean_both": float(np.mean([t.kurtosis_both for t in found])),
        "kurtosis_explained": explained,
        "checkpoints_alike": float(alike),
        "rank_correlation": float(np.mean(list(rho.values()))),
        "rank_correlation_null": float(1.96 / np.sqrt(max(1, count - 1))),
        "error_top": max(t.error for t in worst.values()),
        "overlap_top": best[3] if best else float("nan"),
        "overlap_expected": best[4] if best else float("nan"),
        "overlap_chance": best[5] if best else float("nan"),
    }
    paragraph = (
        f"The heaviest tail is that of {top.name} in {top.checkpoint}: excess kurtosis {top.kurtosis:.2f}, where"
        f" Gaussian weights with the same rows have {top.kurtosis_rows:.2f} and with the same rows and columns"
        f" {top.kurtosis_both:.2f}. The mean over all matrices is {numbers['kurtosis_mean']:.2f} against"
        f" {numbers['kurtosis_mean_both']:.2f}: different sizes of rows and columns account for {explained:.0%} of the"
        f" variance of kurtosis over matrices, and {own} of {len(found)} lie more than three standard deviations of the"
        " null away from it."
        f" The same matrix is heaviest in {alike} of {len(heaviest)} checkpoints (by chance two agree once in {count})."
        f" Kurtosis and the share of output that six bits lose have rank correlation {numbers['rank_correlation']:+.2f}"
        f" (unrelated ones stay within ±{numbers['rank_correlation_null']:.2f} in 95% of cases); most is lost in"
        f" {', '.join(f'{t.name} ({c})' for c, t in worst.items())}"
        f"{'' if weighted else ', with no Hessian to weigh by'}."
    )
    if best:
        paragraph += (
            f" Outlier columns of K are shared most by {best[1]} and {best[2]} ({best[0]}): Jaccard {best[3]:.2f},"
            f" {best[4]:.2f} expected of random columns (p = {best[5]:.2g} for the best of all pairs)."
        )
    rows = tuple(
        (
            *(t.checkpoint, t.name, t.role.value, t.std, t.kurtosis, t.kurtosis_rows, t.kurtosis_both, t.spread_both),
            *(t.beyond_ppm, t.beyond_both_ppm, t.error, t.error_both),
        )
        for t in sorted(found, key=lambda t: (t.checkpoint, -t.kurtosis))
    )
    tables = {
        "tails": Table(
            columns=(
                *("checkpoint", "tensor", "role", "std", "excess_kurtosis", "null_rows_kurtosis"),
                *("null_rows_columns_kurtosis", "null_rows_columns_kurtosis_std", "beyond_4_sigmas_ppm"),
                *("null_beyond_4_sigmas_ppm", "output_error_share", "null_output_error_share"),
            ),
            rows=rows,
        ),
        "columns": Table(
            columns=("checkpoint", "tensor", "other", "jaccard", "null_jaccard", "null_p_of_best_pair"),
            rows=tuple(overlaps),
        ),
    }
    return Result(
        study="outliers",
        title="Tails of the weights beside Gaussian weights with the same rows and columns",
        tables=tables,
        draw=lambda figure: _draw(figure, found),
        paragraph=paragraph,
        null=(
            "Independent Gaussian weights whose rows, or rows and columns, have the mean squares of the trained ones;"
            " columns drawn at random for the overlaps."
        ),
        numbers=numbers,
    )


def _checkpoints(found: list[Tails]) -> list[str]:
    return list(dict.fromkeys(t.checkpoint for t in found))


def _rank_correlation(found: list[Tails]) -> float:
    if len({t.kurtosis for t in found}) < 2 or len({t.error for t in found}) < 2:
        return float("nan")
    return float(spearmanr([t.kurtosis for t in found], [t.error for t in found]).statistic)


def _share_explained(found: list[Tails]) -> float:
    """Share of the variance of kurtosis over matrices that the null predicts (1 - residual / total, at least 0)."""
    measured = np.array([t.kurtosis for t in found])
    rest = measured - np.array([t.kurtosis_both for t in found])
    total = float(((measured - measured.mean()) ** 2).sum())
    return max(0.0, 1.0 - float((rest**2).sum()) / total) if total > 0 else 0.0


def _draw(figure: Figure, found: list[Tails]) -> None:
    left, right = figure.subplots(1, 2)
    for role in dict.fromkeys(t.role for t in found):
        those = [t for t in found if t.role is role]
        colour = ROLE_COLOURS[role.value]
        left.scatter(
            [t.kurtosis_both for t in those], [t.kurtosis for t in those], s=18, color=colour, label=role.value
        )
        right.scatter([t.kurtosis for t in those], [1e6 * t.error for t in those], s=18, color=colour)
    most = max(max(t.kurtosis, t.kurtosis_both) for t in found)
    left.plot([0, most], [0, most], color=MUTED, linewidth=0.8)
    left.set(xlabel="excess kurtosis of Gaussian weights,\nsame rows and columns", ylabel="excess kurtosis, trained")
    left.legend(fontsize=7)
    right.set(xlabel="excess kurtosis, trained", ylabel="output energy lost by six bits (ppm)")
