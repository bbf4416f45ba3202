import json

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.model.hooks import Hooks
from fairway.quant.hessian import check_hessians, collect
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


class TwoAlike(Ranks):
    """Two ranks that see the same batches."""

    def sum_(self, tensors):
        for tensor in tensors:
            tensor *= 2


def batch(seed: int, *, packed: bool) -> Batch:
    tokens = torch.randint(300, (1, 65), generator=torch.Generator().manual_seed(seed))
    bounds = torch.tensor([0, 20, 64, 64, 64], dtype=torch.int32) if packed else None
    return Batch(tokens[:, :-1], tokens[:, 1:], bounds)


def observed(model, batches, *, looped: bool) -> dict[str, list[torch.Tensor]]:
    """The slow twin's material: every input, kept."""
    seen: dict[str, list[torch.Tensor]] = {}

    def observe(site, x):
        seen.setdefault(f"{site.layer}.{site.part}", []).append(x.reshape(-1, x.shape[-1]))

    with torch.no_grad():
        for b in batches:
            longest = None if b.cu_seqlens is None else 44
            hooks = Hooks(observe=observe)
            model(b.inputs_BT, looped=looped, cu_seqlens=b.cu_seqlens, max_len=longest, hooks=hooks)
    return seen


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_each_matrix_has_the_summed_outer_product_of_its_inputs_over_batches(model, looped, packed):
    batches = [batch(seed, packed=packed) for seed in range(3)]
    hessians = collect(model, iter(batches), 2, ALONE, looped=looped)
    seen = observed(model, batches[:2], looped=looped)
    parts = {"q": "attn_in", "k": "attn_in", "v": "attn_in", "o": "attn_proj_in", "up": "mlp_in", "down": "mlp_proj_in"}
    names = {f"blocks.{i}.{part}": f"{i}.{site}" for i in range(4) for part, site in parts.items()}
    names["embedding"] = "-1.head_in"
    assert hessians.keys() == names.keys()
    for name, key in names.items():
        x = torch.cat(seen[key])
        torch.testing.assert_close(hessians[name], x.T @ x / 2, rtol=1e-4, atol=1e-3)
    passes = 2 if looped else 1
    assert sum(len(x) for x in seen["1.attn_in"]) == 2 * 64 * passes


def test_ranks_add_up_and_the_mean_is_over_all_their_batches(model):
    ours = collect(model, [batch(0, packed=True)], 1, ALONE, looped=True)
    both = collect(model, [batch(0, packed=True)], 1, TwoAlike(0, 2, torch.device("cpu")), looped=True)
    for name, h in ours.items():
        torch.testing.assert_close(both[name], h)


def test_events_tell_trace_and_samples_of_every_matrix(model, tmp_path):
    with EventLog(tmp_path / "log.jsonl", stage="calibrate") as log:
        hessians = collect(model, [batch(0, packed=False)], 1, ALONE, looped=True, events=log)
    events = {entry["name"]: entry for entry in read_events(tmp_path / "log.jsonl") if entry["event"] == "hessian"}
    assert events.keys() == hessians.keys()
    assert all(events[name]["trace"] == pytest.approx(float(h.trace())) for name, h in hessians.items())
    assert events["blocks.0.q"]["samples"] == 64
    assert events["blocks.1.q"]["samples"] == 128
    assert json.dumps(events)


def test_the_model_is_left_as_it_is(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    collect(model, [batch(0, packed=True)], 1, ALONE, looped=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loader_that_ends_early_stops_the_run(model):
    with pytest.raises(StopIteration):
        collect(model, [batch(0, packed=False)], 3, ALONE, looped=False)


def test_a_model_that_diverged_stops_the_run(model):
    with torch.no_grad():
        model.up_bank[1, 0, 0] = float("nan")
    with pytest.raises(GateError, match=r"Hessian of .* must be finite and not all zero, its largest entry is nan"):
        collect(model, [batch(0, packed=False)], 1, ALONE, looped=False)


def test_what_is_no_hessian_is_refused_by_name():
    good = torch.eye(3)
    check_hessians({"blocks.0.q": good}, {"blocks.0.q": 3})
    not_finite, crooked = good.clone(), good.clone()
    not_finite[1, 1] = float("inf")
    crooked[0, 2] = 0.1
    cases = {
        "must be 3 x 3": {},
        "must be 3 x 3; calibrate": {"blocks.0.q": torch.eye(2)},
        "its largest entry is inf": {"blocks.0.q": not_finite},
        "its largest entry is 0.0": {"blocks.0.q": torch.zeros(3, 3)},
        "must be symmetric": {"blocks.0.q": crooked},
    }
    for message, hessians in cases.items():
        with pytest.raises(GateError) as caught:
            check_hessians(hessians, {"blocks.0.q": 3})
        assert "blocks.0.q" in str(caught.value) and message in str(caught.value)
