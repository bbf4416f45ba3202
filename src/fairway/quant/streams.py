"""The streams of any artifact, unpacked by the codec that each names: for readers that have no recipe at hand."""

from fairway.quant.artifact import Artifact
from fairway.quant.classes import stream_shapes, unclassed
from fairway.quant.codecs import decompress
from fairway.quant.deflate import inflated
from fairway.quant.packing import value_bytes


def raw_streams(artifact: Artifact) -> dict[str, bytes]:
    """Name of each stream to its bytes before compression; ``ArtifactError`` if a payload is damaged."""
    found = {}
    for s in artifact.streams:
        if s.codec == "zlib":
            found[s.name] = inflated(s.payload, s.raw_size, value_bytes(s.name))
        elif s.codec == "classes":
            found[s.name] = unclassed(s.payload, stream_shapes(artifact.tensors, s.name))
        else:
            found[s.name] = decompress(s.codec, s.payload, raw_size=s.raw_size, value_bytes=value_bytes(s.name))
    return found
