import torch

from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, TwoLanes

SPEC = ModelSpec(
    vocab_size=2000,
    layers=4,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=96,
    rope_dims=4,
    qk_gain=4.0,
    loops=Loops(first=1, last=2),
    lanes=TwoLanes(start=3),
)


def initialised(seed):
    model = Gpt(SPEC)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    initialise(model, seed)
    return model


def is_orthogonal(bank):
    gram = bank @ bank.mT if bank.shape[-2] <= bank.shape[-1] else bank.mT @ bank
    return torch.allclose(gram, torch.eye(gram.shape[-1]).expand_as(gram), atol=1e-5)


def test_every_parameter_is_set():
    assert all(parameter.isfinite().all() for parameter in initialised(0).parameters())


def test_queries_keys_values_and_up_are_orthogonal_and_both_outputs_zero():
    model = initialised(0)
    assert is_orthogonal(model.qo_bank[:4])
    assert is_orthogonal(model.kv_bank)
    assert is_orthogonal(model.up_bank)
    assert not model.qo_bank[4:].any()
    assert not model.down_bank.any()


def test_the_embedding_has_the_deviation_of_the_spec():
    deviation = initialised(0).embedding.std().item()
    assert abs(deviation / SPEC.embedding_std - 1) < 0.02


def test_controls_start_where_the_record_starts_them():
    model = initialised(0)
    assert (model.attn_scale == 1).all() and (model.mlp_scale == 1).all()
    assert (model.resid_mix[:, 0] == 1).all() and (model.resid_mix[:, 1] == 0).all()
    assert (model.q_gain == 4).all()
    assert (model.skip_weight == 1).all() and (model.skip_gate == 0).all()
    assert torch.allclose(model.lane_decay, torch.tensor(1.1)) and (model.lane_mix == 1).all()


def test_a_seed_gives_the_same_weights_again_and_another_seed_others():
    one, same, other = initialised(1), initialised(1), initialised(2)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name))
    assert not torch.equal(one.embedding, other.embedding)
    assert not torch.equal(one.up_bank, other.up_bank)
    assert not torch.equal(one.kv_bank[0], one.kv_bank[1])
