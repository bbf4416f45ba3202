"""Bits by sensitivity: what is measured, who gets more, and what the artifact says."""

from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.model.banks import unbank
from fairway.quant.artifact import read_artifact
from fairway.quant.grid import decode, encode, row_steps
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.plan import KEPT_BITS, plan
from fairway.quant.sensitivity import BITS_TENSOR, sensitive_bits, sensitivities
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import GradientBits, Nearest, NoRotation, OwnText, QuantileGrid, Triangles

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
ROWS = torch.randint(2, 300, (3, 65), generator=torch.Generator().manual_seed(0))
BATCHES = [Batch(row[None, :-1], row[None, 1:], torch.tensor([0, 40, 64], dtype=torch.int32)) for row in ROWS]


def mean_square(values: list[float]) -> float:
    return sum(value * value for value in values) / len(values)


def test_a_sensitivity_is_the_mean_over_batches_of_the_mean_square_of_the_gradient(model):
    measured = sensitivities(model, BATCHES, 3, ALONE, looped=True)
    assert measured.keys() == {f"{name}.sensitivity" for name in unbank(model.state_dict(), model.spec)}
    model.double()
    model.dtype = torch.float64
    slow = {"embedding": 0.0, "blocks.2.k": 0.0, "blocks.3.o": 0.0, "blocks.0.down": 0.0}
    for row in ROWS:
        model.zero_grad()
        logits = model(row[None, :-1], looped=True, cu_seqlens=BATCHES[0].cu_seqlens, max_len=40)[0]
        shares = logits.softmax(-1)
        (-sum(shares[i, int(token)].log() for i, token in enumerate(row[1:])) / 64).backward()
        found = {"embedding": model.get_parameter("embedding").grad}
        kv, qo = model.get_parameter("kv_bank").grad, model.get_parameter("qo_bank").grad
        found |= {
            "blocks.2.k": kv[2],
            "blocks.3.o": qo[4 + 3],
            "blocks.0.down": model.get_parameter("down_bank").grad[0],
        }
        for name, gradient in found.items():
            slow[name] += mean_square(gradient.flatten().tolist()) / 3
    for name, value in slow.items():
        assert float(measured[f"{name}.sensitivity"]) == pytest.approx(value, rel=1e-3)


def test_the_top_tenth_has_a_bit_more_and_the_last_fifth_one_less(quant_spec):
    shapes = {f"blocks.{i}.{part}": (4, 4) for i in range(3) for part in ("q", "k", "v", "up", "down")}
    treatments = plan({**shapes, "attn_scale": (3, 4)}, quant_spec)
    names = list(shapes)
    measured = {f"{name}.sensitivity": torch.tensor(float(i)) for i, name in enumerate(names)}
    found = {t.name: t.bits for t in sensitive_bits(treatments, GradientBits(), measured)}
    before = {t.name: t.bits for t in treatments}
    # places 0 and 1 of 15 are below a tenth, places 12, 13 and 14 are not below four fifths
    change = dict.fromkeys(names, 0) | dict.fromkeys(names[-2:], 1) | dict.fromkeys(names[:3], -1)
    assert {name: found[name] - before[name] for name in names} == change
    assert found["attn_scale"] == KEPT_BITS
    with pytest.raises(GateError, match=r"sensitivity of blocks\.2\.q is missing"):
        sensitive_bits(treatments, GradientBits(), {k: v for k, v in measured.items() if "2.q" not in k})


def test_a_floor_under_the_steps_stays_that_of_one_clip(quant_spec):
    grid = QuantileGrid(bits=6, scale_floor=1 / 31)
    w = 0.05 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    quant = replace(quant_spec, attention=grid)
    treatments = plan({"blocks.0.q": (8, 16), "blocks.0.k": (8, 16)}, quant)
    measured = {"blocks.0.q.sensitivity": torch.tensor(2.0), "blocks.0.k.sensitivity": torch.tensor(1.0)}
    finer, coarser = sensitive_bits(treatments, GradientBits(more=0.5, fewer=0.5), measured)
    assert finer.grid is not None and coarser.grid is not None
    assert row_steps(w, finer.grid).tolist() == pytest.approx([1 / 63] * 8, rel=1e-3)
    assert row_steps(w, coarser.grid).tolist() == pytest.approx([1 / 15] * 8, rel=1e-3)


def test_the_artifact_holds_the_bits_and_gives_back_what_they_make_of_the_weights(model, quant_spec):
    gathered = collect(model, BATCHES, 3, ALONE, looped=True) | sensitivities(model, BATCHES, 3, ALONE, looped=True)
    quant = replace(quant_spec, rotation=NoRotation(), rounding=Nearest(), mixing=GradientBits(more=0.2, fewer=0.3))
    quantized = rotate_gptq(model, gathered, quant)
    data = pack(quantized, quant, {})
    assert pack(rotate_gptq(model, gathered, quant), quant, {}) == data
    assert BITS_TENSOR in quantized.kept  # pack takes it out of a copy
    before = unbank(model.state_dict(), model.spec)
    planned = {t.name: t for t in plan({name: w.shape for name, w in before.items()}, quant)}
    stored = {t.name: t.bits for t in read_artifact(data).tensors}
    assert stored.keys() == before.keys()
    grids = {name: t.grid for name, t in planned.items() if t.grid is not None}
    changes = [stored[name] - grid.bits for name, grid in grids.items()]
    assert sorted(set(changes)) == [-1, 0, 1] and changes.count(1) == 5 and changes.count(-1) == 7
    state, _ = unpack(data, quant)
    for name, grid in grids.items():
        finer = replace(grid, bits=stored[name])
        step = row_steps(before[name], finer)
        assert torch.equal(state[name], decode(encode(before[name], step, finer.bits), step))


def test_own_text_and_triangles_have_no_such_bits(quant_spec):
    for changes, reason in (
        ({"calibration": OwnText()}, "own text has no loss"),
        ({"triangles": Triangles(layers=(0,)), "rotation": NoRotation()}, "a triangle has the bits of its role"),
    ):
        with pytest.raises(ValueError, match=reason):
            replace(quant_spec, mixing=GradientBits(), **changes)
    with pytest.raises(ValueError, match="together at most 1"):
        GradientBits(more=0.6, fewer=0.5)
