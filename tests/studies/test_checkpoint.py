import pickle

import pytest
import torch

from fairway.errors import DataError
from fairway.runtime.tensors import save_tensors
from fairway.studies.checkpoint import load_checkpoint

LAYERS, WIDTH, KV, MLP = 3, 8, 4, 24
SHAPES = {
    "q": (WIDTH, WIDTH),
    "k": (KV, WIDTH),
    "v": (KV, WIDTH),
    "o": (WIDTH, WIDTH),
    "up": (MLP, WIDTH),
    "down": (WIDTH, MLP),
}
OFFICIAL = {
    "q": "attn.c_q",
    "k": "attn.c_k",
    "v": "attn.c_v",
    "o": "attn.proj",
    "up": "mlp.fc",
    "down": "mlp.proj",
}


@pytest.fixture
def weights():
    torch.manual_seed(0)
    matrices = {(i, part): torch.randn(shape) for i in range(LAYERS) for part, shape in SHAPES.items()}
    return matrices, torch.randn(16, WIDTH)


def unbanked(weights):
    matrices, table = weights
    return {f"blocks.{i}.{OFFICIAL[part]}.weight": w for (i, part), w in matrices.items()} | {"tok_emb.weight": table}


def banked(weights, up="mlp_up_bank", down="mlp_down_bank", table="tok_emb.weight"):
    matrices, embedding = weights

    def stack(*parts):
        return torch.stack([matrices[i, part] for part in parts for i in range(LAYERS)])

    banks = {"qo_bank": stack("q", "o"), "kv_bank": stack("k", "v"), up: stack("up"), down: stack("down")}
    return banks | {table: embedding}


def assert_read(checkpoint, weights):
    matrices, table = weights
    assert checkpoint.layers == LAYERS
    assert checkpoint.parts == ("q", "k", "v", "o", "up", "down")
    for (i, part), w in matrices.items():
        assert torch.equal(checkpoint.matrix(i, part), w), (i, part)
    assert torch.equal(checkpoint.state["embedding"], table)


@pytest.mark.parametrize("spelling", [unbanked, banked])
@pytest.mark.parametrize("wrapper", ["", "_orig_mod.", "module._orig_mod."])
def test_state_dicts_of_official_scripts_are_read(tmp_path, weights, spelling, wrapper):
    path = tmp_path / "final_model.pt"
    state = spelling(weights) | {"blocks.0.attn_scale": torch.ones(WIDTH), "skip_weights": torch.ones(1, WIDTH)}
    if wrapper == "module._orig_mod.":
        wrapper = "_orig_mod.module."
    torch.save({wrapper + name: tensor for name, tensor in state.items()}, path)
    checkpoint = load_checkpoint(path, None)
    assert_read(checkpoint, weights)
    assert checkpoint.kept == ("blocks.0.attn_scale", "skip_weights")
    assert checkpoint.name == tmp_path.name


def test_half_precision_and_a_state_dict_inside_a_dict_are_read(tmp_path, weights):
    path = tmp_path / "other.pt"
    torch.save({"model": {name: tensor.bfloat16() for name, tensor in unbanked(weights).items()}, "step": 7}, path)
    checkpoint = load_checkpoint(path, None)
    assert checkpoint.name == "other"
    assert checkpoint.matrix(2, "down").dtype == torch.float32
    assert torch.equal(checkpoint.matrix(2, "down"), weights[0][2, "down"].bfloat16().float())


def test_fairways_own_file_is_read_with_its_seed(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    state = banked(weights, "up_bank", "down_bank", "embedding") | {"attn_scale": torch.ones(LAYERS, WIDTH)}
    save_tensors(path, state, {"seed": "42", "steps": "500"})
    checkpoint = load_checkpoint(path, None)
    assert_read(checkpoint, weights)
    assert checkpoint.seed == 42
    assert checkpoint.kept == ()


def test_a_factored_query_is_the_product_of_its_factors(tmp_path, weights):
    path = tmp_path / "final_model.pt"
    state = {name: tensor for name, tensor in unbanked(weights).items() if "c_q" not in name}
    for i in range(LAYERS):
        state[f"blocks.{i}.attn.c_q_down.weight"] = torch.randn(2, WIDTH)
        state[f"blocks.{i}.attn.c_q_up.weight"] = torch.randn(WIDTH, 2)
    torch.save(state, path)
    checkpoint = load_checkpoint(path, None)
    assert "q" not in checkpoint.parts
    expected = state["blocks.1.attn.c_q_up.weight"] @ state["blocks.1.attn.c_q_down.weight"]
    assert torch.equal(checkpoint.matrix(1, "q"), expected)


class Planted:
    def __reduce__(self):
        import os

        return os.mkdir, ("planted",)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "final_model.pt"
    torch.save(unbanked(weights) | {"extra": Planted()}, path)
    with pytest.raises(DataError, match="refused, for it is no plain state dict"):
        load_checkpoint(path, None)
    path.write_bytes(pickle.dumps({"a": Planted()}))
    with pytest.raises(DataError, match="final_model.pt: "):
        load_checkpoint(path, None)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"w": {"a": torch.ones(1)}, "m": {}}, "rounded symbols"),
        ({"quantized": {}, "scales": {}}, "rounded symbols"),
        ({"blocks.0.attn.c_q.weight": torch.ones(2, 2, dtype=torch.int8)}, "holds int8"),
        ({"some.weight": torch.ones(2, 2)}, "holds no matrix of a block"),
        ({"blocks.0.attn.c_q.weight": torch.full((2, 2), torch.nan)}, "not finite"),
        ({"kv_bank": torch.ones(3, 2, 2)}, "kv_bank must hold k and v of every layer"),
        ({"up_bank": torch.ones(1, 2, 2), "blocks.0.mlp.fc.weight": torch.ones(2, 2)}, "blocks.0.up twice"),
        ({"step": 3}, "must hold a state dict"),
        ([1, 2], "must hold a state dict"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, state, words):
    path = tmp_path / "final_model.pt"
    torch.save(state, path)
    with pytest.raises(DataError, match=words) as caught:
        load_checkpoint(path, None)
    assert "\n" not in str(caught.value)


def test_a_damaged_and_a_missing_file_are_told(tmp_path):
    path = tmp_path / "final_model.pt"
    with pytest.raises(DataError, match="no such file"):
        load_checkpoint(path, None)
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match="final_model.pt"):
        load_checkpoint(path, None)
