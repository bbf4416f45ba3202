"""Tensors to streams of bytes and back (pure).

Symbols of one role lie in one stream, in the plan's order, each matrix transposed: what one input channel is
multiplied by stands together, and neighbouring channels differ in scale, which adaptive codecs notice. All steps
lie in the stream ``steps`` and all kept tensors in ``control``, as halves, least significant byte first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fairway.quant.plan import KEPT_BITS
from fairway.spec.roles import Role

STEPS_STREAM = "steps"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as an artifact describes it."""

    name: str
    shape: tuple[int, ...]
    role: Role
    bits: int

    @property
    def is_kept(self) -> bool:
        """True for a tensor of halves, False for symbols with a step a row."""
        return self.bits == KEPT_BITS

    @property
    def count(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def stream(self) -> str:
        """Name of the stream that holds its values: that of its role, if its values are symbols."""
        return str((Role.CONTROL if self.is_kept else self.role).value)


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """Every tensor of a model by name: int8 symbols with one half a row as step, or halves that are kept."""

    symbols: dict[str, Tensor]
    steps: dict[str, Tensor]
    kept: dict[str, Tensor]


def value_bytes(stream: str) -> int:
    """Bytes of one value of a stream before compression: 2 for halves, 1 for symbols."""
    return 2 if stream in (STEPS_STREAM, Role.CONTROL.value) else 1


def raw_sizes(tensors: Sequence[StoredTensor]) -> dict[str, int]:
    """Bytes that each stream has before compression, as the shapes say it: roles in order, then the steps."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.stream] = sizes.get(tensor.stream, 0) + tensor.count * value_bytes(tensor.stream)
    rows = sum(tensor.shape[0] for tensor in tensors if not tensor.is_kept)
    return sizes | ({STEPS_STREAM: 2 * rows} if rows else {})


def to_streams(tensors: Sequence[StoredTensor], model: QuantizedModel) -> dict[str, bytes]:
    """Bytes of each stream, of the sizes and in the order of ``raw_sizes``."""
    streams: dict[str, list[bytes]] = {stream: [] for stream in raw_sizes(tensors)}
    for tensor in tensors:
        if tensor.is_kept:
            streams[tensor.stream].append(_packing_bytes(model.kept[tensor.name]))
        else:
            streams[tensor.stream].append(_packing_bytes(model.symbols[tensor.name].T))
            streams[STEPS_STREAM].append(_packing_bytes(model.steps[tensor.name]))
    return {stream: b"".join(pieces) for stream, pieces in streams.items()}


def from_streams(tensors: Sequence[StoredTensor], streams: Mapping[str, bytes]) -> QuantizedModel:
    """The tensors that ``to_streams`` packed."""
    assert {name: len(stream) for name, stream in streams.items()} == raw_sizes(tensors)
    model = QuantizedModel({}, {}, {})
    starts = dict.fromkeys(streams, 0)

    def take(stream: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        start = starts[stream]
        starts[stream] = stop = start + prod(shape) * dtype.itemsize
        # bytearray: torch wants memory that it may write to
        return torch.frombuffer(bytearray(streams[stream][start:stop]), dtype=dtype).view(shape)

    for tensor in tensors:
        if tensor.is_kept:
            model.kept[tensor.name] = take(tensor.stream, tensor.shape, torch.float16)
        else:
            outputs, inputs = tensor.shape
            model.symbols[tensor.name] = take(tensor.stream, (inputs, outputs), torch.int8).T.contiguous()
            model.steps[tensor.name] = take(STEPS_STREAM, (outputs,), torch.float16)
    return model


def _packing_bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().contiguous().numpy().tobytes()
