"""Second moments of the inputs of every linear: what GPTQ weighs rounding errors with (recipes D.3)."""

import math
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.model.banks import bank_parts
from fairway.model.gpt import Gpt
from fairway.model.hooks import Hooks, Site
from fairway.quant.plan import INPUT_PARTS
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.spec.mechanisms import NgramHash, ValueEmbedding
from fairway.spec.model import ModelSpec
from fairway.spec.roles import Role, matrix_name, role_of

HESSIAN_ASYMMETRY_LIMIT = 1e-4
"""Largest |H - H^T| over largest |H|; the rounding of float32 sums is far below."""


class _MomentSums:
    """Sums of x^T x by key, and of the rows that went in."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}

    def add(self, key: str, x: Tensor) -> None:
        x_NI = x.detach().reshape(-1, x.shape[-1]).float()
        if key not in self.sums:
            self.sums[key] = torch.zeros(x_NI.shape[1], x_NI.shape[1], device=x.device)
            self.rows[key] = 0
        self.sums[key].addmm_(x_NI.T, x_NI)
        self.rows[key] += len(x_NI)


@torch.no_grad()
def collect(
    model: Gpt,
    batches: Iterable[Batch],
    count: int,
    ranks: Ranks,
    *,
    looped: bool,
    events: EventLog | None = None,
) -> dict[str, Float[Tensor, "I I"]]:
    """Name of each matrix to H = sum of x^T x over tokens, divided by the number of batches; float32.

    Each rank takes ``count`` of its own batches; sums run over all of them, so every rank returns the same. Layers
    that run more than once add up all their runs. Q, K and V read the same input and share one tensor; the
    embedding's is that of the final hidden states, which it multiplies as the head. ``GateError`` as in
    ``check_hessians``.
    """
    moments = _MomentSums()

    def observe(site: Site, x: Tensor) -> None:
        moments.add(f"{site.layer}.{site.part}", x)

    stream = iter(batches)
    for _ in range(count):
        here = next(stream).to(ranks.device)  # a loader has no end
        bounds = here.cu_seqlens
        longest = None if bounds is None else int(bounds.diff().max())
        hidden = model.hidden(
            here.inputs_BT, looped=looped, cu_seqlens=bounds, max_len=longest, hooks=Hooks(observe=observe)
        )
        moments.add("head", hidden)
    rows = torch.tensor(list(moments.rows.values()), dtype=torch.int64, device=ranks.device)
    ranks.sum_([*moments.sums.values(), rows])
    samples = dict(zip(moments.sums, rows.tolist(), strict=True))
    parts = [part for named in bank_parts(model.spec).values() for part in named]
    keys = {matrix_name(i, part): f"{i}.{INPUT_PARTS[part]}" for i in range(model.spec.layers) for part in parts}
    keys["embedding"] = "head"
    for total in moments.sums.values():
        total /= count * ranks.world
    hessians = {name: moments.sums[key] for name, key in keys.items() if key in moments.sums}
    check_hessians(hessians, {name: _input_width(name, model.spec) for name in keys})
    if events is not None:
        for name, h_II in hessians.items():
            events.emit("hessian", name=name, trace=float(h_II.trace()), samples=samples[keys[name]])
    spec = model.spec
    if isinstance(spec.bigram, NgramHash) or isinstance(spec.trigram, NgramHash):
        hessians |= _table_hessians(model)
    elif isinstance(spec.value_embedding, ValueEmbedding):
        hessians |= _table_hessians(model)
    return hessians


def _table_hessians(model: Gpt) -> dict[str, Tensor]:
    """Tables that are looked up and never multiplied with: every error counts alike, so the identity."""
    tables = [(name, table) for name, table in model.named_parameters() if name.endswith("_embedding")]
    return {name: torch.eye(table.shape[1], device=table.device) for name, table in tables}


def _input_width(name: str, spec: ModelSpec) -> int:
    if spec.q_rank and name.endswith(".q_out"):
        return spec.q_rank
    return spec.mlp_width if role_of(name) is Role.MLP_DOWN else spec.width


def check_hessians(hessians: Mapping[str, Tensor], inputs: Mapping[str, int]) -> None:
    """Each matrix of ``inputs`` (its name to how many inputs it has) has a Hessian that is one.

    ``GateError`` names the first that is missing, misshapen, zero, not finite or not symmetric.
    """
    for name, width in inputs.items():
        h_II = hessians.get(name)
        if h_II is None or h_II.shape != (width, width):
            raise GateError(f"Hessian of {name} must be {width} x {width}; calibrate this checkpoint again")
        largest = float(h_II.abs().max())
        if not 0.0 < largest < math.inf:
            raise GateError(
                f"Hessian of {name} must be finite and not all zero, its largest entry is {largest}: the model or the"
                " calibration tokens are damaged, or its input was never active"
            )
        asymmetry = float((h_II - h_II.T).abs().max()) / largest
        if asymmetry > HESSIAN_ASYMMETRY_LIMIT:
            raise GateError(
                f"Hessian of {name} must be symmetric to {HESSIAN_ASYMMETRY_LIMIT:g} of its largest entry,"
                f" got {asymmetry:.3g}"
            )
