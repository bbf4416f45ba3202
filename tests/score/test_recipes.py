"""Training forward, evaluation forward and adapted forward of every recipe, at reduced width (recipes H)."""

from dataclasses import replace

import pytest
import torch

from fairway.kernels.softcap_ce import softcap
from fairway.model.adapters import LoraBank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import recipe_names
from fairway.runtime.seeding import generator
from fairway.spec.model import Loops

SMALL = {"vocab_size": 64, "width": 64, "heads": 4, "kv_heads": 2, "mlp_width": 48, "rope_dims": 8}


@pytest.mark.parametrize("name", recipe_names())
def test_training_evaluation_and_fresh_adapters_go_through_one_forward(name: str) -> None:
    spec = load_recipe(name).recipe.model
    small = replace(spec, **SMALL, q_rank=16 if spec.q_rank else 0)
    model = Gpt(small)
    initialise(model, 1)
    source = generator(2, name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=source))
    tokens_BT = torch.randint(2, 64, (2, 7), generator=source)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    for looped in {False, isinstance(small.loops, Loops)}:
        bank = LoraBank(small, documents=2, rank=2, looped=looped)
        bank.reset(generator(3, name))
        with torch.no_grad():
            plain = model(inputs_BT, looped=looped)
            hidden = model.hidden(inputs_BT, looped=looped, hooks=bank.hooks())
            adapted = softcap(model.raw_logits(hidden, bank.hooks()), small.softcap)
            trained = model.loss(inputs_BT, targets_BT, looped=looped)
        nats = torch.nn.functional.cross_entropy(plain.flatten(0, 1), targets_BT.flatten())
        torch.testing.assert_close(adapted, plain, rtol=0, atol=0)
        torch.testing.assert_close(trained, nats, rtol=1e-5, atol=1e-5)
