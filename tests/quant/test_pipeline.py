from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.kernels.hadamard import hadamard_rotation
from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.quant import pipeline, rounding
from fairway.quant.describe import describe
from fairway.quant.gptq import relative_error
from fairway.quant.grid import decode, encode, largest_symbol, row_steps
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.plan import grid_of
from fairway.quant.rotation import online_hooks, rotations
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Gptq, Hadamard, Kept, Nearest, NoRotation
from fairway.spec.roles import role_of

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
TOKENS = torch.randint(300, (4, 65), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hessians(model):
    return collect(model, [Batch(TOKENS[:, :-1], TOKENS[:, 1:], None)], 1, ALONE, looped=True)


def plain(spec, **changes):
    return replace(spec, rounding=Nearest(), rotation=NoRotation(), **changes)


def loaded(spec, state):
    model = Gpt(spec)
    model.load_state_dict(bank(state, spec))
    return model


def test_without_rotation_and_gptq_every_matrix_is_rounded_on_the_grid_of_its_role(model, hessians, quant_spec):
    quant = plain(quant_spec)
    quantized = rotate_gptq(model, hessians, quant)
    state = unbank(model.state_dict(), model.spec)
    for part, grid in {"q": quant.attention, "o": quant.attention, "up": quant.mlp, "down": quant.mlp}.items():
        name = f"blocks.2.{part}"
        step = row_steps(state[name], grid)
        assert torch.equal(quantized.steps[name], step)
        assert torch.equal(quantized.symbols[name], encode(state[name], step, grid.bits))
    assert torch.equal(quantized.kept["q_gain"], state["q_gain"].half())
    assert quantized.symbols.keys() | quantized.kept.keys() == state.keys()
    assert quantized.symbols.keys() == quantized.steps.keys()


@pytest.mark.parametrize("rounding", [Gptq(), Nearest()])
@pytest.mark.parametrize("rotation", [Hadamard(), NoRotation()])
@torch.no_grad()
def test_the_artifact_gives_back_the_model_to_the_error_of_its_grids(model, hessians, quant_spec, rotation, rounding):
    quant = replace(quant_spec, rotation=rotation, rounding=rounding)
    state, header = unpack(pack(rotate_gptq(model, hessians, quant), quant, {"seed": 7}), quant)
    before = unbank(model.state_dict(), model.spec)
    assert state.keys() == before.keys()
    assert header["extra"] == {"seed": 7}
    for tensor in header["tensors"]:
        name, w = tensor["name"], before[tensor["name"]]
        assert state[name].dtype == torch.float32 and list(state[name].shape) == tensor["shape"] == list(w.shape)
        grid = grid_of(role_of(name), quant)
        # uniform within a step, which is clip_sigmas / largest standard deviations; GPTQ gives up some of it
        spread = 1e-3 if grid is None else grid.clip_sigmas / largest_symbol(grid.bits) / 12**0.5
        error = float((state[name] - w).norm() / w.norm())
        assert error < spread * (1.05 if isinstance(rounding, Nearest) else 1.5), name
    logits = model(TOKENS, looped=True)
    change = (loaded(model.spec, state)(TOKENS, looped=True) - logits).norm() / logits.norm()
    assert 0 < float(change) < 0.5


@torch.no_grad()
def test_folded_weights_and_online_rotation_are_the_same_model(model, hessians, quant_spec):
    data = pack(rotate_gptq(model, hessians, quant_spec), quant_spec, {})
    folded, header = unpack(data, quant_spec)
    baked, _ = unpack(data, quant_spec, fold=False)
    turns = rotations({name: tensor.shape for name, tensor in baked.items()}, Hadamard(seed=header["rotation"]["seed"]))
    fast = loaded(model.spec, folded)(TOKENS, looped=True)
    slow = loaded(model.spec, baked)(TOKENS, looped=True, hooks=online_hooks(turns))
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)
    assert float((loaded(model.spec, baked)(TOKENS, looped=True) - fast).abs().max()) > 0.01
    assert torch.equal(folded["embedding"], baked["embedding"])


def test_equal_inputs_give_equal_bytes_and_the_arguments_stay_as_they_are(model, hessians, quant_spec):
    before = {name: tensor.clone() for name, tensor in (model.state_dict() | hessians).items()}
    first = pack(rotate_gptq(model, hessians, quant_spec), quant_spec, {"seed": 7})
    assert pack(rotate_gptq(model, hessians, quant_spec), quant_spec, {"seed": 7}) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in (model.state_dict() | hessians).items())


def test_events_tell_each_matrix_its_errors_with_and_without_rotation_and_gptq(model, hessians, quant_spec, tmp_path):
    with EventLog(tmp_path / "log.jsonl", stage="rotate_gptq") as log:
        quantized = rotate_gptq(model, hessians, quant_spec, log)
    entries = read_events(tmp_path / "log.jsonl")
    tensors = {entry["name"]: entry for entry in entries if entry["event"] == "tensor"}
    assert tensors.keys() == quantized.symbols.keys()
    state = unbank(model.state_dict(), model.spec)
    for name, entry in tensors.items():
        assert 0 < entry["error_gptq"] < entry["error_nearest"] < 0.1
        assert 0 < entry["error_gptq_unrotated"] < entry["error_nearest_unrotated"]
        assert (entry["error_nearest"] == entry["error_nearest_unrotated"]) == (name == "embedding")
        grid = {"embedding": quant_spec.embedding, "up": quant_spec.mlp, "down": quant_spec.mlp}.get(
            name.rsplit(".")[-1], quant_spec.attention
        )
        step = row_steps(state[name], grid)
        error = state[name] - decode(encode(state[name], step, grid.bits), step)
        share = float((error @ hessians[name] * error).sum() / (state[name] @ hessians[name] * state[name]).sum())
        assert entry["error_nearest_unrotated"] == pytest.approx(share, rel=1e-3)
        assert entry["step_mean"] == pytest.approx(float(quantized.steps[name].float().mean()))
        assert entry["bits"] == grid.bits
    gates = {entry["name"]: entry for entry in entries if entry["event"] == "gate"}
    assert gates.keys() == {"rotation_logit_change", "gptq_over_nearest"}
    assert all(gate["value"] <= gate["limit"] for gate in gates.values())
    worst = gates["gptq_over_nearest"]
    assert worst["value"] == pytest.approx(
        max(e["error_gptq"] / e["error_nearest"] for e in tensors.values()), rel=1e-6
    )


def test_the_error_told_of_a_rotated_matrix_is_that_of_its_folded_weights_on_the_plain_hessian(
    model, hessians, quant_spec, tmp_path
):
    with EventLog(tmp_path / "log.jsonl", stage="rotate_gptq") as log:
        state, _ = unpack(pack(rotate_gptq(model, hessians, quant_spec, log), quant_spec, {}), quant_spec)
    before = unbank(model.state_dict(), model.spec)
    for entry in read_events(tmp_path / "log.jsonl"):
        if entry["event"] == "tensor":
            name = entry["name"]
            real = relative_error(before[name], state[name], hessians[name])
            assert entry["error_gptq"] == pytest.approx(real, rel=1e-2), name


def test_gptq_that_does_worse_than_rounding_stops_the_run(model, hessians, quant_spec, monkeypatch):
    monkeypatch.setattr(rounding, "gptq", lambda w, h, step, grid, rounding: encode(-w, step, grid.bits))
    with pytest.raises(GateError, match=r"gptq_over_nearest of \S+ must be at most 1.001, got"):
        rotate_gptq(model, hessians, quant_spec)


def test_a_rotation_that_changes_the_float_model_stops_the_run(model, hessians, quant_spec, monkeypatch):
    def crooked(shapes, rotation):
        return {part: turn * 1.01 for part, turn in rotations(shapes, rotation).items()}

    monkeypatch.setattr(pipeline, "rotations", crooked)
    with pytest.raises(GateError, match=r"rotation_logit_change must be at most 0.001, got"):
        rotate_gptq(model, hessians, quant_spec)


def test_a_hessian_that_is_missing_zero_or_indefinite_stops_the_run(model, hessians, quant_spec):
    missing = {name: h for name, h in hessians.items() if name != "blocks.1.down"}
    zero = hessians | {"embedding": torch.zeros(48, 48)}
    indefinite = hessians | {"blocks.0.o": torch.diag(torch.tensor([1.0, -1.0] * 24))}
    for broken, message in [
        (missing, "blocks.1.down must be 96 x 96"),
        (zero, "embedding must be finite and not all zero"),
        (indefinite, "blocks.0.o: .* not positive definite"),
    ]:
        with pytest.raises(GateError, match=message):
            rotate_gptq(model, broken, quant_spec)


def test_weights_that_are_not_finite_or_beyond_half_precision_stop_the_run(model, hessians, quant_spec):
    with torch.no_grad():
        model.q_gain[0, 0] = 1e6
    with pytest.raises(GateError, match=r"q_gain holds 1e\+06, beyond half precision"):
        rotate_gptq(model, hessians, quant_spec)
    with torch.no_grad():
        model.q_gain[0, 0] = float("nan")
    with pytest.raises(GateError, match="q_gain is not finite"):
        rotate_gptq(model, hessians, quant_spec)


def test_a_model_whose_output_projections_are_still_zero_survives_the_pipeline(toy, model_spec, quant_spec):
    model = Gpt(model_spec)
    pipeline_free = toy.lively_model(model_spec)
    model.load_state_dict(pipeline_free.state_dict())
    with torch.no_grad():
        model.down_bank.zero_()
    hessians = collect(model, [Batch(TOKENS[:, :-1], TOKENS[:, 1:], None)], 1, ALONE, looped=True)
    state, _ = unpack(pack(rotate_gptq(model, hessians, quant_spec), quant_spec, {}), quant_spec)
    assert not state["blocks.0.down"].any()
    assert state["blocks.0.up"].any()


def test_hadamard_rotations_are_those_of_the_kernel_by_part_name(model):
    turns = rotations({"blocks.0.down": (48, 96)}, Hadamard(seed=9))
    assert torch.equal(turns["mlp_proj_in"], hadamard_rotation(96, 9, "mlp_proj_in"))


@torch.no_grad()
def test_a_matrix_of_symbols_can_be_kept_in_halves_by_its_name(model, hessians, quant_spec):
    quant = replace(quant_spec, kept=Kept(names=("embedding", "blocks.3.k")), rotation=NoRotation(), codec="zlib")
    quantized = rotate_gptq(model, hessians, quant)
    data = pack(quantized, quant, {})
    state, header = unpack(data, quant)
    listed = {tensor["name"]: tensor for tensor in header["tensors"]}
    for name in quant.kept.names:
        assert (listed[name]["bits"], listed[name]["stream"]) == (16, "control")
        assert torch.equal(state[name], unbank(model.state_dict(), model.spec)[name].half().float())
    assert listed["blocks.2.k"]["bits"] == 6
    assert {stream["codec"] for stream in header["streams"]} == {"zlib"}
    assert sum(row.size_bytes for row in describe(data)) == len(data)
