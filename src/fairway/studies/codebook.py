"""Codebooks of K values against uniform steps of equal rate (#212 finding 24).

#212 compares k-means with 256 values to six bits with the step 1/31: 87% less squared error, 25% more bytes. That is
two points of different rate. Here every codebook stands beside the uniform grid, one step a matrix, whose symbols have
the *same entropy*: what remains is what the codebook is worth. At high rate theory has the uniform step win: entropy
coding takes away what uneven levels are for (Gish and Pierce 1968), and a codebook has its K values to store besides.

K-means is Lloyd's algorithm on the scalars of a matrix. Begun at evenly spaced quantiles it is far from done after
hundreds of rounds if there are many levels; so it also begins where high-rate theory has the best levels of a Gaussian,
at the quantiles of one that is sqrt(3) times as wide (Panter and Dite 1951), and the better end is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from fairway.records.style import MUTED
from fairway.runtime.seeding import generator
from fairway.studies.inputs import Inputs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.weights import CODECS, FLOORED, entropy_bits, gaussian_rows, matrices, on_grid

SIZES = (8, 16, 32, 64, 128, 256)
_QUICK_SIZES = (16, 256)
_ROUNDS, _QUICK_ROUNDS = 60, 10
_BISECTIONS = 22
_LARGEST = 8191
_VALUE_BYTES = 2
"""Of a codebook's value, or of a step."""
_PACKED = ("zstd", "range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One way of storing all matrices of a checkpoint: sums and means over their weights."""

    squared: float
    """Mean squared error over mean square of the weights."""
    bits: float
    """Entropy of a symbol."""
    sizes: Mapping[str, int]
    """Bytes by codec, values of the codebook or steps included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A codebook and the uniform grid of its rate."""

    checkpoint: str
    weights: str
    """``trained`` or ``gaussian``."""
    size: int
    codebook: Point
    uniform: Point


def study(inputs: Inputs) -> Result:
    """Every size of codebook for every checkpoint, trained and Gaussian, and six bits with the floor beside them."""
    pairs: list[Pair] = []
    floored: dict[str, Point] = {}
    for checkpoint in inputs.checkpoints[:1] if inputs.quick else inputs.checkpoints:
        inputs.progress(f"codebook: {checkpoint.name}")
        named = matrices(checkpoint, embeddings=False)
        twins = {
            name: gaussian_rows(w_OI, generator(0, f"codebook {checkpoint.name} {name}"))
            for name, w_OI in named.items()
        }
        floored[checkpoint.name] = _floored(named)
        for weights, those in (("trained", named), ("gaussian", twins))[: 1 if pairs else 2]:
            for size in _QUICK_SIZES if inputs.quick else SIZES:
                rounds = _QUICK_ROUNDS if inputs.quick else _ROUNDS
                codebook, uniform = compared(list(those.values()), size, rounds)
                pairs.append(
                    Pair(checkpoint=checkpoint.name, weights=weights, size=size, codebook=codebook, uniform=uniform)
                )
    return _told(pairs, floored)


def k_means(values_N: Float[Tensor, " N"], size: int, rounds: int) -> tuple[Float[Tensor, " K"], UInt8[Tensor, " N"]]:
    """Levels, ascending, and the nearest of them for each value; Lloyd's algorithm from two beginnings."""
    sorted_N = values_N.double().sort().values
    shares_K = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    wide_K = sorted_N.mean() + 3**0.5 * sorted_N.std() * torch.special.ndtri(shares_K)
    begun = (wide_K, sorted_N[(shares_K * len(sorted_N)).long()])
    ended = [_lloyd(sorted_N, levels_K, rounds) for levels_K in begun]
    levels_K, nearest_N = min(
        ((levels_K, _nearest(values_N.double(), levels_K)) for levels_K in ended),
        key=lambda end: float((end[0][end[1]] - values_N).square().sum()),
    )
    return levels_K.float(), nearest_N.to(torch.uint8)


def _nearest(values_N: Tensor, levels_K: Tensor) -> Tensor:
    return torch.bucketize(values_N, (levels_K[1:] + levels_K[:-1]) / 2)


def _lloyd(sorted_N: Tensor, levels_K: Tensor, rounds: int) -> Tensor:
    sums_N1 = torch.cat([sorted_N.new_zeros(1), sorted_N.cumsum(0)])
    for _ in range(rounds):
        edges = torch.searchsorted(sorted_N, (levels_K[1:] + levels_K[:-1]) / 2)
        bounds = torch.cat([edges.new_zeros(1), edges, edges.new_tensor([len(sorted_N)])])
        counts_K = bounds.diff()
        means_K = sums_N1[bounds].diff() / counts_K.clamp_min(1)
        moved_K = torch.where(counts_K > 0, means_K, levels_K)
        if torch.equal(moved_K, levels_K):
            break
        levels_K = moved_K
    return levels_K


def uniform_of_rate(values_N: Float[Tensor, " N"], bits: float) -> tuple[float, Int16[Tensor, " N"]]:
    """The step whose rounded values have this entropy, nearly and no more, and its symbols."""
    most = float(values_N.abs().max()) or 1.0
    low, high = most / _LARGEST, 2.0 * most
    for _ in range(_BISECTIONS):
        step = (low * high) ** 0.5
        if entropy_bits((values_N / step).round().int()) > bits:
            low = step
        else:
            high = step
    return high, (values_N / high).round().to(torch.int16)


def compared(named: list[Tensor], size: int, rounds: int) -> tuple[Point, Point]:
    """All matrices by codebooks of ``size`` values, one a matrix, and by one uniform step a matrix of the same rate."""
    sums = np.zeros((2, 3))
    streams: tuple[list[bytes], list[bytes]] = ([], [])
    for w_OI in named:
        values_N = w_OI.T.flatten()
        levels_K, nearest_N = k_means(values_N, size, rounds)
        bits = entropy_bits(nearest_N)
        step, symbols_N = uniform_of_rate(values_N, bits)
        tried = ((levels_K[nearest_N.long()], bits), (symbols_N.float() * step, entropy_bits(symbols_N)))
        for place, (restored_N, entropy) in enumerate(tried):
            squared = float((restored_N - values_N).double().square().sum())
            sums[place] += squared, float(values_N.double().square().sum()), entropy * len(values_N)
        # centred, as symbols of a grid are: the range coder looks for them around zero
        streams[0].append((nearest_N.to(torch.int16) - size // 2).to(torch.int8).numpy().tobytes())
        streams[1].extend(_planes(symbols_N))
    count = sum(w_OI.numel() for w_OI in named)
    beside = (len(named) * size * _VALUE_BYTES, len(named) * _VALUE_BYTES)
    codebook, uniform = (
        Point(
            squared=float(sums[place, 0] / sums[place, 1]),
            bits=float(sums[place, 2] / count),
            sizes={codec: beside[place] + sum(CODECS[codec](each) for each in streams[place]) for codec in _PACKED},
        )
        for place in (0, 1)
    )
    return codebook, uniform


def _planes(symbols_N: Int16[Tensor, " N"]) -> list[bytes]:
    """Symbols as bytes, and a second plane that tells the few beyond a byte, if there are any."""
    high_N = ((symbols_N + 128) >> 8).to(torch.int8)
    planes = [symbols_N.to(torch.int8), *([high_N] if bool(high_N.any()) else [])]
    return [plane_N.numpy().tobytes() for plane_N in planes]


def _floored(named: Mapping[str, Tensor]) -> Point:
    squared = energy = bits = 0.0
    sizes = dict.fromkeys(_PACKED, 0)
    for w_OI in named.values():
        q_OI, step_O = on_grid(w_OI, FLOORED)
        squared += float((q_OI.float() * step_O[:, None] - w_OI).double().square().sum())
        energy += float(w_OI.double().square().sum())
        bits += entropy_bits(q_OI) * q_OI.numel()
        for codec in sizes:
            sizes[codec] += CODECS[codec](q_OI.T.contiguous().numpy().tobytes()) + _VALUE_BYTES * len(q_OI)
    return Point(squared=squared / energy, bits=bits / sum(w.numel() for w in named.values()), sizes=sizes)


def _told(pairs: list[Pair], floored: Mapping[str, Point]) -> Result:
    trained = [pair for pair in pairs if pair.weights == "trained"]
    sizes = list(dict.fromkeys(pair.size for pair in pairs))

    def ratio(weights: str, size: int) -> float:
        """Squared error of the codebook over that of the uniform grid, geometric mean over checkpoints."""
        those = [pair for pair in pairs if pair.weights == weights and pair.size == size]
        return float(np.exp(np.mean([np.log(pair.codebook.squared / pair.uniform.squared) for pair in those])))

    largest = [pair for pair in trained if pair.size == max(sizes)]
    numbers: dict[str, float] = {}
    for size in sizes:
        numbers[f"error_ratio_{size}"] = ratio("trained", size)
        numbers[f"error_ratio_{size}_null"] = ratio("gaussian", size)
        those = [pair for pair in trained if pair.size == size]
        numbers[f"bits_{size}"] = float(np.mean([pair.codebook.bits for pair in those]))
        for codec in _PACKED:
            packed = [pair.codebook.sizes[codec] / pair.uniform.sizes[codec] for pair in those]
            numbers[f"{codec}_ratio_{size}"] = float(np.mean(packed))
    versus = [(pair, floored[pair.checkpoint]) for pair in largest]
    numbers["largest_squared_over_floor"] = float(np.mean([p.codebook.squared / f.squared for p, f in versus]))
    numbers["largest_zstd_over_floor"] = float(np.mean([p.codebook.sizes["zstd"] / f.sizes["zstd"] for p, f in versus]))
    numbers["uniform_squared_over_floor"] = float(np.mean([p.uniform.squared / f.squared for p, f in versus]))
    numbers["uniform_zstd_over_floor"] = float(np.mean([p.uniform.sizes["zstd"] / f.sizes["zstd"] for p, f in versus]))
    worse = [size for size in sizes if numbers[f"error_ratio_{size}"] > 1]
    ratios = ", ".join(f"{size}: {numbers[f'error_ratio_{size}']:.2f}" for size in sizes)
    nulls = ", ".join(f"{numbers[f'error_ratio_{size}_null']:.2f}" for size in sizes)
    packed_words = ", ".join(f"{numbers[f'zstd_ratio_{size}']:.3f}" for size in sizes)
    paragraph = (
        f"Against six bits with the floor 1/31, a codebook of {max(sizes)} values has"
        f" {1 - numbers['largest_squared_over_floor']:.0%} less squared error and takes"
        f" {numbers['largest_zstd_over_floor'] - 1:+.0%} bytes under zstd; the uniform step of the same entropy has"
        f" {1 - numbers['uniform_squared_over_floor']:.0%} less error at {numbers['uniform_zstd_over_floor'] - 1:+.0%}."
        " At equal entropy the squared error of the codebook over that of the uniform step is, by number of values,"
        f" {ratios} (Gaussian weights {nulls}), and its bytes under zstd over the other's {packed_words}: its error is"
        f" larger in {len(worse)} of {len(sizes)} sizes."
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            *(p.checkpoint, p.weights, p.size, p.codebook.bits, p.uniform.bits, p.codebook.squared, p.uniform.squared),
            *(point.sizes[codec] for codec in _PACKED for point in (p.codebook, p.uniform)),
        )
        for p in pairs
    )
    columns = (
        *("checkpoint", "weights", "values", "codebook_entropy_bits", "uniform_entropy_bits"),
        *("codebook_relative_squared_error", "uniform_relative_squared_error"),
        *(f"{way}_{codec}_bytes" for codec in _PACKED for way in ("codebook", "uniform")),
    )
    floor_rows: tuple[tuple[Cell, ...], ...] = tuple(
        (c, p.bits, p.squared, *(p.sizes[codec] for codec in _PACKED)) for c, p in floored.items()
    )
    floor_columns = ("checkpoint", "entropy_bits", "relative_squared_error", *(f"{codec}_bytes" for codec in _PACKED))
    return Result(
        study="codebook",
        title="Codebooks against uniform steps of the same entropy",
        tables={"sizes": Table(columns=columns, rows=rows), "floor": Table(columns=floor_columns, rows=floor_rows)},
        draw=lambda figure: _draw(figure, pairs, floored),
        paragraph=paragraph,
        null=(
            "The uniform grid, one step a matrix, whose symbols have the entropy of the codebook's; and the same"
            " comparison on Gaussian weights with the same rows."
        ),
        numbers=numbers,
    )


def _draw(figure: Figure, pairs: list[Pair], floored: Mapping[str, Point]) -> None:
    left, right = figure.subplots(1, 2)
    first = pairs[0].checkpoint
    those = [pair for pair in pairs if pair.checkpoint == first and pair.weights == "trained"]
    left.plot([p.codebook.bits for p in those], [p.codebook.squared for p in those], "o-", label="codebook")
    left.plot([p.uniform.bits for p in those], [p.uniform.squared for p in those], "s-", label="uniform step")
    left.plot(floored[first].bits, floored[first].squared, "k^", label="six bits, floor 1/31")
    left.set(yscale="log", xlabel="entropy (bits a weight)", ylabel="relative squared error")
    left.legend()
    for checkpoint in floored:
        for weights, line in (("trained", "o-"), ("gaussian", "--")):
            these = [pair for pair in pairs if pair.checkpoint == checkpoint and pair.weights == weights]
            if not these:
                continue
            ratios = [p.codebook.squared / p.uniform.squared for p in these]
            colour = {"color": MUTED} if weights == "gaussian" else {}
            right.plot([p.size for p in these], ratios, line, label=f"{checkpoint}, {weights}", **colour)
    right.axhline(1.0, color=MUTED, linewidth=0.8)
    right.set(xscale="log", xlabel="values of the codebook", ylabel="error of codebook over uniform, equal entropy")
    right.legend(fontsize=7)
