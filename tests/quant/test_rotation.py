from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.errors import ArtifactError
from fairway.main import Run, restore_artifact
from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.quant.rotation import OnlineGpt, bake, bake_hessian, online_hooks, rotations, unbake
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import evaluate
from fairway.spec.quant import Hadamard, NoRotation
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, PhasedSgd, ScoreSpec

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


def shapes_of(model):
    return {name: tensor.shape for name, tensor in unbank(model.state_dict(), model.spec).items()}


def test_four_inputs_have_a_rotation_of_their_own_of_their_width_and_the_embedding_has_none(model):
    turns = rotations(shapes_of(model), Hadamard())
    widths = {"attn_in": 48, "attn_proj_in": 48, "mlp_in": 48, "mlp_proj_in": 96}
    assert {part: tuple(turn.shape) for part, turn in turns.items()} == {p: (w, w) for p, w in widths.items()}
    for turn in turns.values():
        torch.testing.assert_close(turn @ turn.T, torch.eye(len(turn)), atol=1e-5, rtol=0)
    assert not torch.allclose(turns["attn_in"], turns["mlp_in"])
    assert not torch.allclose(turns["attn_in"], rotations(shapes_of(model), Hadamard(seed=1))["attn_in"])
    assert rotations(shapes_of(model), NoRotation()) == {}


def test_folding_back_undoes_baking(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    w = torch.randn(20, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unbake(bake(w, turn), turn), w, atol=1e-5, rtol=0)
    assert not torch.allclose(bake(w, turn), w)


def test_a_baked_hessian_is_that_of_rotated_inputs_symmetric_and_of_the_same_trace(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    x = torch.randn(300, 48, generator=torch.Generator().manual_seed(0)) * torch.arange(48)
    baked = bake_hessian(x.T @ x, turn)
    torch.testing.assert_close(baked, (x @ turn).T @ (x @ turn), rtol=1e-3, atol=50.0)
    assert torch.equal(baked, baked.T)
    assert float(baked.trace()) == pytest.approx(float((x.T @ x).trace()), rel=1e-5)


def test_baking_spreads_outliers_over_all_columns(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    w = torch.zeros(10, 48)
    w[:, 7] = 1.0
    assert float(bake(w, turn).abs().max()) < 0.4


@pytest.mark.parametrize("looped", [False, True])
@torch.no_grad()
def test_a_baked_model_under_online_hooks_computes_what_the_plain_model_does(model, looped):
    turns = rotations(shapes_of(model), Hadamard())
    parts = {"q": "attn_in", "k": "attn_in", "v": "attn_in", "o": "attn_proj_in", "up": "mlp_in", "down": "mlp_proj_in"}
    state = unbank(model.state_dict(), model.spec)
    state = {n: bake(w, turns[parts[n.split(".")[2]]]) if n.startswith("blocks.") else w for n, w in state.items()}
    baked = Gpt(model.spec)
    baked.load_state_dict(bank(state, model.spec))
    tokens = torch.randint(300, (2, 24), generator=torch.Generator().manual_seed(1))
    plain = model(tokens, looped=looped)
    torch.testing.assert_close(baked(tokens, looped=looped, hooks=online_hooks(turns)), plain, atol=1e-4, rtol=1e-4)
    assert float((baked(tokens, looped=looped) - plain).abs().max()) > 0.01


@pytest.fixture
def restored(model, recipe, tmp_path):
    """What an artifact, of one rotation or of none, gives back to the recipe."""

    def restore(packed: Hadamard | NoRotation, *, online: bool) -> Gpt:
        tokens = torch.randint(300, (2, 65), generator=torch.Generator().manual_seed(0))
        hessians = collect(model, [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, ALONE, looped=True)
        quant = replace(recipe.quant, rotation=packed)
        (tmp_path / "artifact.bin").write_bytes(pack(rotate_gptq(model, hessians, quant), quant, {}))
        run = Run(
            recipe=replace(recipe, quant=replace(recipe.quant, rotate_online=online)),
            recipe_sha256="0" * 64,
            forecast_bytes=0,
            seed=1,
            code_sha256="0" * 64,
            code_bytes=0,
        )
        return restore_artifact(run, tmp_path / "artifact.bin", torch.device("cpu"))

    return restore


METHODS = {
    "flat": Flat(),
    "sgd on all weights": ChunkSgd(stride=16, chunk_tokens=64, epochs=1, lr=0.02),
    "adapters and sgd": PhasedSgd(
        lora=DocumentLora(rank=2, chunk=16, batch_docs=2, lr=1e-2),
        prefix_docs=4,
        phases=2,
        lr=0.05,
        chunk_tokens=64,
        context=32,
    ),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_online_rotation_scores_as_folded_weights_do_whatever_learns_on_the_way(restored, method):
    folded, online = restored(Hadamard(), online=False), restored(Hadamard(), online=True)
    assert isinstance(online, OnlineGpt) and not isinstance(folded, OnlineGpt)
    assert not torch.allclose(folded.get_parameter("qo_bank"), online.get_parameter("qo_bank"), atol=1e-3)
    tokens = torch.randint(2, 300, (420,), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    tokens[::70] = 1
    spec = ScoreSpec(context=32, batch_tokens=128, method=method, diagnostic=Flat(), budget_s=60.0)
    scores = [
        evaluate(
            each,
            tokens,
            torch.ones_like(tokens),
            spec,
            method,
            seed=0,
            looped=True,
            ledger_path=None,
            events=EventLog(None, stage="evaluate"),
            name="final",
            artifact_sha256="0" * 64,
            ranks=ALONE,
        ).loss_nats
        for each in (folded, online)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=2e-5)


def test_an_artifact_that_is_not_rotated_is_none_of_an_online_recipe(restored):
    with pytest.raises(ArtifactError, match="must have rotated weights"):
        restored(NoRotation(), online=True)
