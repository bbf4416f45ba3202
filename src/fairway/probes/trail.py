"""Which captured losses a tensor is made of, followed through views, sums, masks and choices.

Each captured loss has a number. A tensor that is followed has, for every element, the numbers of the losses in it, in
a last dimension of their own (-1: none): picking elements picks their numbers, a sum gathers them, a mask drops them.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_VIEWS = frozenset(
    {
        *("__getitem__", "reshape", "view", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "narrow"),
        *("select", "split", "chunk", "tensor_split", "unbind", "masked_select", "index_select", "gather", "t"),
        *("expand", "expand_as", "view_as", "reshape_as", "movedim", "swapaxes", "take_along_dim", "roll", "flip"),
        *("unflatten", "repeat", "take", "__iter__"),
    }
)
_SUMS = frozenset({"sum", "mean", "nansum", "nanmean"})
_CHOICES = frozenset({"minimum", "maximum", "fmin", "fmax", "min", "max", "amin", "amax", "sort", "median", "topk"})
_PRODUCTS = frozenset({"mul", "multiply", "__mul__", "__rmul__", "mul_", "__imul__", "dot", "vdot", "inner"})
_OVERWRITES = frozenset({"zero_", "fill_", "copy_"})
_UNRELATED = frozenset(
    {
        *("zero_", "fill_", "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_full"),
        *("new_tensor", "new_empty", "requires_grad_", "backward", "grad"),
    }
)
_JOINTS = frozenset({"cat", "concat", "stack", "hstack", "vstack"})
_SCATTERED = frozenset({"index_add_", "scatter_add_", "index_put_", "scatter_reduce_", "index_add", "scatter_add"})
_MOST_LAYERS = 8


@dataclass(slots=True)
class Trail:
    """What one tensor is made of."""

    ids: Tensor
    """Numbers of losses, shape of the tensor and one dimension more, int64."""
    is_chosen: bool = False
    """Whether a comparison of losses had a say in which they are."""


class Trails:
    """Trails of all tensors that have one; a tensor that is no longer there is forgotten."""

    def __init__(self) -> None:
        self._of: Any = WeakTensorKeyDictionary()
        self.lost: Counter[str] = Counter()
        """Functions after which it was not known what a result is made of, and how often."""

    def __len__(self) -> int:
        """How many tensors are followed."""
        return len(self._of)

    def get(self, value: object) -> Trail | None:
        """The trail of a tensor; None for one that has none and for all else."""
        found: Trail | None = self._of.get(value) if isinstance(value, Tensor) else None
        return found

    def put(self, tensor: Tensor, ids: Tensor, *, is_chosen: bool = False) -> None:
        """Follow a tensor from here on."""
        self._of[tensor] = Trail(ids, is_chosen)

    def among(self, *values: object) -> list[Trail]:
        """Trails of all tensors in arguments, lists of tensors included."""
        return [trail for tensor in _tensors(values) if (trail := self._of.get(tensor)) is not None]

    def follow(self, function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Any, out: Any) -> None:
        """Note what the results of a call are made of; called after it, with its results."""
        found = self.among(args[1:] if name == "copy_" else args, kwargs)
        if name in _OVERWRITES and isinstance(args[0], Tensor):
            self._of.pop(args[0], None)
        if not found or name in _UNRELATED:
            return
        chosen = any(trail.is_chosen for trail in found)
        with torch.no_grad():
            if name == "__setitem__":
                self._write(args)
            elif name in _SCATTERED and isinstance(out, Tensor):
                self.put(out, _in_first(out, [*self.among(args[0]), *self.among(args[1:], kwargs)]), is_chosen=chosen)
            elif name in _VIEWS and self.get(args[0]) is not None:
                self._view(function, name, args, kwargs, out, chosen)
            elif name in _SUMS and isinstance(out, Tensor):
                self.put(out, _reduced(args, kwargs, found[0].ids, out), is_chosen=chosen)
            elif name in _CHOICES:
                self._choose(args, kwargs, found, out)
            elif name in _JOINTS and isinstance(out, Tensor):
                self._join(function, args, kwargs, out, chosen)
            elif name == "where" and isinstance(out, Tensor) and len(args) == 3:
                self._where(args, out, chosen)
            else:
                self._merge(name, args, kwargs, found, out, chosen)

    def _view(self, function: Any, name: str, args: Sequence[Any], kwargs: Any, out: Any, chosen: bool) -> None:
        ids = self._of[args[0]].ids
        outs = [out] if isinstance(out, Tensor) else [each for each in out if isinstance(each, Tensor)]
        if ids.shape[-1] > _MOST_LAYERS:
            if all(each.numel() == args[0].numel() for each in outs):
                self.put(outs[0], ids.reshape(*outs[0].shape, -1), is_chosen=chosen)
            else:
                self.lost[name] += 1
            return
        layers = [function(ids[..., k].contiguous(), *args[1:], **kwargs) for k in range(ids.shape[-1])]
        for number, each in enumerate(outs):
            parts = [layer if isinstance(out, Tensor) else layer[number] for layer in layers]
            self.put(each, torch.stack(parts, -1), is_chosen=chosen)

    def _choose(self, args: Sequence[Any], kwargs: Any, found: Sequence[Trail], out: Any) -> None:
        value = out if isinstance(out, Tensor) else out[0]
        if value.shape == args[0].shape or any(isinstance(each, Tensor) for each in args[1:]):
            ids = _merged([trail.ids for trail in found], value.shape)
            # With a constant nothing competes: that is a bound.
            self.put(value, ids, is_chosen=len(found) > 1 or any(trail.is_chosen for trail in found))
        else:
            self.put(value, _reduced(args, kwargs, found[0].ids, value), is_chosen=True)

    def _join(self, function: Any, args: Sequence[Any], kwargs: Any, out: Tensor, chosen: bool) -> None:
        parts = list(args[0])
        ids = [trail.ids if (trail := self.get(part)) else _none(part) for part in parts]
        most = max(each.shape[-1] for each in ids)
        if most > _MOST_LAYERS:  # single numbers that are sums already
            self.put(out, _in_first(out, [Trail(each) for each in ids]), is_chosen=chosen)
            return
        padded = [torch.nn.functional.pad(each, (0, most - each.shape[-1]), value=-1) for each in ids]
        layers = [function([each[..., k] for each in padded], *args[1:], **kwargs) for k in range(most)]
        self.put(out, torch.stack(layers, -1), is_chosen=chosen)

    def _where(self, args: Sequence[Any], out: Tensor, chosen: bool) -> None:
        # Tensor.where has the condition second, torch.where first.
        first, second, third = args
        is_method = not (isinstance(first, Tensor) and first.dtype == torch.bool)
        condition, yes, no = (second, first, third) if is_method else (first, second, third)
        layers = []
        for value, mask in ((yes, condition), (no, ~condition)):
            if (trail := self.get(value)) is not None:
                ids = _spread(trail.ids, out.shape)
                layers.append(torch.where(mask.expand(out.shape)[..., None], ids, -1))
        if layers:
            self.put(
                out, torch.cat(layers, -1), is_chosen=chosen or (len(layers) > 1 and self.get(condition) is not None)
            )

    def _write(self, args: Sequence[Any]) -> None:
        place, index, value = args
        trail, held = self.get(value), self.get(place)
        if trail is None or trail.ids.shape[-1] > _MOST_LAYERS or (held and held.ids.shape[-1] > _MOST_LAYERS):
            self.lost["__setitem__"] += trail is not None
            return
        ids = _none(place, trail.ids.shape[-1]) if held is None else held.ids.clone()
        most = max(ids.shape[-1], trail.ids.shape[-1])
        ids = torch.nn.functional.pad(ids, (0, most - ids.shape[-1]), value=-1)
        new = torch.nn.functional.pad(trail.ids, (0, most - trail.ids.shape[-1]), value=-1)
        for k in range(most):
            ids[..., k][index] = new[..., k]
        self.put(place, ids, is_chosen=trail.is_chosen or bool(held and held.is_chosen))

    def _merge(
        self, name: str, args: Sequence[Any], kwargs: Any, found: Sequence[Trail], out: Any, chosen: bool
    ) -> None:
        for each in [out] if isinstance(out, Tensor) else _tensors((out,)):
            if not (each.is_floating_point() or each.is_complex() or each.dtype == torch.bool):
                continue  # an index or a count; what is picked by it is told apart where it is used
            try:
                ids = _merged([trail.ids for trail in found], each.shape)
            except RuntimeError:
                if each.numel() != 1:
                    self.lost[name] += 1
                    continue
                ids = torch.cat([trail.ids.reshape(-1) for trail in found]).reshape(*each.shape, -1)
            if name in _PRODUCTS and each.numel() > 1:
                for factor in _tensors((args, kwargs)):
                    if self.get(factor) is None:
                        zero = (factor == 0).expand(each.shape)[..., None]
                        ids = torch.where(zero, -1, ids)
            self.put(each, _lean(ids), is_chosen=chosen)


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for each in values:
            yield from _tensors(each)
    elif isinstance(values, dict):
        for each in values.values():
            yield from _tensors(each)


def _none(tensor: Any, layers: int = 1) -> Tensor:
    return torch.full((*tensor.shape, layers), -1, dtype=torch.int64, device=tensor.device)


def _spread(ids: Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers of a tensor that is broadcast to a shape; ``RuntimeError`` if it cannot be."""
    return ids.reshape(*[1] * (len(shape) - ids.ndim + 1), *ids.shape).expand(*shape, ids.shape[-1])


def _merged(ids: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    device = ids[0].device
    return torch.cat([_spread(each.to(device), shape) for each in ids], -1)


def _lean(ids: Tensor) -> Tensor:
    return ids[ids >= 0] if ids.ndim == 1 else ids


def _reduced(args: Sequence[Any], kwargs: Any, ids: Tensor, out: Tensor) -> Tensor:
    """Numbers after a sum over all dimensions, or over those that a call names."""
    rank = ids.ndim - 1
    given = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if given is None or isinstance(given, Tensor | torch.dtype) or out.ndim == 0:
        return _lean(ids.reshape(-1)).reshape(*out.shape, -1)
    dims = sorted({int(dim) % rank for dim in ([given] if isinstance(given, int) else given)})
    kept = [dim for dim in range(rank) if dim not in dims]
    moved = ids.permute(*kept, *dims, rank)
    width = math.prod([moved.shape[len(kept) + i] for i in range(len(dims))]) * ids.shape[-1]
    return moved.reshape(*out.shape, width)


def _in_first(out: Tensor, trails: Sequence[Trail]) -> Tensor:
    """All numbers in the first element, where it is not known which of them is where; a sum of all is right."""
    every = torch.cat([trail.ids.reshape(-1).to(out.device) for trail in trails])
    every = every[every >= 0]
    ids = torch.full((max(out.numel(), 1), every.numel()), -1, dtype=torch.int64, device=out.device)
    ids[0] = every
    return ids.reshape(*out.shape, -1)
