"""Matrices to their grids in batches, shared by threads and ranks, on GPUs where there are any.

Rows do not touch each other in GPTQ, so matrices that read one input make a stack; stacks of one shape make a batch,
which costs a GPU what one matrix costs it, for the columns come one after the other::

    layer 0   q k v  --+            o  --+        up  --+
    layer 1   q k v  --+-- batch    o  --+-- ..   up  --+-- ..
    layer 2   q k v  --+            o  --+        up  --+

Ranks share the stacks of each batch. On a CPU the threads of a process take one stack after the other and run torch
single-threaded: what is done to a column is so small that threads inside it wait for each other most of their time.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.errors import GateError
from fairway.quant.gptq import gptq_batch, output_energy
from fairway.quant.grid import decode
from fairway.quant.plan import Treatment, input_part
from fairway.quant.rotation import bake, bake_hessian
from fairway.quant.rounding import Both, Rounded, sound_steps
from fairway.quant.trellis_columns import nearest_symbols
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Gptq, Grid, Nearest, QuantileGrid, QuantSpec, TrellisGrid

Stack = Sequence[Treatment]
"""Matrices that read one input and have grids that differ in their steps at most."""


def round_in_batches(
    ranks: Ranks,
    treatments: Sequence[Treatment],
    state: Mapping[str, Tensor],
    hessians: Mapping[str, Tensor],
    turns: Mapping[str, Float[Tensor, "I I"]],
    quant: QuantSpec,
) -> dict[str, Both]:
    """Every matrix that has a grid, by name: what ``round_matrix`` gives, on every rank; each works at its own share.

    How the work is dealt changes nothing. Against one by one, the last bit of a weight may differ where a stack's rows
    are no multiple of the CPU's vectors, and on a GPU; a symbol then differs where a weight lay between two.
    ``GateError`` also if matrices that read one input have two Hessians.
    """
    batches = stacked([t for t in treatments if t.grid is not None], hessians)
    threads, device = torch.get_num_threads(), ranks.device
    moved = {part: turn_II.to(device) for part, turn_II in turns.items()}
    mine = [share for batch in batches if (share := batch[ranks.rank :: ranks.world])]
    has_gpu = device.type == "cuda"
    parts = mine if has_gpu else [part for batch in mine for part in _batches_parts(batch, threads)]
    found: dict[str, Both] = {}

    def work(part: Sequence[Stack]) -> dict[str, Both]:
        weights = [[state[t.name].to(device).float() for t in stack] for stack in part]
        moments = [hessians[stack[0].name].to(device).float() for stack in part]
        return _batches_both(part, weights, moments, moved.get(input_part(part[0][0].name) or ""), quant)

    torch.set_num_threads(1)  # of every thread that begins from here on
    try:
        with ThreadPoolExecutor(threads) as pool:
            for both in (map if has_gpu or threads == 1 else pool.map)(work, parts):
                found |= both
    finally:
        torch.set_num_threads(threads)
    return _batches_gathered([t for batch in batches for stack in batch for t in stack], found, quant, ranks)


def _batches_parts(batch: Sequence[Stack], threads: int) -> list[Sequence[Stack]]:
    """What a thread of a CPU takes at a time: one stack; of paths through a trellis its share of all, as a GPU does."""
    if isinstance(batch[0][0].grid, TrellisGrid):
        return [share for first in range(threads) if (share := batch[first::threads])]
    return [[stack] for stack in batch]


def stacked(treatments: Sequence[Treatment], hessians: Mapping[str, Tensor]) -> list[list[Stack]]:
    """Batches of stacks that go together: of one input, one shape and as many bits."""
    stacks: dict[tuple[str, str | None, int], list[Treatment]] = {}
    for treatment in treatments:
        name = treatment.name
        # those of one input have one role's grid, whose steps alone may differ; grids of a bundled program have no hash
        layer = name.rpartition(".")[0] or name  # a table has an input of its own
        stack = stacks.setdefault((layer, input_part(name), treatment.bits), [])
        if stack and not torch.equal(hessians[stack[0].name], hessians[name]):
            raise GateError(f"Hessian of {name} must be that of {stack[0].name}, which reads the same input")
        stack.append(treatment)
    batches: dict[object, list[Stack]] = {}
    for (_, part, bits), stack in stacks.items():
        batches.setdefault((part, bits, tuple(t.shape for t in stack)), []).append(stack)
    return list(batches.values())


def _batches_both(
    batch: Sequence[Stack],
    weights: Sequence[Sequence[Tensor]],
    moments: Sequence[Tensor],
    turn_II: Tensor | None,
    quant: QuantSpec,
) -> dict[str, Both]:
    """One batch as it is, and rotated where there is a rotation."""
    plain = rounded = _batches_rounded(batch, weights, moments, quant)
    if turn_II is not None:
        turned = [[bake(w_OI, turn_II) for w_OI in stack] for stack in weights]
        rounded = _batches_rounded(batch, turned, [bake_hessian(h_II, turn_II) for h_II in moments], quant)
    return {name: (plain[name], rounded[name]) for name in plain}


def _batches_rounded(
    batch: Sequence[Stack], weights: Sequence[Sequence[Tensor]], moments: Sequence[Tensor], quant: QuantSpec
) -> dict[str, Rounded]:
    grid = batch[0][0].grid
    assert grid is not None
    steps = [
        [sound_steps(t.name, w_OI, t.grid or grid) for t, w_OI in zip(stack, own, strict=True)]
        for stack, own in zip(batch, weights, strict=True)
    ]
    rows = [t.shape[0] for t in batch[0]]
    symbols: list[Sequence[Tensor | None]] = [[None] * len(rows)] * len(batch)
    if isinstance(quant.rounding, Gptq):
        w_LOI, step_LO = (torch.stack([torch.cat(list(own)) for own in each]) for each in (weights, steps))
        names = [stack[0].name for stack in batch]
        q_LOI = gptq_batch(w_LOI, torch.stack(list(moments)), step_LO, grid, quant.rounding, names, rows)
        symbols = [q_OI.split(rows) for q_OI in q_LOI]
    return {
        treatment.name: _batches_judged(weights[i][j], moments[i], steps[i][j], grid, quant.rounding, symbols[i][j])
        for i, stack in enumerate(batch)
        for j, treatment in enumerate(stack)
    }


def _batches_judged(
    w_OI: Tensor,
    h_II: Tensor,
    step_O: Tensor,
    grid: Grid | QuantileGrid | TrellisGrid,
    rounding: Nearest | Gptq,
    by_gptq: Tensor | None,
) -> Rounded:
    """The symbols that GPTQ found, or those of rounding to nearest; as ``round_matrix`` has it, one product fewer."""
    energy = output_energy(w_OI, h_II)

    def lost(symbols: Tensor) -> float:
        return output_energy(w_OI - decode(symbols, step_O), h_II) / energy if energy > 0 else 0.0

    nearest = nearest_symbols(w_OI, step_O, grid, rounding)
    if by_gptq is None:
        return Rounded(nearest, step_O, lost(nearest), None)
    return Rounded(by_gptq, step_O, lost(nearest), lost(by_gptq))


def _batches_gathered(
    treatments: Sequence[Treatment], found: Mapping[str, Both], quant: QuantSpec, ranks: Ranks
) -> dict[str, Both]:
    """Every rank's matrices: what a rank has not rounded is zero there, so that sums gather them."""

    def blank(treatment: Treatment) -> Rounded:
        symbols = torch.zeros(treatment.shape, dtype=torch.int8, device=ranks.device)
        return Rounded(symbols, torch.zeros(len(symbols), dtype=torch.half, device=ranks.device), 0.0, 0.0)

    each = [one for t in treatments for one in found.get(t.name) or (blank(t), blank(t))]
    errors = [[one.error_nearest, one.error_gptq or 0.0] for one in each]
    errors_N2 = torch.tensor(errors, dtype=torch.float64, device=ranks.device)
    ranks.sum_([errors_N2, *(one.symbols for one in each), *(one.steps for one in each)])
    has_gptq = isinstance(quant.rounding, Gptq)
    done = [
        Rounded(one.symbols.cpu(), one.steps.cpu(), nearest, by_gptq if has_gptq else None)
        for one, (nearest, by_gptq) in zip(each, errors_N2.tolist(), strict=True)
    ]
    return {t.name: (done[2 * place], done[2 * place + 1]) for place, t in enumerate(treatments)}
