"""Rates by one Lagrangian: what is measured, that the file is filled, and what goes with what."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.model.banks import unbank
from fairway.quant.artifact import read_artifact
from fairway.quant.batches import round_in_batches
from fairway.quant.forecast import symbol_bits
from fairway.quant.grid import row_steps
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.plan import plan
from fairway.quant.rates import measured_curves, rates_baked, rounded_to_fit, row_sensitivity, scalar_grid
from fairway.quant.rotation import rotations
from fairway.quant.sensitivity import row_sensitivities, sensitivities
from fairway.quant.slopes import allocated_bits
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, ModelSpec
from fairway.spec.quant import (
    GradientBits,
    Grid,
    Hadamard,
    Lagrangian,
    Nearest,
    NoRotation,
    OwnText,
    PrunedOnes,
    QuantileGrid,
    TrellisGrid,
    Triangles,
)

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
ROWS = torch.randint(2, 300, (3, 65), generator=torch.Generator().manual_seed(0))
BATCHES = [Batch(row[None, :-1], row[None, 1:], torch.tensor([0, 40, 64], dtype=torch.int32)) for row in ROWS]
EXTRA = {"recipe_sha256": "0" * 64, "seed": 1}
SCALAR = Grid(bits=7, clip_sigmas=20.0)
PATHS = TrellisGrid(bits=7, clip_sigmas=16.0, states=4, segment=12)


@pytest.fixture
def model_spec():
    return ModelSpec(
        vocab_size=300,
        layers=3,
        width=24,
        heads=2,
        kv_heads=1,
        mlp_width=48,
        rope_dims=4,
        xsa_last=1,
        loops=Loops(first=1, last=1, extra=1),
    )


@pytest.fixture
def gathered(model):
    return collect(model, BATCHES, 3, ALONE, looped=True) | row_sensitivities(model, BATCHES, 3, ALONE, looped=True)


def quant_of(quant_spec, grid, **changes):
    return replace(quant_spec, attention=grid, mlp=grid, embedding=SCALAR, **changes)


def target(plain, share):
    return Lagrangian(cap_bytes=round(share * plain) + 5000, code_bytes=4000, headroom_bytes=1000, tolerance_bytes=200)


def test_a_row_sensitivity_is_half_the_sum_of_squares_of_the_gradient_times_tokens(model):
    measured = row_sensitivities(model, BATCHES, 3, ALONE, looped=True)
    by_matrix = sensitivities(model, BATCHES, 3, ALONE, looped=True)
    state = unbank(model.state_dict(), model.spec)
    assert measured.keys() == {f"{name}.row_sensitivity" for name, tensor in state.items() if tensor.ndim == 2}
    for name in ("embedding", "blocks.1.q", "blocks.2.down"):
        found = measured[f"{name}.row_sensitivity"]
        assert found.shape == (len(state[name]),)
        whole = float(by_matrix[f"{name}.sensitivity"]) * state[name].numel() * 64 / 2
        assert float(found.sum()) == pytest.approx(whole, rel=1e-5)
    square = torch.zeros(48)
    for batch in BATCHES:
        model.zero_grad()
        model.loss(batch.inputs_BT, batch.targets_BT, looped=True, cu_seqlens=batch.cu_seqlens, max_len=40).backward()
        square += model.get_parameter("up_bank").grad[2].square().sum(1) / 3 * 32
    torch.testing.assert_close(measured["blocks.2.up.row_sensitivity"], square)


@pytest.mark.parametrize("grid", [SCALAR, PATHS], ids=["scalar", "trellis"])
@pytest.mark.parametrize("rotation", [NoRotation(), Hadamard()], ids=["plain", "rotated"])
def test_the_file_is_filled_by_matrices_of_many_rates_and_always_alike(
    model, gathered, quant_spec, grid, rotation, tmp_path
):
    quant = quant_of(quant_spec, grid, rotation=rotation)
    by_hand = rotate_gptq(model, gathered, quant)
    rates = target(len(pack(by_hand, quant, EXTRA)), 0.8)
    with EventLog(tmp_path / "log.jsonl", stage="rotate_gptq") as log:
        fitted = rounded_to_fit(model, gathered, quant, rates, EXTRA, log)
    data = pack(fitted, quant, EXTRA)
    turns = rotation != NoRotation()
    assert rates.target_bytes - 200 <= len(data) <= rates.target_bytes == rates.cap_bytes - 5000
    assert pack(rounded_to_fit(model, gathered, quant, rates, EXTRA), quant, EXTRA) == data
    events = read_events(tmp_path / "log.jsonl")
    tries = [event["artifact_bytes"] for event in events if event["event"] == "rates_try"]
    assert len(data) in tries and len(tries) <= 6
    told = {event["name"]: event for event in events if event["event"] == "rate"}
    assert told.keys() == by_hand.steps.keys() == {event["name"] for event in events if event["event"] == "tensor"}
    lost = {e["name"]: (e["error_gptq"], e["error_gptq_unrotated"]) for e in events if e["event"] == "tensor"}
    differing = {name for name, (turned, plain) in lost.items() if turned != plain}
    # a matrix may be given no bits, and then loses all of itself either way
    assert differing == ({name for name in lost if lost[name] != (1.0, 1.0)} - {"embedding"} if turns else set())
    for name, event in told.items():
        ratio = fitted.steps[name].float() / by_hand.steps[name].float()
        assert ratio.tolist() == pytest.approx([event["factor"]] * len(ratio), rel=2e-3)
    assert len({round(event["factor"], 3) for event in told.values()}) > len(told) // 2
    tensors = {tensor.name: tensor.bits for tensor in read_artifact(data).tensors}
    assert all(tensors[name] == 7 for name in told)
    assert unpack(data, quant)[0].keys() == unbank(model.state_dict(), model.spec).keys()


def test_less_is_lost_than_by_steps_that_are_all_wider_at_no_more_bits(model, gathered, quant_spec):
    quant = quant_of(quant_spec, SCALAR)
    state = {name: tensor.detach() for name, tensor in unbank(model.state_dict(), model.spec).items()}
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant)
    treatments = [t for t in treatments if t.grid is not None]
    turns = rotations({t.name: t.shape for t in treatments}, quant.rotation)
    sensitivity = {t.name: row_sensitivity(t.name, gathered) for t in treatments}
    curves = measured_curves(treatments, *rates_baked(treatments, state, gathered, turns), sensitivity, quant)
    assert [curve.name for curve in curves] == [t.name for t in treatments if t.grid is not None]
    for curve in curves:
        assert all(more > fewer for more, fewer in zip(curve.bits[:-1], curve.bits[1:], strict=True))
        # a bit a weight for each halving of fine steps, where weights are enough to show it, and a quarter of the loss
        weights = state[curve.name].numel()
        if weights > 1000:
            assert curve.bits[0] - curve.bits[1] == pytest.approx(weights, rel=0.08)
        assert curve.nats[2] / curve.nats[1] == pytest.approx(4, rel=0.5)
    for octaves in (0.0, 1.0):
        wanted = sum(curve.bits_at(octaves) for curve in curves)
        low, high = -100.0, 100.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if allocated_bits(curves, middle) > wanted else (low, middle)
        assert allocated_bits(curves, high) <= wanted * (1 + 1e-6)
        lost = sum(curve.nats_at(curve.octaves_at(high)) for curve in curves)
        assert lost < 0.95 * sum(curve.nats_at(octaves) for curve in curves)


@pytest.mark.parametrize("grid", [SCALAR, PATHS], ids=["scalar", "trellis"])
def test_batches_of_ranks_round_the_same(model, gathered, quant_spec, grid):
    quant = quant_of(quant_spec, grid, rotation=NoRotation(), rounding=Nearest())
    rates = target(len(pack(rotate_gptq(model, gathered, quant), quant, EXTRA)), 0.9)
    alone = rounded_to_fit(model, gathered, quant, rates, EXTRA)
    together = rounded_to_fit(model, gathered, quant, rates, EXTRA, None, partial(round_in_batches, ALONE), ALONE)
    for name, symbols in alone.symbols.items():
        assert torch.equal(symbols, together.symbols[name]) and torch.equal(alone.steps[name], together.steps[name])


def test_where_all_fits_no_step_clips_what_a_row_has(model, gathered, quant_spec):
    quant = quant_of(quant_spec, SCALAR, rotation=NoRotation())
    fitted = rounded_to_fit(model, gathered, quant, Lagrangian(), EXTRA)
    state = unbank(model.state_dict(), model.spec)
    for name, steps in fitted.steps.items():
        by_hand = row_steps(state[name], SCALAR)
        assert (steps.float() / by_hand.float()).tolist() == pytest.approx([5 / 20] * len(steps), rel=2e-3)


def test_scalar_steps_of_a_trellis_are_of_its_rate():
    for grid in (PATHS, SCALAR):
        assert symbol_bits(scalar_grid(grid)) == pytest.approx(symbol_bits(grid), abs=0.02)


def test_what_was_not_measured_is_named(model, gathered, quant_spec):
    gathered.pop("blocks.2.k.row_sensitivity")
    with pytest.raises(GateError, match=r"sensitivity of blocks\.2\.k is missing"):
        rounded_to_fit(model, gathered, quant_spec, Lagrangian(), EXTRA)
    with pytest.raises(GateError, match="artifact must have at most 100 bytes"):
        rounded_to_fit(
            model,
            gathered | {"blocks.2.k.row_sensitivity": torch.ones(12)},
            quant_spec,
            Lagrangian(cap_bytes=32_100),
            EXTRA,
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"calibration": OwnText()}, "no calibration of kind own: own text has no loss"),
        ({"mixing": GradientBits()}, "no mixing of kind gradient"),
        ({"pruning": PrunedOnes()}, "no pruning of kind ones: both would fill the file"),
        ({"triangles": Triangles(layers=(0,)), "rotation": NoRotation()}, "no triangles of kind layers"),
        ({"mlp": QuantileGrid(bits=6)}, "no mlp of kind quantiles"),
    ],
)
def test_what_has_no_such_rates_is_refused(quant_spec, changes, reason):
    with pytest.raises(ValueError, match=reason):
        replace(quant_spec, rates=Lagrangian(), **changes)


def test_a_target_that_nothing_meets_is_refused():
    with pytest.raises(ValueError, match=r"cap_bytes \(30000\) must be above code_bytes \(32000\)"):
        Lagrangian(cap_bytes=30_000)
    with pytest.raises(ValueError, match="tolerance_bytes must be at least 1, got 0"):
        Lagrangian(tolerance_bytes=0)
