"""Each mechanism that only some recipes have: equal to its formula, causal, blind to other documents, and learned."""

from dataclasses import replace

import pytest
import torch

from fairway.model.adapters import LoraBank
from fairway.model.ahead import add_ahead_map, drop_ahead_map
from fairway.model.depth import schedule
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.model.weights import bake_symmetry
from fairway.optim.groups import split_parameters
from fairway.spec.mechanisms import (
    AddedSkips,
    ChannelSmear,
    DenseHeadGate,
    DepthAttention,
    HyperConnections,
    LegendreMix,
    Mtp,
    NgramHash,
    NoSkips,
    SparseHeadGate,
    SymLayers,
    SymMix,
    TokenSmear,
    ValueEmbedding,
)
from fairway.spec.model import Loops, ModelSpec

PLAIN = ModelSpec(
    vocab_size=40, layers=3, width=16, heads=4, kv_heads=2, mlp_width=12, rope_dims=2, xsa_last=2, skips=AddedSkips()
)
BIGRAM = NgramHash(buckets=29, width=4, multipliers=(36313, 27191))
TRIGRAM = NgramHash(buckets=31, width=3, multipliers=(27191, 36313, 48271), reserve_last=False, embedding_std=0.01)
SPECS = {
    "added skips": PLAIN,
    "no skips": replace(PLAIN, skips=NoSkips()),
    "hyper-connections": replace(PLAIN, skips=HyperConnections()),
    "hyper-connections by channel": replace(PLAIN, skips=HyperConnections(by_channel=True)),
    "depth attention": replace(PLAIN, skips=DepthAttention()),
    "factored Q": replace(PLAIN, q_rank=5, start="uniform"),
    "angles": replace(PLAIN, angle_pairs=3),
    "Star-ReLU": replace(PLAIN, star_relu=True, negative_slope=0.0),
    "value residual": replace(PLAIN, value_residual=True),
    "value embedding": replace(PLAIN, value_embedding=ValueEmbedding(width=5, layers=(1, 2))),
    "value embedding and residual": replace(
        PLAIN, value_residual=True, value_embedding=ValueEmbedding(width=5, layers=(0, 2))
    ),
    "bigrams": replace(PLAIN, bigram=BIGRAM),
    "bigrams of #212": replace(PLAIN, bigram=replace(BIGRAM, multipliers=(27191, 36313), reserve_last=False)),
    "trigrams": replace(PLAIN, bigram=BIGRAM, trigram=TRIGRAM),
    "reserved trigrams": replace(PLAIN, trigram=replace(TRIGRAM, reserve_last=True)),
    "channel smear": replace(PLAIN, smear=ChannelSmear()),
    "token smear": replace(PLAIN, smear=TokenSmear(inputs=6)),
    "dense gate": replace(PLAIN, head_gate=DenseHeadGate(std=0.005)),
    "dense gate with bias": replace(PLAIN, head_gate=DenseHeadGate(bias=4.0)),
    "sparse gate": replace(PLAIN, head_gate=SparseHeadGate(inputs=5, scale=0.5)),
    "SymMix": replace(PLAIN, symmetry=SymMix()),
    "symmetric layers": replace(PLAIN, symmetry=SymLayers(layers=(1,))),
    "adapters of runs": replace(
        PLAIN, skips=NoSkips(), loops=Loops(first=0, last=2, extra=1, start_fraction=0.0, adapter_rank=2)
    ),
}


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request):
    return request.param


def moved(spec, amount=0.2):
    """A model whose every parameter is off its neutral start, so that no mechanism hides."""
    model = Gpt(spec)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(amount * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def tokens(rows, length, seed=0):
    return torch.randint(2, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("looped", [False, True])
def test_the_forward_equals_its_formulas(spec, looped, twin):
    model = moved(spec).double()
    model.dtype = torch.float64
    x = tokens(2, 7)
    x[1, 3] = 1  # a document begins inside the row
    hidden = model.hidden(x, looped=looped)
    order = schedule(spec, looped).slots
    for row in range(2):
        torch.testing.assert_close(hidden[row], twin(model).hidden(x[row], order), atol=1e-6, rtol=1e-5)


def test_a_token_changes_nothing_before_it_bit_for_bit(spec):
    model, x = moved(spec), tokens(2, 9)
    with torch.no_grad():
        before = model(x, looped=True)
        for t in (0, 4, 8):
            changed = x.clone()
            changed[:, t] = x[:, t] % 38 + 2
            after = model(changed, looped=True)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not torch.equal(after[:, t], before[:, t])


def test_packed_documents_equal_each_document_alone_and_do_not_feel_their_neighbours(spec):
    model, x = moved(spec), tokens(1, 20)
    bounds = [0, 6, 7, 15, 20]
    x[0, bounds[:-1]] = 1
    cu_seqlens = torch.tensor([*bounds, 20], dtype=torch.int32)
    changed = x.clone()
    changed[:, 8:15] = tokens(1, 7, seed=5)
    with torch.no_grad():
        packed = model(x, looped=True, cu_seqlens=cu_seqlens, max_len=8)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True):
            torch.testing.assert_close(packed[:, a:b], model(x[:, a:b], looped=True), atol=1e-4, rtol=1e-4)
        after = model(changed, looped=True, cu_seqlens=cu_seqlens, max_len=8)
    assert torch.equal(packed[:, :8], after[:, :8])
    assert torch.equal(packed[:, 15:], after[:, 15:])
    assert not torch.equal(packed[:, 8:15], after[:, 8:15])


def test_fresh_document_adapters_change_nothing(spec):
    model, x = moved(spec), tokens(2, 9)
    bank = LoraBank(spec, documents=2, rank=2, looped=True)
    bank.reset(torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(x, looped=True, hooks=bank.hooks()), model(x, looped=True), atol=0, rtol=0)


def test_every_parameter_has_one_group_and_a_gradient_within_three_steps_from_its_start(spec):
    model = Gpt(spec)
    initialise(model, 0)
    assert split_parameters(model.named_parameters()).all() == dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    x, y = tokens(4, 12), tokens(4, 12, seed=1)
    still = {name for name, _ in model.named_parameters()}
    for _ in range(3):  # zero maps behind zero maps take their turns
        optimizer.zero_grad()
        model.loss(x, y, looped=True).backward()
        still -= {name for name, parameter in model.named_parameters() if parameter.grad.any()}
        optimizer.step()
    assert still == set()


def test_gradients_equal_finite_differences_along_a_random_direction(spec):
    model = moved(spec).double()
    model.dtype = torch.float64
    x, y = tokens(1, 12), tokens(1, 12, seed=1)

    def loss():
        logits = model.hidden(x, looped=True) @ model.get_parameter("embedding").T
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())

    loss().backward()
    with torch.no_grad():
        for i, (name, parameter) in enumerate(model.named_parameters()):
            step = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64) * 1e-5
            parameter.add_(step)
            up = loss()
            parameter.sub_(2 * step)
            down = loss()
            parameter.add_(step)
            gradient = torch.zeros(()) if parameter.grad is None else (parameter.grad * step).sum()
            torch.testing.assert_close((up - down) / 2, gradient.double(), atol=1e-10, rtol=1e-4, msg=name)


def test_the_loss_takes_in_the_token_after_the_next_of_the_same_document():
    spec = replace(PLAIN, mtp=Mtp(loss_weight=0.5))
    model, plain = moved(spec), moved(PLAIN)
    x, y = tokens(2, 9), tokens(2, 9, seed=1)
    x[0, 4] = 1
    assert torch.equal(model.loss(x, y, looped=False), plain.loss(x, y, looped=False))
    add_ahead_map(model, spec)
    with torch.no_grad():
        model.get_parameter("ahead_weight").normal_(generator=torch.Generator().manual_seed(3))
        hidden, head = (
            model.hidden(x, looped=False),
            model.get_parameter("embedding") @ model.get_parameter("ahead_weight"),
        )
        nats = []
        for row in range(2):
            for t in range(8):
                if x[row, t + 1] != 1:
                    logits = 30 * torch.tanh(head @ hidden[row, t] / 30)
                    nats.append(logits.logsumexp(0) - logits[y[row, t + 1]])
    assert len(nats) == 15
    expected = plain.loss(x, y, looped=False) + 0.5 * torch.stack(nats).mean()
    torch.testing.assert_close(model.loss(x, y, looped=False), expected)
    drop_ahead_map(model)
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", ["SymMix", "symmetric layers"])
def test_baking_symmetry_into_the_weights_changes_nothing_else(name):
    model, x = moved(SPECS[name]), tokens(2, 9)
    before = model(x, looped=False)
    weights = model.get_parameter("qo_bank").detach().clone()
    bake_symmetry(dict(model.named_parameters()), SPECS[name])
    torch.testing.assert_close(model(x, looped=False), before, atol=1e-5, rtol=1e-4)
    assert not torch.equal(model.get_parameter("qo_bank"), weights)
    bake_symmetry(dict(model.named_parameters()), SPECS[name])
    torch.testing.assert_close(model(x, looped=False), before, atol=1e-5, rtol=1e-4)


def test_shares_of_stream_and_embedding_start_half_way_to_a_polynomial_of_depth():
    spec = replace(PLAIN, layers=5, xsa_last=0, resid_start=LegendreMix(stream=(1, 0, 2), embedding=(-1, 1, 3)))
    model = Gpt(spec)
    initialise(model, 0)
    for layer in range(5):
        z = layer / 2 - 1
        stream, embedding = 1 + (3 * z**2 - 1), -1 + z + 3 * (3 * z**2 - 1) / 2
        row = model.get_parameter("resid_mix")[layer]
        torch.testing.assert_close(row[0], torch.full((16,), (1 + stream) / 2))
        torch.testing.assert_close(row[1], torch.full((16,), embedding / 2), atol=1e-6, rtol=1e-5)


def test_tables_start_as_their_recipe_says():
    spec = replace(
        PLAIN,
        width=64,
        bigram=replace(BIGRAM, buckets=900, width=64, embedding_std=0.01, weight_gain=0.5),
        trigram=replace(TRIGRAM, weight_gain=0.0),
        start="uniform",
    )
    model = Gpt(spec)
    initialise(model, 0)
    weight = model.get_parameter("bigram_weight")
    torch.testing.assert_close(weight @ weight.T, 0.25 * torch.eye(64), atol=1e-5, rtol=1e-5)
    assert abs(model.get_parameter("bigram_embedding").std().item() / 0.01 - 1) < 0.02
    assert not model.get_parameter("trigram_weight").any()
    up = model.get_parameter("up_bank")
    assert up.abs().max() <= 1 / 8 and abs(up.std().item() - 1 / 8 / 3**0.5) < 1e-3


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"q_rank": 17}, "q_rank must be 0..16, got 17"),
        ({"q_rank": 4, "symmetry": SymMix()}, "no square Q for symmetry of kind mix"),
        ({"angle_pairs": 9}, "angle_pairs must be 0..8"),
        ({"symmetry": SymLayers(layers=(3,))}, r"symmetry.layers must be distinct and within 0..2, got \[3\]"),
        ({"value_embedding": ValueEmbedding(layers=(1, 1))}, r"value_embedding.layers must be distinct"),
        ({"smear": TokenSmear(inputs=17)}, "smear.inputs must be 1..16"),
        ({"skips": HyperConnections(), "loops": Loops(first=0, last=1)}, "skips of kind hyper need one lane"),
        ({"loops": Loops(first=0, last=1, adapter_rank=2)}, "loops.adapter_rank needs loops over all layers"),
    ],
)
def test_mechanisms_that_do_not_fit_are_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(PLAIN, **changes)


def test_a_table_needs_a_bucket_and_a_run():
    with pytest.raises(ValueError, match="buckets must be at least 2"):
        NgramHash(buckets=1, width=4, multipliers=(1, 2))
    with pytest.raises(ValueError, match="multipliers must be at least two"):
        NgramHash(buckets=8, width=4, multipliers=(1,))
