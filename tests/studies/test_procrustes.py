import pytest
import torch

from fairway.studies.alignment import align, align_by_chance, factors, low_rank, permuted, rotation
from fairway.studies.chance import gaussian, haar, source
from fairway.studies.inputs import Inputs
from fairway.studies.procrustes import study
from fairway.studies.transport import direct, direct_at, transported


@pytest.mark.parametrize(("shape", "percent"), [((512, 1536), 91.7), ((512, 512), 74.8), ((1536, 512), 47.25)])
def test_gaussian_matrices_that_share_nothing_are_laid_onto_each_other(shape, percent):
    draw = source("test")
    a, b = (factors(gaussian(*shape, draw)) for _ in range(2))
    assert 100 * align(a, b).right == pytest.approx(percent, abs=0.3)
    assert 100 * align_by_chance(a, b, draw).right == pytest.approx(percent, abs=0.3)


def test_low_ranks_of_random_rotations_hold_what_was_taken_for_a_finding():
    draw = source("test")
    found = low_rank(gaussian(128, 384, draw), gaussian(128, 384, draw), [4, 16, 32])
    assert [each.energy for each in found] == pytest.approx([0.0208, 0.0832, 0.1658], rel=0.03)
    assert [each.reduction for each in found] == pytest.approx([0.019, 0.076, 0.150], rel=0.1)


def test_the_alignment_is_that_of_the_rotation_itself():
    draw = source("test")
    a, b = gaussian(20, 30, draw), gaussian(20, 30, draw)
    turn = rotation(a, b)
    assert torch.allclose(turn @ turn.T, torch.eye(30), atol=1e-5)
    before, after = (a - b).square().sum(), (a @ turn - b).square().sum()
    assert align(factors(a), factors(b)).right == pytest.approx(float(1 - after / before), abs=1e-5)
    left = rotation(a.T, b.T)
    after = (left.T @ a - b).square().sum()
    assert align(factors(a), factors(b)).left == pytest.approx(float(1 - after / before), abs=1e-5)


def test_a_planted_rotation_and_a_planted_order_are_found():
    draw = source("test")
    a = gaussian(40, 20, draw)
    turned = align(factors(a), factors(a @ haar(20, 20, draw)))
    assert turned.right == pytest.approx(1.0, abs=1e-4)
    assert turned.left < 0.95
    assert permuted(a, a[:, torch.randperm(20, generator=draw)]) == pytest.approx(1.0)


def test_a_rotation_of_the_same_matrix_transports_it_and_noise_does_not():
    draw = source("test")
    a = gaussian(96, 32, draw)
    kin = [a, *(a @ haar(32, 32, draw) for _ in range(3))]
    strangers = [gaussian(96, 32, draw) for _ in range(4)]
    assert transported(kin, "right").error < 0.05
    assert transported(strangers, "right").error > 0.3
    plain, coarse = direct(kin), direct_at(kin, 0.1)
    assert plain.error < coarse.error <= 0.1
    assert coarse.size_bytes < plain.size_bytes


def test_independent_seeds_show_no_more_than_chance(inputs):
    result = study(inputs)
    table = result.tables["alignment"]
    assert set(table.column("between")) == {"layers", "seeds"}
    for kind in ("layers", "seeds"):
        for part in ("q", "k", "v", "o", "up", "down"):
            assert abs(result.numbers[f"{kind}.{part}.right_excess"]) < 0.06
    assert result.numbers["embedding.held_out_reduction"] < 0.1
    assert "points" in result.paragraph


def test_seeds_that_are_one_model_turned_are_told_from_strangers(inputs, saved):
    one = inputs.checkpoints[0]
    turn = haar(24, 24, source("test"))
    state = {"tok_emb.weight": one.state["embedding"] @ turn}
    official = {"q": "attn.c_q", "k": "attn.c_k", "v": "attn.c_v", "o": "attn.proj", "up": "mlp.fc", "down": "mlp.proj"}
    for layer, part in one.places():
        w = one.matrix(layer, part)
        state[f"blocks.{layer}.{official[part]}.weight"] = turn.T @ w if part in ("o", "down") else w @ turn
    result = study(Inputs(checkpoints=(one, saved("turned", state)), quick=True))
    assert result.numbers["seeds.up.right_reduction"] == pytest.approx(1.0, abs=1e-3)
    assert result.numbers["seeds.up.right_excess"] > 0.2
    assert result.numbers["embedding.held_out_reduction"] == pytest.approx(1.0, abs=1e-3)
    assert result.numbers["carried.q"] == pytest.approx(1.0, abs=1e-3)


def test_one_checkpoint_alone_is_compared_by_layers(inputs):
    result = study(Inputs(checkpoints=inputs.checkpoints[:1], quick=True))
    assert set(result.tables["alignment"].column("between")) == {"layers"}
    assert "embedding" not in result.tables
