import json
from dataclasses import replace

import pytest
import torch

from fairway.studies.chance import gaussian, mean, source, spread
from fairway.studies.inputs import Inputs
from fairway.studies.subspaces import (
    KINDS,
    by_chance,
    product_symmetry,
    product_symmetry_by_chance,
    shares,
    squares,
)
from fairway.studies.symmetry import study

SIDE, SIZES = 24, {"block": 6, "band": 2}


def test_samples_of_noise_have_the_mean_and_the_spread_of_the_law():
    draw = source("test")
    found = [shares(torch.randn(2, SIDE, SIDE, generator=draw), **SIZES) for _ in range(300)]
    for kind, chance in by_chance(SIDE, 2, **SIZES).items():
        values = [each[kind] for each in found]
        assert mean(values) == pytest.approx(chance.mean, abs=4 * chance.deviation / len(values) ** 0.5)
        assert spread(values) == pytest.approx(chance.deviation, rel=0.2)


def test_matrices_of_a_subspace_have_all_their_energy_there():
    draw = source("test")
    w = gaussian(SIDE, SIDE, draw)
    places = torch.arange(SIDE)
    apart = (places[:, None] - places).abs()
    planted = {
        "symmetric": w + w.T,
        "antisymmetric": w - w.T,
        "traceless_symmetric": w + w.T - torch.eye(SIDE) * (w + w.T).trace() / SIDE,
        "trace": torch.eye(SIDE),
        "block": w * (places[:, None] // 6 == places // 6),
        "band": w * (apart <= 2),
        "circulant": w[0][(places - places[:, None]) % SIDE],
    }
    assert planted.keys() == set(KINDS)
    for kind, matrix in planted.items():
        assert shares(matrix[None], **SIZES)[kind] == pytest.approx(1.0, abs=1e-6), kind


def test_a_matrix_that_is_not_square_is_read_as_square_pieces():
    w = torch.arange(32.0).view(4, 8)
    assert torch.equal(squares(w), torch.stack([w[:, :4], w[:, 4:]]))
    assert torch.equal(squares(w.T), torch.stack([w.T[:4], w.T[4:]]))
    with pytest.raises(ValueError, match="3 x 8"):
        squares(torch.ones(3, 8))


def test_a_product_is_as_symmetric_as_chance_makes_it_whatever_its_singular_values():
    draw = source("test")
    values = torch.tensor([8.0, 4.0, 2.0, 1.0]).double()
    found = [product_symmetry_by_chance(values, SIDE, draw) for _ in range(400)]
    assert mean(found) == pytest.approx((1 + 1 / SIDE) / 2, abs=4 * spread(found) / 20)
    direct = [product_symmetry(gaussian(SIDE, 4, draw) @ gaussian(4, SIDE, draw)) for _ in range(400)]
    assert mean(direct) == pytest.approx((1 + 1 / SIDE) / 2, abs=4 * spread(direct) / 20)
    assert product_symmetry(values[:, None] * torch.ones(4) + torch.ones(4)[:, None] * values) == pytest.approx(1.0)


def test_noise_is_told_as_noise_and_a_planted_symmetry_is_seen(inputs, saved):
    assert abs(study(inputs).numbers["farthest_in_deviations"]) < 4
    state = {name: tensor.clone() for name, tensor in inputs.checkpoints[0].state.items()}
    official = {f"blocks.{i}.attn.proj.weight": state[f"blocks.{i}.o"] for i in range(3)}
    official["blocks.1.attn.proj.weight"] = state["blocks.1.o"] + state["blocks.1.o"].T
    result = study(Inputs(checkpoints=(saved("planted", official),), quick=True))
    assert result.numbers["farthest_in_deviations"] > 10
    row = result.tables["layers"].rows[1]
    assert row[:2] == ("o", 1)
    assert row[4] == pytest.approx(1.0)


def test_the_claims_of_1214_stand_beside_their_law(inputs):
    rows = study(inputs).tables["claims"].rows
    assert rows[0][4] > 300
    assert abs(rows[2][4]) < 2 and abs(rows[3][4]) < 2


def test_what_a_run_logged_is_told(inputs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    stem = {"stage": "train", "event": "symmetry", "t_s": 0.0}
    lines = [{**stem, "step": step, "shares": [0.5 + step / 100] * 3 + [0.9] * 3} for step in (10, 20)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "train.events.jsonl").write_text(text, encoding="utf-8")
    logged = replace(inputs, checkpoints=inputs.checkpoints[:1], run_folders=(folder,))
    result = study(logged)
    assert result.tables["training"].rows[0] == ("seed1", 10, "q", 0, 0.6)
    assert len(result.tables["training"].rows) == 12
    assert result.numbers["training.least_at_the_end"] == pytest.approx(0.7)
    assert result.numbers["training.most_at_the_end"] == pytest.approx(0.9)
