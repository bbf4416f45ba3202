import pytest
import torch

from fairway.model.adapters import LoraBank
from fairway.model.gpt import Gpt
from fairway.model.hooks import HEAD, Site
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, TwoLanes

SPEC = ModelSpec(
    vocab_size=300,
    layers=4,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    xsa_last=2,
    loops=Loops(first=1, last=2, extra=1),
    lanes=TwoLanes(start=3),
)


def moved_model():
    model = Gpt(SPEC)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def bank_of(documents=3, *, alpha=None, fresh=True):
    bank = LoraBank(SPEC, documents=documents, rank=4, looped=True, alpha=alpha)
    bank.reset(torch.Generator().manual_seed(5))
    if not fresh:
        with torch.no_grad():
            for i, parameter in enumerate(bank.parameters()):
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return bank


def tokens(rows=3, length=9):
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(1))


def test_fresh_adapters_change_nothing_bit_for_bit():
    model, bank = moved_model(), bank_of()
    plain = model(tokens(), looped=True)
    assert torch.equal(model(tokens(), looped=True, hooks=bank.hooks()), plain)
    assert not torch.equal(model(tokens(), looped=True, hooks=bank_of(fresh=False).hooks()), plain)


def test_an_adapter_adds_its_scaled_low_rank_product_to_its_own_document_only():
    bank = bank_of(alpha=6.0, fresh=False)
    site = Site(2, 2, "k")
    x = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(2))
    y = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(3))
    a, b = bank.a_BRI[site], bank.b_BOR[site]
    for document in range(3):
        expected = y[document] + 6.0 / 4 * (x[document] @ a[document].T) @ b[document].T
        torch.testing.assert_close(bank.adapt(site, x, y)[document], expected)


def test_documents_of_a_batch_equal_documents_alone_and_fewer_rows_use_the_first_adapters():
    model, bank = moved_model(), bank_of(fresh=False)
    together = model(tokens(), looped=True, hooks=bank.hooks())
    torch.testing.assert_close(model(tokens()[:2], looped=True, hooks=bank.hooks()), together[:2])


def test_gradients_of_a_document_stay_in_its_adapters_and_every_adapter_gets_one():
    model, bank = moved_model(), bank_of(fresh=False)
    model(tokens(), looped=True, hooks=bank.hooks())[1].square().sum().backward()
    for parameter in bank.parameters():
        assert parameter.grad[1].any()
        assert not parameter.grad[0].any() and not parameter.grad[2].any()


def test_there_is_a_pair_for_every_part_of_every_slot_and_for_the_head():
    bank = bank_of()
    assert len(bank.slots) == 6
    assert set(bank.a_BRI) == {
        *(Site(slot, layer, part) for slot, layer in enumerate(bank.slots) for part in ("q", "k", "v", "o", "mlp")),
        HEAD,
    }
    assert bank.b_BOR[HEAD].shape == (3, 300, 4)
    assert bank.b_BOR[Site(0, 0, "v")].shape == (3, 16, 4)


def test_an_adapter_of_rank_96_at_sp8192_width_holds_eight_million_numbers_a_document():
    spec = ModelSpec(
        vocab_size=8192, layers=11, width=512, heads=8, kv_heads=4, mlp_width=2048, loops=Loops(first=3, last=5)
    )
    bank = LoraBank(spec, documents=1, rank=96, looped=True, device="meta")
    assert sum(parameter.numel() for parameter in bank.parameters()) == 8_355_840


def test_a_reset_draws_a_within_its_bound_and_clears_b_and_gradients():
    model, bank = moved_model(), bank_of(fresh=False)
    model(tokens(), looped=True, hooks=bank.hooks()).sum().backward()
    bank.reset(torch.Generator().manual_seed(9))
    for a in bank.a_BRI.values():
        assert a.grad is None
        assert 0.9 * 32**-0.5 < a.abs().max() <= 32**-0.5
    assert not any(b.any() for b in bank.b_BOR.values())
    again = bank_of()
    again.reset(torch.Generator().manual_seed(9))
    assert all(torch.equal(x, y) for x, y in zip(bank.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_rate_rises_from_the_first_slot_to_the_last_and_is_plain_at_the_head(slope):
    bank = bank_of()
    by_parameter = dict(zip(map(id, bank.parameters()), bank.lr_multipliers(slope), strict=True))
    for factors in (bank.a_BRI, bank.b_BOR):
        assert by_parameter[id(factors[Site(0, 0, "q")])] == 1.0
        assert by_parameter[id(factors[Site(5, 3, "mlp")])] == 1.0 + slope
        assert by_parameter[id(factors[HEAD])] == 1.0
