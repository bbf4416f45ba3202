"""Blocks compiled by themselves: a graph for each kind of block, not one for each run of each layer.

What differs between layers of a kind is tensors alone. The constant 1/sqrt(layer + 1), which is a number in the
block, is multiplied into every matrix that reads the normalised input instead: all of them are linear in it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fairway.kernels.varlen_attention import pack_segments
from fairway.model.block import one_lane, two_lanes
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN
from fairway.model.weights import BlockContext, LayerWeights, RunWeights
from fairway.spec.mechanisms import ValueEmbedding
from fairway.spec.model import Loops, ModelSpec

_Kind = tuple[str, bool, bool, bool]


class BlockRegions:
    """Stand-ins for ``one_lane`` and ``two_lanes`` that are compiled, for forwards without hooks."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = replace(spec, ln_scale=False)
        self._scales = [
            torch.tensor((layer + 1) ** -0.5 if spec.ln_scale else 1.0, dtype=torch.float32)
            for layer in range(spec.layers)
        ]
        self._graphs: dict[_Kind, Callable[..., Any]] = {}
        self._layers: dict[_Kind, int] = {}

    def install(self, model: Gpt, *, any_bounds: bool) -> None:
        """Let a model run the compiled blocks.

        What lays documents out in a padded batch is compiled too, unless what attends reads bounds: outside of a
        compiler it drops empty segments, so that the shapes of the blocks would hang on the data.
        """
        model.one_lane_region, model.two_lanes_region = self.one_lane, self.two_lanes
        model.place_region = None if any_bounds else torch.compile(pack_segments, dynamic=False, fullgraph=True)

    def remove(self, model: Gpt) -> None:
        """Let it run the plain ones again."""
        model.one_lane_region = model.two_lanes_region = model.place_region = None

    def one_lane(self, x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
        """``one_lane``, compiled."""
        if context.hooks is not PLAIN:
            return one_lane(x, weights, context)
        graph, alike, scale = self._prepare("one", one_lane, x, context)
        y: Tensor = graph(_apart(x), weights, alike, scale)
        return y

    def two_lanes(
        self, attn_lane: Tensor, mlp_lane: Tensor, weights: LayerWeights, context: BlockContext
    ) -> tuple[Tensor, Tensor]:
        """``two_lanes``, compiled."""
        if context.hooks is not PLAIN:
            return two_lanes(attn_lane, mlp_lane, weights, context)
        graph, alike, scale = self._prepare("two", two_lanes, attn_lane, context)
        lanes: tuple[Tensor, Tensor] = graph(_apart(attn_lane, mlp_lane), weights, alike, scale)
        return lanes

    def _prepare(
        self, lanes: str, block: Callable[..., Any], x: Tensor, context: BlockContext
    ) -> tuple[Callable[..., Any], BlockContext, Tensor]:
        """The graph of this run's kind, and a context in which all runs of the kind have one slot and layer."""
        spec, layer = self._spec, context.layer
        adds_values = isinstance(spec.value_embedding, ValueEmbedding) and layer in spec.value_embedding.layers
        is_first = context.first_values is not None and not context.first_values
        kind = (lanes, layer >= spec.layers - spec.xsa_last, adds_values, is_first)
        if kind not in self._graphs:
            self._layers[kind] = layer
            self._graphs[kind] = torch.compile(_region(block), dynamic=False, fullgraph=True)
        stands_for = self._layers[kind]
        alike = context._replace(spec=spec, slot=0, layer=stands_for)
        if context.added_values is not None:
            alike = alike._replace(added_values={stands_for: context.added_values[layer]} if adds_values else None)
        if context.run_weights is not None:
            alike = alike._replace(run_weights=[context.run_weights[context.slot]])
        if self._scales[layer].device != x.device:
            self._scales[layer] = self._scales[layer].to(x.device)
        return self._graphs[kind], alike, self._scales[layer]


def _apart(*lanes: Tensor) -> tuple[Tensor, ...]:
    """The first block reads the embedding twice, and lanes part as one: a graph of its own, were they one object."""
    return tuple(lane.view_as(lane) for lane in lanes)


def _region(block: Callable[..., Any]) -> Callable[..., Any]:
    def region(lanes: tuple[Tensor, ...], weights: LayerWeights, context: BlockContext, scale: Tensor) -> Any:
        if isinstance(context.spec.loops, Loops) and context.spec.loops.adapter_rank:
            assert context.run_weights is not None
            context = context._replace(run_weights=[_scaled_run(context.run_weights[0], scale)])
        return block(*lanes, scaled_readers(weights, scale), context)

    return region


def scaled_readers(weights: LayerWeights, scale: Tensor) -> LayerWeights:
    """Weights of a block whose normalised input is not scaled, in the place of those of one whose input is."""
    reads = "q" if weights.narrow_q is None else "narrow_q"
    readers = {name: getattr(weights, name) for name in (reads, "k", "v", "up", "head_gate", "angle_weight")}
    return weights._replace(**{name: matrix * scale for name, matrix in readers.items() if matrix is not None})


def _scaled_run(run: RunWeights, scale: Tensor) -> RunWeights:
    """Q, K and V read the block's input; O reads what attention gave."""
    return run._replace(inward=torch.cat([run.inward[:3] * scale, run.inward[3:]]))
