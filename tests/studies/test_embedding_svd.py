import pytest
import torch

from fairway.studies.chance import gaussian, source
from fairway.studies.embedding_svd import study
from fairway.studies.inputs import Inputs, Needs


def test_a_gaussian_table_shows_what_its_null_model_shows(inputs):
    energy = study(inputs).tables["energy"]
    for row in energy.rows:
        assert row[1] == pytest.approx(row[-1], abs=0.06)


def test_a_planted_direction_and_a_shared_row_are_seen(saved):
    draw = source("test")
    table = gaussian(64, 24, draw) + 3 * torch.ones(24)
    state = {"tok_emb.weight": table, "blocks.0.attn.c_q.weight": torch.eye(24)}
    result = study(Inputs(checkpoints=(saved("mean", state),), quick=True))
    first = result.tables["energy"].rows[0]
    assert first[0] == 1
    assert first[1] > 0.8
    assert first[4] < 0.2
    assert result.numbers["mean_row_share"] == pytest.approx(0.9, abs=0.02)
    small = result.tables["bytes"].rows
    assert [row[2] for row in small] == sorted((row[2] for row in small), reverse=True)


def test_a_checkpoint_without_an_embedding_lacks_an_input(saved):
    with pytest.raises(Needs, match="needs a token embedding"):
        study(Inputs(checkpoints=(saved("none", {"blocks.0.attn.c_q.weight": torch.eye(4)}),)))
