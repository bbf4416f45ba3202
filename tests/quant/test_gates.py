"""Head gates in eight bits, there and back."""

from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import ArtifactError, GateError
from fairway.quant.artifact import Artifact, read_artifact, write_artifact
from fairway.quant.forecast import forecast
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.runtime.ranks import Ranks
from fairway.spec.mechanisms import DenseHeadGate, SparseHeadGate
from fairway.spec.quant import Lqer, NoCorrection, RoundedGates

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
ROWS = torch.randint(2, 300, (1, 65), generator=torch.Generator().manual_seed(0))


def gated(spec, gate):
    return replace(spec, head_gate=gate)


def hessians_of(model):
    return collect(model, [Batch(ROWS[:, :-1], ROWS[:, 1:], None)], 1, ALONE, looped=True)


@pytest.mark.parametrize("gate", [SparseHeadGate(), DenseHeadGate(bias=1.0)])
@pytest.mark.parametrize("correction", [NoCorrection(), Lqer(rank=2, top=2)])
def test_gates_come_back_to_half_a_step_of_their_row(model_spec, quant_spec, toy, gate, correction):
    model = toy.lively_model(gated(model_spec, gate))
    quant = replace(quant_spec, gates=RoundedGates(), correction=correction)
    data = pack(rotate_gptq(model, hessians_of(model), quant), quant, {})
    state, _ = unpack(data, quant)
    before = model.get_parameter("head_gate")
    assert state.keys() == {name for name in unpack(*plainly(model, quant))[0]}
    assert state["head_gate"].shape == before.shape
    for row, back in zip(before.flatten(0, 1).tolist(), state["head_gate"].flatten(0, 1).tolist(), strict=True):
        step = float(torch.tensor(max(map(abs, row)) / 127).half())
        assert back == pytest.approx([step * min(max(round(w / step), -127), 127) for w in row], rel=1e-5)
    tensors = [t for t in read_artifact(data).tensors if t.name.startswith("head_gate")]
    assert [(t.name, t.bits) for t in tensors] == [(f"head_gate.{i}.rows", 8) for i in range(4)]


def plainly(model, quant):
    halves = replace(quant, gates=type(quant).__dataclass_fields__["gates"].default_factory())
    return pack(rotate_gptq(model, hessians_of(model), halves), halves, {}), halves


def test_a_model_without_gates_and_an_artifact_without_them_are_refused(model, quant_spec, model_spec, toy):
    quant = replace(quant_spec, gates=RoundedGates())
    with pytest.raises(GateError, match="of which the model has none"):
        rotate_gptq(model, hessians_of(model), quant)
    data, halves = plainly(toy.lively_model(gated(model_spec, SparseHeadGate())), quant)
    with pytest.raises(ArtifactError, match="must hold head gates"):
        unpack(data, quant)
    artifact = read_artifact(data)
    assert write_artifact(Artifact(artifact.tensors, artifact.streams, artifact.rotation, artifact.extra)) == data
    assert "head_gate" in unpack(data, halves)[0]


def test_the_forecast_counts_gates_in_eight_bits(recipe, quant_spec):
    model = gated(recipe.model, DenseHeadGate())
    sizes = [
        forecast(replace(recipe, model=model, quant=replace(quant_spec, gates=gates)))
        for gates in (quant_spec.gates, RoundedGates())
    ]
    count = model.layers * model.heads * model.width
    assert sizes[1].by_role["correction"] == round(count * 7.5 / 8)
    assert sizes[0].by_role["control"] - sizes[1].by_role["control"] == pytest.approx(1.5 * count, abs=1)
    assert 0.4 * count < sizes[0].total_bytes - sizes[1].total_bytes < 0.6 * count
