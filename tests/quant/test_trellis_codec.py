"""Paths of a trellis as bytes: what comes back, what it takes, what is refused; and the whole artifact."""

import hashlib
import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ArtifactError, GateError
from fairway.model.banks import unbank
from fairway.quant.artifact import read_artifact
from fairway.quant.batches import round_in_batches
from fairway.quant.describe import describe
from fairway.quant.forecast import forecast
from fairway.quant.gptq import relative_error
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.streams import raw_streams
from fairway.quant.trellis import best_path
from fairway.quant.trellis_codec import trellis_decoded, trellis_encoded
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import (
    TRELLIS_STATES,
    GradientBits,
    Grid,
    Lqer,
    NoRotation,
    PrunedOnes,
    QuantSpec,
    TrellisGrid,
    Triangles,
)

SCALAR = Grid(bits=6, clip_sigmas=12.0)
PLAIN = QuantSpec(attention=SCALAR, mlp=SCALAR, embedding=SCALAR, codec="range")
ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


def paths(shapes, states, segment, *, spread=5.0, seed=0, scales=None):
    """A stream of matrices whose columns are paths, transposed as in their stream."""
    draws, pieces = torch.Generator().manual_seed(seed), []
    for rows, columns in shapes:
        targets = torch.randn(rows, columns, generator=draws) * spread
        if scales is not None:
            targets *= scales[:, None] if len(scales) == rows else scales
        found = [best_path(each, torch.ones_like(each), states, 8) for each in targets.split(segment)]
        pieces.append(torch.cat(found).T.contiguous().numpy().tobytes())
    return b"".join(pieces)


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=4),
    states=st.sampled_from((1, *TRELLIS_STATES)),
    segment=st.integers(1, 50),
    spread=st.floats(0.0, 60.0),
    seed=st.integers(0, 999),
)
def test_what_was_packed_comes_back(shapes, states, segment, spread, seed):
    raw = paths(shapes, states, segment, spread=spread, seed=seed)
    payload = trellis_encoded(raw, shapes, states, segment)
    assert trellis_decoded(PLAIN, payload, shapes) == raw
    assert trellis_encoded(raw, shapes, states, segment) == payload


def conditional_bytes(raw):
    """Entropy of symbols whose parity is known, under one model for each parity."""
    symbols, bits = torch.frombuffer(bytearray(raw), dtype=torch.int8).long(), 0.0
    for parity in (0, 1):
        counts = (symbols[symbols % 2 == parity] + 128).bincount().double()
        counts = counts[counts > 0]
        bits -= float((counts * (counts / counts.sum()).log2()).sum())
    return bits / 8


@pytest.mark.parametrize("states", [4, 64, 256])
def test_symbols_take_the_entropy_of_a_symbol_whose_parity_is_known(states):
    shapes = [(300, 200), (150, 200)]
    raw = paths(shapes, states, 128)
    taken = len(trellis_encoded(raw, shapes, states, 128))
    assert conditional_bytes(raw) < taken < 1.003 * conditional_bytes(raw) + 120


def test_lines_that_differ_in_spread_have_models_of_their_own():
    columns, rows = torch.tensor([1.0, 6.0]).repeat(50), torch.tensor([1.0, 6.0]).repeat(100)
    for scales, axis in ((columns, 0), (rows, 1)):
        raw = paths([(200, 100)], 8, 256, spread=2.0, scales=scales)
        payload = trellis_encoded(raw, [(200, 100)], 8, 256)
        assert payload[3 + 1 - axis] > 1
        assert trellis_decoded(PLAIN, payload, [(200, 100)]) == raw
        assert len(payload) < 0.97 * conditional_bytes(raw)


def test_classes_of_rows_and_columns_together_come_back():
    draws = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(2, (n, 1), generator=draws).float() for n in (300, 60))
    targets = torch.randn(300, 60, generator=draws) * (1 + 8 * (rows * columns.T))
    raw = best_path(targets, torch.ones(300, 60), 16, 8).T.contiguous().numpy().tobytes()
    payload = trellis_encoded(raw, [(300, 60)], 16, 300)
    assert payload[3] > 1 and payload[4] > 1
    assert trellis_decoded(PLAIN, payload, [(300, 60)]) == raw
    assert len(payload) < 0.9 * conditional_bytes(raw)


def test_the_same_symbols_are_the_same_bytes_on_every_machine():
    """Targets in sixteenths: every cost is exact in float32, whatever order it is summed in."""
    chance = random.Random(8)
    targets = torch.tensor([[chance.randrange(-160, 160) / 16 for _ in range(30)] for _ in range(100)])
    raw = best_path(targets, torch.ones_like(targets), 64, 6).T.contiguous().numpy().tobytes()
    payload = trellis_encoded(raw, [(100, 30)], 64, 100)
    assert hashlib.sha256(raw).hexdigest()[:16] == "d72b55d67141f567"
    assert hashlib.sha256(payload).hexdigest()[:16] == "5cf16b2e26660c80"


def test_symbols_that_are_on_no_path_are_not_packed():
    raw = bytearray(paths([(30, 5)], 8, 30))
    raw[40] ^= 1
    with pytest.raises(GateError, match="trellis of 8 states must be a path"):
        trellis_encoded(bytes(raw), [(30, 5)], 8, 30)


def test_a_damaged_payload_is_refused_or_gives_as_many_symbols():
    shapes = [(40, 60), (16, 24)]
    raw, chance = paths(shapes, 8, 32), random.Random(0)
    for scales in (None, torch.tensor([1.0, 9.0]).repeat(30)):
        whole = trellis_encoded(paths(shapes[:1], 8, 32, scales=scales) + raw[2400:], shapes, 8, 32)
        for attempt in range(150):
            payload = bytearray(whole)
            if attempt % 3 == 0:
                payload = payload[: chance.randrange(len(payload))]
            else:
                payload[chance.randrange(60 if attempt % 3 == 1 else len(payload))] = chance.randrange(256)
            try:
                assert len(trellis_decoded(PLAIN, bytes(payload), shapes)) == len(raw)
            except ArtifactError:
                continue


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, 1, "states"),
        (0, 200, "states"),
        (1, 0, "rows a segment"),
        (3, 17, "classes"),
        (4, 0, "classes"),
        (4, 17, "classes"),
    ],
)
def test_a_head_that_says_what_cannot_be_is_refused(place, value, words):
    payload = bytearray(trellis_encoded(paths([(30, 5)], 8, 30), [(30, 5)], 8, 30))
    payload[place] = value
    with pytest.raises(ArtifactError, match=words):
        trellis_decoded(PLAIN, bytes(payload), [(30, 5)])


@pytest.fixture(scope="module")
def trellises():
    grid = partial(TrellisGrid, states=8, segment=12)
    return QuantSpec(
        attention=grid(bits=7, clip_sigmas=13.2),
        mlp=grid(bits=6, clip_sigmas=8.3),
        embedding=grid(bits=8, clip_sigmas=15.0),
    )


@pytest.fixture
def moments(toy):
    widths = {"embedding": 48, **{f"blocks.{i}.{p}": 48 for i in range(4) for p in ("q", "k", "v", "o", "up")}}
    inputs = {"q": 1, "k": 1, "v": 1, "o": 2, "up": 3, "down": 4}
    widths |= {f"blocks.{i}.down": 96 for i in range(4)}
    return {
        name: toy.correlated_hessian(
            width, 10 * int(name.split(".")[1]) + inputs[name.split(".")[2]] if "." in name else 99
        )
        for name, width in widths.items()
    }


CHANGES = [
    {},
    {"rotation": NoRotation()},
    {"codec": "classes", "correction": Lqer(rank=2, top=2)},
    {"mlp": SCALAR, "codec": "range"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=["rotated", "plain", "corrected", "some"])
def test_an_artifact_comes_back_and_loses_what_its_events_say(model, moments, trellises, quant_spec, changes, tmp_path):
    quant = replace(replace(trellises, rotation=quant_spec.rotation), **changes)
    events, artifacts = [], []
    ways = [("many", partial(round_in_batches, ALONE)), ("one", None)]
    for way, rounds in ways if changes.keys() == {"rotation"} else ways[:1]:
        with EventLog(tmp_path / f"{way}.jsonl", stage="rotate_gptq") as log:
            artifacts.append(pack(rotate_gptq(model, moments, quant, log, rounds), quant, {"seed": 7}))
        entries = read_events(tmp_path / f"{way}.jsonl")
        events.append([{key: value for key, value in entry.items() if key != "t_s"} for entry in entries])
    assert artifacts[0] == artifacts[-1]
    assert events[0] == events[-1]

    state, header = unpack(artifacts[0], quant)
    schema = Path(__file__).resolve().parents[2] / "schemas" / "artifact.schema.json"
    jsonschema.validate(header, json.loads(schema.read_text()))
    codecs = {each["name"]: each["codec"] for each in header["streams"]}
    by_trellis = {name for name, codec in codecs.items() if codec == "trellis"}
    roles = {"query", "key", "value", "attn_out", "embedding"} | (
        {"mlp_up", "mlp_down"} if "mlp" not in changes else set()
    )
    assert by_trellis == roles
    before = unbank(model.state_dict(), model.spec)
    corrected = {entry["name"] for entry in events[0] if entry["event"] == "correction"}
    for entry in events[0]:
        if entry["event"] == "tensor":
            assert entry["error_gptq"] < entry["error_nearest"]
            if entry["name"] not in corrected:
                real = relative_error(before[entry["name"]], state[entry["name"]], moments[entry["name"]])
                assert entry["error_gptq"] == pytest.approx(real, rel=1e-2)


def test_readers_without_a_recipe_see_the_same_symbols(model, moments, trellises):
    quantized = rotate_gptq(model, moments, trellises, None, partial(round_in_batches, ALONE))
    data = pack(quantized, trellises, {})
    raws = raw_streams(read_artifact(data))
    keys = [name for name in sorted(quantized.symbols) if name.endswith(".k")]
    assert raws["key"] == b"".join(quantized.symbols[name].T.contiguous().numpy().tobytes() for name in keys)
    assert sum(row.size_bytes for row in describe(data)) == len(data)


def test_an_artifact_of_another_grid_is_refused(model, moments, trellises, quant_spec):
    data = pack(rotate_gptq(model, moments, trellises, None, partial(round_in_batches, ALONE)), trellises, {})
    with pytest.raises(ArtifactError, match="packed by trellis"):
        unpack(data, replace(quant_spec, codec="range"))


def test_the_forecast_knows_what_a_path_saves(recipe, model, trellises):
    eyes = {name: torch.eye(w.shape[1]) for name, w in unbank(model.state_dict(), model.spec).items() if w.ndim == 2}
    quant = replace(trellises, codec="range")
    data = pack(
        rotate_gptq(model, eyes, quant, None, partial(round_in_batches, ALONE)),
        quant,
        {"recipe_sha256": "0f" * 32, "seed": 1},
    )
    predicted = forecast(replace(recipe, quant=quant)).total_bytes
    assert predicted == pytest.approx(len(data), rel=0.06)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pruning": PrunedOnes()}, "pruning of kind ones"),
        ({"mixing": GradientBits()}, "mixing of kind gradient"),
        ({"triangles": Triangles(layers=(0,))}, "triangles need attention"),
    ],
)
def test_what_a_trellis_does_not_go_with_is_refused(trellises, change, words):
    with pytest.raises(ValueError, match=words):
        replace(trellises, **change)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bits": 2}, "bits must be 3..8"),
        ({"states": 5}, "states must be one of 4, 8"),
        ({"segment": 0}, "segment must"),
        ({"clip_sigmas": 0.0}, "clip_sigmas must"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        TrellisGrid(**{"bits": 6, "clip_sigmas": 6.0, **fields})
