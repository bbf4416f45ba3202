"""Weights to an artifact and back, in order: gates, rotation, rounding, packing; and the other way round."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fairway.errors import GateError, MalformedError
from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.model.weights import symmetric_share
from fairway.quant.artifact import Artifact, StoredStream, read_artifact, write_artifact
from fairway.quant.classes import class_stream, stream_shapes, unclassed
from fairway.quant.codecs import compress, decompress
from fairway.quant.deflate import deflated, inflated
from fairway.quant.gates import GATE_BITS, GATE_END, restore_gates, round_gates
from fairway.quant.gptq import relative_error
from fairway.quant.grid import decode, encode, largest_symbol, row_steps
from fairway.quant.hessian import check_hessians
from fairway.quant.lqer import LQER_BITS, Factor, Residual, corrections, product
from fairway.quant.packing import QuantizedModel, StoredTensor, from_streams, raw_sizes, to_streams, value_bytes
from fairway.quant.pergroup import group_stream, unpergrouped
from fairway.quant.plan import input_part, plan
from fairway.quant.rotation import bake, bake_hessian, online_hooks, rotations, unbake
from fairway.quant.rounding import Rounder, round_matrix
from fairway.quant.sensitivity import BITS_TENSOR, bits_tensor, sensitive_bits, with_bits
from fairway.quant.trellis_codec import stream_grid, trellis_decoded, trellis_stream
from fairway.quant.triangle import make_symmetric, square, triangle, triangle_names
from fairway.runtime.events import EventLog
from fairway.runtime.seeding import generator
from fairway.spec.model import Loops, ModelSpec
from fairway.spec.quant import Gptq, GradientBits, Lqer, QuantSpec, RoundedGates, TrellisGrid, Triangles
from fairway.spec.roles import Role

ROTATION_LIMIT = 1e-3
"""Largest change of a softcapped logit by rotation, in float32."""
GPTQ_LIMIT = 1.001
"""GPTQ's output error over that of rounding to nearest: 1, and room for float32 sums."""

_PIPELINE_PROBE_TOKENS = 64


@torch.no_grad()
def rotate_gptq(
    model: Gpt,
    hessians: Mapping[str, Tensor],
    quant: QuantSpec,
    events: EventLog | None = None,
    rounds: Rounder | None = None,
) -> QuantizedModel:
    """Every tensor of the model rounded as the plan says, on the CPU; the arguments stay as they are.

    Matrices are rounded one after the other, or all by ``rounds``, such as ``round_in_batches`` of some ranks.

    Matrices are rotated first, where the recipe says so, and their Hessians with them. ``GateError`` if a Hessian
    is no Hessian, a weight is not finite, rotation changes what the float model computes, or GPTQ does worse than
    rounding to nearest on its own Hessian. The ``tensor`` events hold errors as shares of the output's energy;
    those without rotation are for comparison only.
    """
    state = {name: tensor.detach().cpu() for name, tensor in unbank(model.state_dict(), model.spec).items()}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise GateError(f"tensor {name} is not finite: training diverged")
    if isinstance(quant.triangles, Triangles):
        squares = _pipeline_squares(state, quant.triangles, events)
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant)
    check_hessians(hessians, {t.name: t.shape[1] for t in treatments if t.grid is not None})
    turns = rotations({t.name: t.shape for t in treatments}, quant.rotation)
    if turns:
        _pipeline_gate(events, "rotation_logit_change", rotation_deviation(model.spec, state, turns), ROTATION_LIMIT)

    quantized = QuantizedModel({}, {}, {})
    if isinstance(quant.mixing, GradientBits):
        treatments = sensitive_bits(treatments, quant.mixing, hessians)
        quantized.kept[BITS_TENSOR] = bits_tensor(treatments)
    ratios = {"none": 0.0}
    if isinstance(quant.correction, Lqer):
        residuals: dict[str, Residual] = {}
    if rounds is not None:
        found = rounds(treatments, state, hessians, turns, quant)
    for treatment in treatments:
        name, grid = treatment.name, treatment.grid
        if grid is None:
            quantized.kept[name] = _pipeline_kept(name, state[name])
            continue
        w_OI, h_II = state[name].float(), hessians[name].cpu().float()
        turn_II = turns.get(input_part(name) or "")
        if rounds is None:
            plain = rounded = round_matrix(name, w_OI, h_II, grid, quant)
            if turn_II is not None:
                w_OI, h_II = bake(w_OI, turn_II), bake_hessian(h_II, turn_II)
                rounded = round_matrix(name, w_OI, h_II, grid, quant)
        else:
            plain, rounded = found[name]
            if isinstance(quant.correction, Lqer) and turn_II is not None:
                w_OI, h_II = bake(w_OI, turn_II), bake_hessian(h_II, turn_II)
        if isinstance(quant.correction, Lqer):
            residuals[name] = Residual(w_OI, decode(rounded.symbols, rounded.steps), h_II)
        quantized.symbols[name], quantized.steps[name] = rounded.symbols, rounded.steps
        ratios[name] = rounded.gptq_over_nearest
        if events is not None:
            events.emit(
                "tensor",
                name=name,
                role=treatment.role.value,
                bits=grid.bits,
                step_mean=float(rounded.steps.float().mean()),
                error_nearest=rounded.error_nearest,
                error_gptq=rounded.error_gptq,
                error_nearest_unrotated=plain.error_nearest,
                error_gptq_unrotated=plain.error_gptq,
            )
    if isinstance(quant.gates, RoundedGates):
        round_gates(state, quantized)
    if isinstance(quant.triangles, Triangles):
        for name, w_DD in squares.items():
            symbols, steps = _pipeline_rounded_square(name, w_DD, quant)
            quantized.symbols[name], quantized.steps[name] = symbols, steps
            if events is not None:
                error = relative_error(w_DD, square(decode(symbols, steps)), hessians[name].cpu().float())
                events.emit("triangle", name=name, count=symbols.numel(), error_nearest=error)
    if isinstance(quant.correction, Lqer):
        for name, factor in corrections(residuals, quant.correction, events).items():
            quantized.symbols[name], quantized.steps[name] = factor.symbols, factor.steps
    if isinstance(quant.rounding, Gptq):
        worst = max(ratios, key=lambda name: ratios[name])
        _pipeline_gate(events, "gptq_over_nearest", ratios[worst], GPTQ_LIMIT, worst)
    return quantized


def _pipeline_squares(state: dict[str, Tensor], triangles: Triangles, events: EventLog | None) -> dict[str, Tensor]:
    """Matrices whose triangles are rounded, taken out of ``state``; none if they are stored whole, made symmetric."""
    names = triangle_names(triangles)
    missing = [name for name in names if name not in state]
    if missing:
        raise GateError(f"quant.triangles.layers must be layers with a square Q, but there is no {missing[0]}")
    if events is not None:
        for name in names:
            events.emit("symmetry", name=name, energy=float(symmetric_share(state[name].float())))
    make_symmetric(state, names)
    return {} if triangles.whole else {name: state.pop(name) for name in names}


def _pipeline_rounded_square(name: str, w_DD: Tensor, quant: QuantSpec) -> tuple[Tensor, Tensor]:
    """The triangle of a symmetric matrix on the grid of Q and O."""
    row_1N = triangle(w_DD)
    step = row_steps(row_1N, quant.attention)
    if not bool(step.isfinite().all()):
        raise GateError(f"tensor {name} has a step that is beyond half precision (65504)")
    return encode(row_1N, step, quant.attention.bits), step


def rotation_deviation(spec: ModelSpec, state: Mapping[str, Tensor], turns: Mapping[str, Tensor]) -> float:
    """Largest change of a softcapped logit when baked weights read rotated inputs, in float32."""
    baked = dict(state)
    for name, w_OI in state.items():
        turn_II = turns.get(input_part(name) or "")
        if turn_II is not None:
            baked[name] = bake(w_OI, turn_II)
    shape = (1, _PIPELINE_PROBE_TOKENS)
    tokens_BT = torch.randint(spec.vocab_size, shape, generator=generator(0, "rotation probe"))
    plain = _pipeline_logits(spec, state, tokens_BT, PLAIN)
    return float((plain - _pipeline_logits(spec, baked, tokens_BT, online_hooks(turns))).abs().max())


def _pipeline_logits(spec: ModelSpec, state: Mapping[str, Tensor], tokens_BT: Tensor, hooks: Hooks) -> Tensor:
    model = Gpt(spec)
    model.load_state_dict(bank(state, spec))
    logits: Tensor = model(tokens_BT, looped=isinstance(spec.loops, Loops), hooks=hooks)
    return logits


def _pipeline_kept(name: str, tensor: Tensor) -> Tensor:
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise GateError(f"tensor {name} holds {float(tensor.abs().max()):.4g}, beyond half precision (65504)")
    return half


def _pipeline_gate(events: EventLog | None, name: str, value: float, limit: float, tensor: str | None = None) -> None:
    if events is not None:
        events.emit("gate", name=name, value=value, limit=limit, **({} if tensor is None else {"tensor": tensor}))
    if value > limit:
        place = "" if tensor is None else f" of {tensor}"
        raise GateError(f"{name}{place} must be at most {limit:g}, got {value:.6g}")


def pack(
    quantized: QuantizedModel,
    quant: QuantSpec,
    extra: Mapping[str, Any],
) -> bytes:
    """The artifact's bytes; equal arguments give equal bytes. ``extra`` (JSON) goes into the header as it is."""
    named = {**quantized.symbols, **quantized.kept}
    if isinstance(quant.correction, Lqer) or isinstance(quant.gates, RoundedGates):
        factors, named = _pipeline_factors(named)
    if isinstance(quant.mixing, GradientBits):
        bits = named.pop(BITS_TENSOR).tolist()
    treatments = plan({name: tensor.shape for name, tensor in named.items()}, quant)
    if isinstance(quant.mixing, GradientBits):
        treatments = with_bits(treatments, bits)
    tensors = tuple(StoredTensor(t.name, t.shape, t.role, t.bits) for t in treatments)
    if isinstance(quant.correction, Lqer) or isinstance(quant.gates, RoundedGates):
        tensors += factors
    streams = []
    for stream, raw in to_streams(tensors, quantized).items():
        if isinstance(stream_grid(quant, stream), TrellisGrid):
            streams.append(trellis_stream(quant, tensors, stream, raw))
            continue
        if quant.codec == "zlib":
            streams.append(StoredStream(stream, "zlib", deflated(raw, value_bytes(stream)), len(raw)))
            continue
        if quant.codec == "classes":
            streams.append(class_stream(tensors, stream, raw))
            continue
        if quant.codec == "pergroup" or quant.codec == "pergroup_or_range":
            streams.append(group_stream(quant, tensors, stream, raw))
            continue
        codec, payload = compress(quant, raw, value_bytes=value_bytes(stream))
        streams.append(StoredStream(stream, codec, payload, len(raw)))
    return write_artifact(Artifact(tensors, tuple(streams), quant.rotation, extra))


def _pipeline_factors(named: Mapping[str, Tensor]) -> tuple[tuple[StoredTensor, ...], dict[str, Tensor]]:
    """Factors of corrections and rows of gates as they are stored, and the tensors of the model."""
    ends = {**LQER_BITS, GATE_END: GATE_BITS}
    bits = {name: bits for name in named for end, bits in ends.items() if name.endswith(end)}
    stored = [StoredTensor(name, tuple(named[name].shape), Role.CORRECTION, bits[name]) for name in bits]
    return tuple(stored), {name: tensor for name, tensor in named.items() if name not in bits}


def restore_quantized(artifact: Artifact, quant: QuantSpec) -> QuantizedModel:
    """Symbols, steps and kept tensors of an artifact; ``ArtifactError`` if a payload or a value is damaged."""
    streams = {}
    for s in artifact.streams:
        if s.codec == "trellis" and isinstance(stream_grid(quant, s.name), TrellisGrid):
            streams[s.name] = trellis_decoded(quant, s.payload, stream_shapes(artifact.tensors, s.name))
            continue
        if quant.codec == "zlib":
            streams[s.name] = inflated(s.payload, s.raw_size, value_bytes(s.name))
            continue
        if quant.codec == "classes" and s.codec == "classes":
            streams[s.name] = unclassed(quant, s.payload, stream_shapes(artifact.tensors, s.name))
            continue
        if (quant.codec == "pergroup" or quant.codec == "pergroup_or_range") and s.codec == "lrzip":
            streams[s.name] = unpergrouped(quant, s.payload, stream_shapes(artifact.tensors, s.name))
            continue
        streams[s.name] = decompress(quant, s.codec, s.payload, raw_size=s.raw_size, value_bytes=value_bytes(s.name))
    assert streams.keys() == raw_sizes(artifact.tensors).keys()
    quantized = from_streams(artifact.tensors, streams)
    for tensor in artifact.tensors:
        if not _pipeline_is_sound(tensor, quantized):
            raise MalformedError(
                f"tensor {tensor.name} of the artifact holds values that its {tensor.bits} bits do not"
            )
    return quantized


def _pipeline_is_sound(tensor: StoredTensor, quantized: QuantizedModel) -> bool:
    """Whether what is kept is finite, steps are finite and positive, and symbols lie on the grid."""
    if tensor.is_kept:
        return bool(quantized.kept[tensor.name].isfinite().all())
    steps, symbols = quantized.steps[tensor.name], quantized.symbols[tensor.name]
    is_on_grid = -int(symbols.min()) <= largest_symbol(tensor.bits) >= int(symbols.max())
    return is_on_grid and bool((steps.isfinite() & (steps > 0)).all())


def unpack(data: bytes, quant: QuantSpec, *, fold: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Float32 weights by names outside banks, and the header; ``ArtifactError`` if the bytes are no artifact.

    ``quant`` is the recipe's, by which the artifact was packed. With ``fold`` any rotation is undone in the weights.
    Without it they stay baked and need ``online_hooks``: slower, the same function.
    """
    artifact = read_artifact(data)
    quantized = restore_quantized(artifact, quant)
    turns = rotations({t.name: t.shape for t in artifact.tensors}, artifact.rotation) if fold else {}
    state = {}
    if isinstance(quant.gates, RoundedGates):
        gates: list[Tensor] = []
    for tensor in artifact.tensors:
        if tensor.is_kept:
            state[tensor.name] = quantized.kept[tensor.name].float()
            continue
        w_OI = decode(quantized.symbols[tensor.name], quantized.steps[tensor.name])
        if isinstance(quant.gates, RoundedGates) and tensor.name.endswith(GATE_END):
            gates.append(w_OI)
            continue
        if isinstance(quant.correction, Lqer):
            if tensor.role is Role.CORRECTION:
                continue
            if f"{tensor.name}.left" in quantized.symbols:
                w_OI += _pipeline_correction(quantized, tensor)
        turn_II = turns.get(input_part(tensor.name) or "")
        state[tensor.name] = w_OI if turn_II is None else unbake(w_OI, turn_II)
    if isinstance(quant.gates, RoundedGates):
        restore_gates(state, gates)
    if isinstance(quant.triangles, Triangles) and not quant.triangles.whole:
        for name in triangle_names(quant.triangles):
            if name not in state or len(state[name]) != 1:
                raise MalformedError(f"artifact must hold one triangle of {name}, as the recipe says")
            state[name] = square(state[name])
    return state, artifact.header()


def _pipeline_correction(quantized: QuantizedModel, tensor: StoredTensor) -> Tensor:
    """What an artifact adds to a matrix; ``ArtifactError`` if its factors do not multiply to that shape."""
    outputs, inputs = tensor.shape
    names = [f"{tensor.name}.left", f"{tensor.name}.right"]
    if names[1] not in quantized.symbols:
        raise MalformedError(f"tensor {names[1]} is missing beside {names[0]}")
    left, right = (Factor(quantized.symbols[name], quantized.steps[name]) for name in names)
    rank, rest = divmod(left.symbols.numel(), outputs)
    if rest or right.symbols.numel() != rank * inputs:
        raise MalformedError(f"factors of {tensor.name} must multiply to {outputs} x {inputs}")
    return product(left, right, outputs, inputs)
