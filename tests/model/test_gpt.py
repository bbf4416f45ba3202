from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fairway.model import gpt
from fairway.model.block import one_lane
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, NoLoops, OneLane, TwoLanes

FULL = ModelSpec(
    vocab_size=300,
    layers=5,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    xsa_last=5,
    loops=Loops(first=1, last=2),
    lanes=TwoLanes(start=4),
)
SPECS = {
    "every mechanism": FULL,
    "one lane": replace(FULL, lanes=OneLane()),
    "lanes from the start of the decoder": replace(FULL, lanes=TwoLanes(start=1)),
    "no loops, no XSA, no layer scale": replace(FULL, loops=NoLoops(), xsa_last=0, ln_scale=False),
    "one layer": replace(FULL, layers=1, loops=NoLoops(), lanes=OneLane(), xsa_last=1),
}


def moved(spec, amount=0.1, dtype=torch.float32):
    """A model whose every parameter is off its neutral start, so that no mechanism hides."""
    model = Gpt(spec, dtype)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(amount * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def tokens(rows, length, seed=0):
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def model(request):
    return moved(request.param)


def sp8192(**changes):
    return ModelSpec(vocab_size=8192, layers=11, width=512, heads=8, kv_heads=4, mlp_width=2048, xsa_last=11, **changes)


def test_the_sp8192_stack_has_exactly_the_parameters_of_the_records():
    with torch.device("meta"):
        model = Gpt(sp8192(loops=Loops(first=3, last=5), lanes=TwoLanes(start=8)))
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    matrices = {"embedding": 4_194_304, "qo_bank": 5_767_168, "kv_bank": 2_883_584, "up_bank": 11_534_336}
    assert counts.items() >= matrices.items()
    assert counts["down_bank"] == counts["up_bank"]
    assert sum(counts.values()) == 35_944_602


@pytest.mark.parametrize("looped", [False, True])
def test_changing_a_token_changes_no_logit_before_it_bit_for_bit(model, looped):
    x = tokens(2, 20)
    with torch.no_grad():
        before = model(x, looped=looped)
        for t in (0, 7, 19):
            changed = x.clone()
            changed[:, t] = (x[:, t] + 1) % 300
            after = model(changed, looped=looped)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not torch.equal(after[:, t], before[:, t])


@pytest.mark.parametrize("looped", [False, True])
def test_packed_documents_equal_each_document_alone(model, looped):
    x = tokens(1, 40)
    bounds = [0, 13, 14, 30, 40]
    cu_seqlens = torch.tensor([*bounds, 40, 40], dtype=torch.int32)
    with torch.no_grad():
        packed = model(x, looped=looped, cu_seqlens=cu_seqlens, max_len=16)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True):
            alone = model(x[:, a:b], looped=looped)
            torch.testing.assert_close(packed[:, a:b], alone, atol=1e-4, rtol=1e-4)


def test_a_packed_document_does_not_feel_its_neighbours_bit_for_bit(model):
    x = tokens(1, 40)
    cu_seqlens = torch.tensor([0, 13, 30, 40], dtype=torch.int32)
    changed = x.clone()
    changed[:, 13:30] = tokens(1, 17, seed=9)
    with torch.no_grad():
        before = model(x, looped=True, cu_seqlens=cu_seqlens, max_len=20)
        after = model(changed, looped=True, cu_seqlens=cu_seqlens, max_len=20)
    assert torch.equal(before[:, :13], after[:, :13])
    assert torch.equal(before[:, 30:], after[:, 30:])


def test_padding_at_the_right_changes_no_logit(model):
    x = tokens(3, 12)
    padded = torch.cat([x, torch.zeros(3, 5, dtype=x.dtype)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded, looped=True)[:, :12], model(x, looped=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("looped", [False, True])
def test_the_training_loss_is_the_cross_entropy_of_the_evaluation_logits(model, looped):
    x, y = tokens(1, 40), tokens(1, 40, seed=1)
    packed = {"cu_seqlens": torch.tensor([0, 13, 40], dtype=torch.int32), "max_len": 32}
    loss = model.loss(x, y, looped=looped, **packed)
    logits = model(x, looped=looped, **packed)
    assert logits.abs().max() <= 30
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), y.flatten()))


@pytest.mark.parametrize("looped", [False, True])
def test_training_and_evaluation_mode_are_the_same_forward(model, looped):
    x = tokens(2, 10)
    assert torch.equal(model.train()(x, looped=looped), model.eval()(x, looped=looped))
    with torch.no_grad():
        unrecorded = model(x, looped=looped)
    assert torch.equal(unrecorded, model(x, looped=looped))


def test_gradients_equal_finite_differences_along_a_random_direction(model):
    model = model.double()
    model.dtype = torch.float64
    x, y = tokens(1, 24), tokens(1, 24, seed=1)
    packed = {"cu_seqlens": torch.tensor([0, 9, 24], dtype=torch.int32), "max_len": 16}

    names = [name for name, parameter in model.named_parameters() if parameter.numel()]
    used = [parameter for parameter in model.parameters() if parameter.numel()]
    gradients = dict(zip(names, torch.autograd.grad(model_loss_in_double(model, x, y, packed), used), strict=True))
    with torch.no_grad():
        for i, (name, gradient) in enumerate(gradients.items()):
            parameter = model.get_parameter(name)
            step = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64) * 1e-5
            parameter.add_(step)
            up = model_loss_in_double(model, x, y, packed)
            parameter.sub_(2 * step)
            down = model_loss_in_double(model, x, y, packed)
            parameter.add_(step)
            torch.testing.assert_close((up - down) / 2, (gradient * step).sum(), atol=1e-10, rtol=1e-4, msg=name)


def model_loss_in_double(model, x, y, packed):
    hidden = model.hidden(x, looped=True, **packed)
    logits = F.linear(hidden, model.embedding)
    logits = torch.tanh(logits / 30) * 30
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


@pytest.mark.parametrize("looped", [False, True])
def test_every_parameter_that_the_schedule_uses_gets_a_gradient(looped):
    model = moved(FULL)
    model.loss(tokens(2, 16), tokens(2, 16, seed=1), looped=looped).backward()
    for name, parameter in model.named_parameters():
        unused = {"skip_weight": 2 if not looped else 4, "skip_gate": 2 if not looped else 4}
        rows = parameter.grad.flatten(1).any(1)
        if name in unused:
            assert rows[: unused[name]].all() and not rows[unused[name] :].any()
        elif name in ("lane_decay", "lane_mix"):
            assert rows.tolist() == [False] * 4 + [True]
        else:
            assert rows.all() or name == "embedding"


def test_loops_that_are_not_switched_on_are_as_if_the_spec_had_none():
    plain = replace(FULL, loops=NoLoops())
    model = moved(FULL)
    x = tokens(2, 9)
    assert torch.equal(model(x, looped=False), load_into(plain, model)(x, looped=True))
    assert not torch.equal(model(x, looped=True), model(x, looped=False))


def load_into(spec, other):
    model = Gpt(spec)
    state = other.state_dict()
    rows = model.skip_weight.shape[0]
    model.load_state_dict(state | {name: state[name][:rows] for name in ("skip_weight", "skip_gate")})
    return model


def test_lanes_part_before_the_skip_which_enters_the_first_lane_only(monkeypatch):
    model = moved(replace(FULL, layers=2, loops=NoLoops(), lanes=TwoLanes(start=1), xsa_last=2))
    streams = []
    monkeypatch.setattr(gpt, "one_lane", lambda *given: streams.append(one_lane(*given)) or streams[-1])
    with torch.no_grad():
        # Layer 1 adds nothing and decays nothing, so the mean of its lanes shows what entered them.
        model.lane_mix.zero_()
        model.lane_decay.fill_(1.0)
        hidden = model.hidden(tokens(2, 9), looped=False)
        (stream,) = streams
        g = torch.sigmoid(model.skip_gate[0])
        lane0 = g * stream + (1 - g) * model.skip_weight[0] * stream
        torch.testing.assert_close(hidden, F.rms_norm((lane0 + stream) / 2, (32,)))


def test_a_fresh_model_predicts_from_the_embedding_alone():
    model = Gpt(FULL)
    initialise(model, 0)
    with torch.no_grad():
        model.lane_decay.fill_(1.0)
        x = tokens(2, 9)
        # Normed twice, because an embedding this small feels the epsilon of the first norm.
        embedded = F.rms_norm(F.rms_norm(model.embedding[x], (32,)), (32,))
        torch.testing.assert_close(model.hidden(x, looped=True), embedded, atol=1e-5, rtol=1e-4)


def test_half_precision_stays_near_single_precision_and_gives_float_logits():
    half, single = moved(FULL, dtype=torch.bfloat16), moved(FULL)
    x = tokens(2, 9)
    logits = half(x, looped=True)
    assert logits.dtype == torch.float32
    assert (logits - single(x, looped=True)).abs().mean() < 0.1
    half.loss(x, x, looped=True).backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in half.parameters())


def test_packed_rows_without_their_longest_length_are_refused():
    model = moved(FULL)
    with pytest.raises(ValueError, match="one flat row, got 2 rows"):
        model(tokens(2, 8), looped=False, cu_seqlens=torch.tensor([0, 8]), max_len=8)
    with pytest.raises(ValueError, match="needs max_len"):
        model(tokens(1, 8), looped=False, cu_seqlens=torch.tensor([0, 8]))
