"""The streams of any artifact, unpacked by the codec that each names: for readers that have no recipe at hand."""

from dataclasses import replace

from fairway.quant.artifact import Artifact
from fairway.quant.classes import stream_shapes, unclassed
from fairway.quant.codecs import decompress
from fairway.quant.deflate import inflated
from fairway.quant.packing import value_bytes
from fairway.quant.pergroup import unpergrouped
from fairway.quant.trellis_codec import trellis_decoded
from fairway.spec.quant import Grid, QuantSpec

_GRID = Grid(bits=8, clip_sigmas=1.0)
_ANY = QuantSpec(attention=_GRID, mlp=_GRID, embedding=_GRID)
"""Stands for the recipe, of which an artifact need not be told to be described: each stream names its codec."""


def raw_streams(artifact: Artifact) -> dict[str, bytes]:
    """Name of each stream to its bytes before compression; ``ArtifactError`` if a payload is damaged."""
    found = {}
    for s in artifact.streams:
        if s.codec == "zlib":
            found[s.name] = inflated(s.payload, s.raw_size, value_bytes(s.name))
        elif s.codec == "classes":
            found[s.name] = unclassed(_ANY, s.payload, stream_shapes(artifact.tensors, s.name))
        elif s.codec == "trellis":
            found[s.name] = trellis_decoded(_ANY, s.payload, stream_shapes(artifact.tensors, s.name))
        elif s.codec == "lrzip":
            found[s.name] = unpergrouped(_ANY, s.payload, stream_shapes(artifact.tensors, s.name))
        else:
            found[s.name] = decompress(
                replace(_ANY, codec=s.codec), s.codec, s.payload, raw_size=s.raw_size, value_bytes=value_bytes(s.name)
            )
    return found
