"""What may be renamed is ours alone."""

import argparse
import ast
import collections
import hashlib
import inspect
import io
import itertools
import json
import lzma
import os
import re
import struct
import sys
import zlib
from pathlib import Path

import brotli
import constriction
import numpy as np
import safetensors
import sentencepiece
import torch
import zstandard

from fairway.bundle.collect import collect
from fairway.bundle.names import SHARED, own_names, shortened

PARAMETER = torch.nn.Parameter(torch.zeros(1))
FOREIGN = [
    *(torch.Tensor, torch.nn.Module, PARAMETER, torch.Generator(), torch.device("cpu"), torch.float32, torch.Size()),
    *(torch.optim.AdamW([PARAMETER]), torch.optim.SGD([PARAMETER], lr=0.1), torch.finfo(torch.float32)),
    *(torch.cuda.Event, torch.autograd.Function, torch.autograd.function.FunctionCtx, torch.distributed.ReduceOp),
    *(np.ndarray, np.memmap, np.uint8, np.dtype, Path, re.Pattern, re.Match, json.JSONDecodeError, struct.Struct),
    *(hashlib.sha256(), lzma.LZMADecompressor, zlib.decompressobj(), argparse.ArgumentParser(), argparse.Namespace()),
    *(os.environ, os.stat_result, collections.deque, collections.defaultdict, itertools.chain, safetensors.safe_open),
    *(sentencepiece.SentencePieceProcessor, brotli.Decompressor, zstandard.ZstdDecompressor, zstandard.ZstdCompressor),
    *(constriction.stream.queue.RangeEncoder, constriction.stream.queue.RangeDecoder, io.StringIO(), io.BytesIO()),
    *("", b"", bytearray(), memoryview(b""), {}, [], set(), frozenset(), (), 0, 0.0, True, slice(0), range(0)),
    *(OSError(), UnicodeDecodeError, inspect.getsource, type, object, property, sys.stdout, iter(())),
]


def test_a_name_of_ours_that_an_object_of_a_library_has_too_is_shared():
    ours: set[str] = set()
    for section in collect("fairway.launch").sections:
        ours |= own_names(ast.parse(section.text))[0]
    theirs = {name for each in FOREIGN for name in dir(each)}
    assert {name for name in ours & theirs if not name.startswith("__")} <= SHARED


def renamed(text: str, kept: tuple[str, ...] = ()) -> str:
    tree = ast.parse(text)
    shortened(tree, kept)
    return ast.unparse(tree)


def test_a_field_is_renamed_where_it_is_declared_set_passed_and_read():
    text = "class Place:\n    height: 0\n    depth: 0\n\ndef up(it, /):\n    return Place(height=it.height, depth=1)"
    assert renamed(text) == "class Place:\n    a: 0\n    b: 0\n\ndef up(it, /):\n    return Place(a=it.a, b=1)"


def test_a_name_that_a_text_holds_a_library_is_passed_or_a_file_knows_is_kept():
    text = (
        "class Place:\n    height: 0\n    depth: 0\n    width: 0\n"
        "table = {'height': 1}\nlibrary(depth=2)\nasdict(Place(height=1, depth=2, width=3))"
    )
    assert renamed(text, kept=("width",)) == text


def test_attributes_of_foreign_objects_are_kept_though_a_parameter_is_called_alike():
    text = "def reset(optimizer, state=0):\n    optimizer.state.clear()\n    return state\n\nreset(o, state=1)"
    assert "optimizer.state.clear()" in renamed(text).replace("a.state", "optimizer.state").replace(
        "b.state", "optimizer.state"
    )


def test_a_renamed_program_does_what_it_did():
    text = """
class Counter:
    def __init__(self, *, first_value):
        self._value_now = first_value

    def advance_by(self, amount, *, twice_over=False):
        self._value_now += amount * (2 if twice_over else 1)
        return self

    @property
    def value_now(self):
        return self._value_now

def made(first_value):
    return [Counter(first_value=first_value + extra_value) for extra_value in range(3)]

result = [each.advance_by(5, twice_over=True).value_now for each in made(first_value=1)]
"""
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    exec(text, before)
    short = renamed(text)
    exec(short, after)
    assert before["result"] == after["result"] == [11, 12, 13]
    assert "advance_by" not in short and "first_value" not in short and "twice_over" not in short
