"""Ones set to zero: which go first, how many, and that no more go than must."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairway.data.batches import Batch
from fairway.quant.hessian import collect
from fairway.quant.packing import QuantizedModel
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.quant.pruning import fewest, ones_pruner, pruned_to_fit
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import PrunedOnes

EXTRA = {"recipe_sha256": "0" * 64, "seed": 1}


@pytest.fixture
def quantized(model, quant_spec):
    tokens = torch.randint(2, 300, (1, 129), generator=torch.Generator().manual_seed(0))
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, alone, looped=True)
    return rotate_gptq(model, hessians, quant_spec)


@pytest.mark.parametrize("count", [0, 1, 7, 200, 10**6])
def test_ones_of_the_smallest_steps_go_first(quantized, count):
    prune, most = ones_pruner(quantized)
    ones = [
        (float(quantized.steps[name][row]), place, name, row, column)
        for place, name in enumerate(quantized.symbols)
        if name.startswith("blocks.")
        for row, values in enumerate(quantized.symbols[name].tolist())
        for column, value in enumerate(values)
        if abs(value) == 1
    ]
    assert most == len(ones)
    wanted = {name: symbols.clone() for name, symbols in quantized.symbols.items()}
    for _, _, name, row, column in sorted(ones)[:count]:
        wanted[name][row, column] = 0
    found = prune(count)
    assert all(torch.equal(found.symbols[name], symbols) for name, symbols in wanted.items())
    assert found.steps is quantized.steps and found.kept is quantized.kept


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=60),
    limit=st.integers(0, 100),
)
def test_the_fewest_that_fit_are_found(sizes, limit):
    sizes = sorted(sizes, reverse=True)
    slow = next((count for count, size in enumerate(sizes) if size <= limit), len(sizes) - 1)
    assert fewest(lambda count: sizes[count], len(sizes) - 1, limit) == slow


def test_the_file_fits_with_the_code_and_stays_as_it_was_where_it_did_before(quantized, quant_spec, tmp_path):
    plain, code = len(pack(quantized, quant_spec, EXTRA)), 5000
    tight = PrunedOnes(target=(plain + code - 700) / 1e6, code_bytes=code)
    with EventLog(tmp_path / "log.jsonl", stage="compress") as log:
        pruned = pruned_to_fit(quantized, quant_spec, tight, EXTRA, log)
    assert len(pack(pruned, quant_spec, EXTRA)) + code <= plain + code - 700
    event = next(entry for entry in read_events(tmp_path / "log.jsonl") if entry["event"] == "pruned")
    assert 0 < event["zeroed"] < event["ones"] and event["limit_bytes"] == plain + code - 700
    prune, most = ones_pruner(quantized)
    assert most == event["ones"]
    assert len(pack(prune(event["zeroed"] - 50), quant_spec, EXTRA)) + code > event["limit_bytes"]
    for roomy in (
        PrunedOnes(target=(plain + code) / 1e6 + 1e-6, code_bytes=code),
        replace(tight, unit="MiB", target=1.0),
    ):
        same = pruned_to_fit(quantized, quant_spec, roomy, EXTRA)
        assert all(torch.equal(same.symbols[name], symbols) for name, symbols in quantized.symbols.items())


def test_where_nothing_is_enough_all_ones_go(quantized, quant_spec):
    pruned = pruned_to_fit(quantized, quant_spec, PrunedOnes(target=1e-6), EXTRA)
    assert isinstance(pruned, QuantizedModel)
    for name, symbols in pruned.symbols.items():
        assert bool((symbols.abs() == 1).any()) == (not name.startswith("blocks.")), name
