"""The model of every recipe, all its mechanisms together and all its layers, at a width that a test can afford."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fairway.data.batches import Batch
from fairway.model.adapters import LoraBank
from fairway.model.ahead import add_ahead_map
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.optim.groups import split_parameters
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import recipe_names
from fairway.runtime.ranks import Ranks
from fairway.spec.mechanisms import Mtp, NgramHash, SparseHeadGate, TokenSmear, ValueEmbedding
from fairway.spec.model import Loops, ModelSpec
from fairway.train.step import Stepper

VOCAB = 40
TABLE = {"buckets": 53, "width": 6}


def reduced(spec: ModelSpec) -> ModelSpec:
    """The same layers, loops and mechanisms, narrow."""
    changes = {
        "rope_dims": 8 if spec.rope_dims == spec.head_width else 4,
        "q_rank": 6 if spec.q_rank else 0,
        "angle_pairs": 5 if spec.angle_pairs else 0,
    }
    for name in ("bigram", "trigram"):
        if isinstance(table := getattr(spec, name), NgramHash):
            changes[name] = replace(table, **TABLE)
    if isinstance(spec.value_embedding, ValueEmbedding):
        changes["value_embedding"] = replace(spec.value_embedding, width=6)
    if isinstance(spec.smear, TokenSmear):
        changes["smear"] = replace(spec.smear, inputs=6)
    if isinstance(spec.head_gate, SparseHeadGate):
        changes["head_gate"] = replace(spec.head_gate, inputs=6)
    if isinstance(spec.loops, Loops) and spec.loops.adapter_rank:
        changes["loops"] = replace(spec.loops, adapter_rank=2)
    return replace(spec, vocab_size=VOCAB, width=32, heads=4, kv_heads=2, mlp_width=48, **changes)


RECIPES = {name: load_recipe(name).recipe for name in recipe_names()}
# Of recipes that differ in nothing but training, grids or evaluation, one model is enough.
FIRST = {}
for recipe in RECIPES.values():
    FIRST.setdefault(reduced(recipe.model), recipe)


@pytest.fixture(params=FIRST.values(), ids=lambda recipe: recipe.name)
def recipe(request):
    return request.param


def fresh(recipe):
    spec = reduced(recipe.model)
    model = Gpt(spec)
    initialise(model, 0)
    if isinstance(spec.mtp, Mtp):
        add_ahead_map(model, spec)
    return model


def moved(recipe):
    """Every parameter off its neutral start, so that no mechanism hides."""
    model = fresh(recipe)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def tokens(rows, length, seed=0):
    return torch.randint(2, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_is_in_exactly_one_group(name):
    spec = RECIPES[name].model
    with torch.device("meta"):
        model = Gpt(spec)
        if isinstance(spec.mtp, Mtp):
            add_ahead_map(model, spec)
    groups = split_parameters(model.named_parameters())
    named = [*groups.matrices, *groups.embedding, *groups.control]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())


def test_every_parameter_has_a_gradient_and_moves_within_two_steps(recipe):
    model = fresh(recipe)
    stepper = Stepper(model, recipe.optim, Ranks(0, 1, torch.device("cpu")))
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    felt = set()

    def loss_fn(batch):
        return model.loss(batch.inputs_BT, batch.targets_BT, looped=True)

    def note(name):
        return lambda gradient: felt.add(name) if gradient.any() else None

    for name, parameter in model.named_parameters():
        parameter.register_hook(note(name))
    for step in range(2):
        batch = Batch(tokens(4, 16, seed=step), tokens(4, 16, seed=9 + step), None)
        stepper.step(loss_fn, [batch], lr_scale=1.0, momentum_step=step)
    assert felt == start.keys()
    assert not [name for name, parameter in model.named_parameters() if torch.equal(parameter, start[name])]


@pytest.mark.parametrize("looped", [False, True])
def test_training_evaluation_and_fresh_adapters_compute_the_same(recipe, looped):
    model, x, y = moved(recipe), tokens(2, 12), tokens(2, 12, seed=1)
    x[1, 5] = 1
    bank = LoraBank(model.spec, documents=2, rank=2, looped=looped)
    bank.reset(torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(x, looped=looped)
        torch.testing.assert_close(model(x, looped=looped, hooks=bank.hooks()), logits, atol=0, rtol=0)
        if not isinstance(model.spec.mtp, Mtp):  # whose loss has a second part
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            torch.testing.assert_close(model.loss(x, y, looped=looped), loss, atol=1e-5, rtol=1e-5)


def test_a_token_changes_nothing_before_it(recipe):
    model, x = moved(recipe), tokens(2, 10)
    x[1, 4] = 1
    with torch.no_grad():
        before = model(x, looped=True)
        for t in (0, 5, 9):
            changed = x.clone()
            changed[:, t] = x[:, t] % (VOCAB - 2) + 2
            after = model(changed, looped=True)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not torch.equal(after[:, t], before[:, t])


def test_packed_documents_equal_each_alone_and_do_not_feel_their_neighbours(recipe):
    model, x = moved(recipe), tokens(1, 20)
    bounds = [0, 6, 7, 15, 20]
    x[0, bounds[:-1]] = 1
    cu_seqlens = torch.tensor([*bounds, 20, 20], dtype=torch.int32)
    changed = x.clone()
    changed[:, 8:15] = tokens(1, 7, seed=5)
    with torch.no_grad():
        packed = model(x, looped=True, cu_seqlens=cu_seqlens, max_len=8)
        for a, b in zip(bounds, bounds[1:], strict=False):
            torch.testing.assert_close(packed[:, a:b], model(x[:, a:b], looped=True), atol=1e-4, rtol=1e-4)
        after = model(changed, looped=True, cu_seqlens=cu_seqlens, max_len=8)
    assert torch.equal(packed[:, :8], after[:, :8]) and torch.equal(packed[:, 15:], after[:, 15:])
    assert not torch.equal(packed[:, 8:15], after[:, 8:15])
