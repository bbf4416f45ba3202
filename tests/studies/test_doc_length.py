import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fairway.data.batches import Batch
from fairway.data.shards import write_shard
from fairway.errors import DataError
from fairway.model.banks import unbank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.quant.forecast import symbol_bits
from fairway.quant.hessian import collect
from fairway.recipes.load import load_recipe
from fairway.runtime.tensors import save_tensors
from fairway.spec.quant import Grid, Hadamard, HandSet, Lagrangian, NoRotation, TrellisGrid, Triangles
from fairway.studies.checkpoint import load_checkpoint
from fairway.studies.doc_length import result, study
from fairway.studies.forced import quant_of
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.roundings import ALONE, Costs, Scored, by_hand, first_documents, turned
from fairway.studies.write import as_csv
from fairway.train.checkpoint import save_model

RECIPE = load_recipe("tiny").recipe
LENGTHS = np.array([40.0, 80.0, 150.0, 250.0, 420.0, 800.0, 1300.0, 2600.0])
TEXT = 3 * LENGTHS


@pytest.fixture
def run(tmp_path):
    """A seed's folder with an untrained model and its Hessians, and a dataset of six documents."""
    folder, data = tmp_path / "seed7", tmp_path / "data"
    for each in (folder, data / "val"):
        each.mkdir(parents=True)
    model = Gpt(RECIPE.model)
    initialise(model, 7)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for matrix in model.parameters():
            if matrix.ndim == 3:
                matrix += 0.1 * torch.randn(matrix.shape, generator=generator)
    save_model(folder / "model.safetensors", model, {"seed": "7"})
    tokens = torch.randint(2, 384, (600,), generator=generator)
    tokens[[0, 20, 60, 150, 300, 420]] = 1
    write_shard(data / "val" / "fineweb_val_000000.bin", tokens.numpy().astype(np.uint16))
    spelled = torch.full_like(tokens, 2)
    spelled[tokens == 1] = 0
    write_shard(data / "val" / "fineweb_val_bytes_000000.bin", spelled.numpy().astype(np.uint16))
    (data / "tokenizer.model").touch()
    batches = [torch.randint(384, (2, 65), generator=generator)]
    hessians = collect(model, [Batch(batches[0][:, :-1], batches[0][:, 1:], None)], 1, ALONE, looped=True)
    save_tensors(folder / "hessians.safetensors", hessians, {})
    return folder, data


def inputs(run, **changes) -> Inputs:
    folder, data = run
    facts = {
        "checkpoints": (load_checkpoint(folder / "model.safetensors", RECIPE),),
        "recipe": RECIPE,
        "run_folders": (folder,),
        "val": data / "val",
        "tokenizer": data / "tokenizer.model",
        "quick": True,
    }
    return Inputs(**(facts | changes))


def test_a_checkpoint_is_scored_under_every_rounding(run):
    found = study(inputs(run))
    weights = found.tables["checkpoints"].column("weights")
    assert weights == ("float", "rounded", "rotated", "rotated by seed 20260417")
    assert found.numbers["documents"] == 6
    assert found.numbers["logit_change"] < 1e-3
    assert found.numbers["short_documents"] == 6 and math.isnan(found.numbers["long_bpb"])
    assert 0 < abs(found.numbers["difference_bpb"]) < 0.1
    found.draw(Figure())
    again = study(inputs(run))
    assert {key: as_csv(table) for key, table in again.tables.items()} == {
        key: as_csv(table) for key, table in found.tables.items()
    }


def test_what_is_missing_is_named(run):
    with pytest.raises(Needs, match="--data FOLDER"):
        study(inputs(run, val=None))
    with pytest.raises(Needs, match="--recipe"):
        study(inputs(run, recipe=None))
    (run[0] / "hessians.safetensors").unlink()
    with pytest.raises(Needs, match="hessians.safetensors beside"):
        study(inputs(run))


def scored(effect_D, *, other_D=0.0) -> Scored:
    """A checkpoint whose rotated weights cost so many more bits per byte than those that are only rounded."""
    bits = {"float": 1.0, "rounded": 1.01, "rotated": 1.01 + effect_D, "rotated by seed 2": 1.01 + effect_D + other_D}
    costs = {name: Costs(value * TEXT * math.log(2), TEXT) for name, value in bits.items()}
    return Scored("seed1", costs, {"rounded": 1000, "rotated": 990, "rotated by seed 2": 991}, 1e-6)


def test_a_planted_crossover_is_found_and_told_from_the_null():
    found = result([scored(-0.004 * np.log2(LENGTHS / 500), other_D=0.0001 * np.log2(LENGTHS))], LENGTHS)
    assert found.numbers["crossover_tokens"] == pytest.approx(500)
    assert found.numbers["slope_bpb_per_doubling"] == pytest.approx(-0.004)
    assert found.numbers["null_slope_bpb_per_doubling"] == pytest.approx(0.0001)
    assert found.numbers["short_bpb"] > 0 > found.numbers["long_bpb"]
    assert "crosses zero at 500 tokens" in found.paragraph and "is beyond that of" in found.paragraph


def test_noise_of_rounding_is_not_told_as_dependence_on_length():
    noise = 0.001 * np.array([1, -1, -1, 1, 1, -1, 1, -1.0])
    found = result([scored(noise, other_D=-noise)], LENGTHS)
    assert "is not told apart from" in found.paragraph


def test_a_document_without_text_counts_for_nothing():
    longer = np.append(LENGTHS, 1.0)
    own = scored(-0.004 * np.log2(LENGTHS / 500), other_D=0.0)
    costs = {n: Costs(np.append(c.nats_D, 3.0), np.append(c.bytes_D, 0.0)) for n, c in own.costs.items()}
    assert result([replace(own, costs=costs)], longer).numbers["crossover_tokens"] == pytest.approx(500)


def test_only_whole_documents_are_taken():
    tokens = torch.tensor([1, 5, 5, 1, 5, 5, 5, 1])
    assert first_documents(tokens, 6)[1] == [3]
    assert first_documents(tokens, 7)[1] == [3, 4]
    assert first_documents(tokens, 1)[1] == [3]


def test_rotation_is_folded_and_where_it_cannot_be_had_that_is_said():
    online = replace(RECIPE.quant, rotate_online=True)
    assert not turned(online, NoRotation()).rotate_online
    triangles = replace(RECIPE.quant, rotation=NoRotation(), triangles=Triangles(layers=(0,)))
    with pytest.raises(DataError, match="rotation of kind none"):
        turned(triangles, Hadamard())


def test_of_rates_and_paths_the_scalar_steps_of_the_grids_are_studied():
    quant = load_recipe("pocket").recipe.quant
    assert isinstance(quant.rates, Lagrangian) and isinstance(quant.mlp, TrellisGrid)
    plain = by_hand(quant)
    assert isinstance(plain.rates, HandSet) and plain.embedding == quant.embedding
    hand_set = load_recipe("pocket-scalar").recipe.quant
    for grid, other in ((plain.attention, hand_set.attention), (plain.mlp, hand_set.mlp)):
        assert isinstance(grid, Grid) and symbol_bits(grid) == pytest.approx(symbol_bits(other), abs=0.01)
    assert by_hand(hand_set) == hand_set
    # symmetry that is forced on a checkpoint of the recipe
    assert quant_of(load_recipe("pocket").recipe, Triangles(layers=(0,))).attention == plain.attention


def test_names_outside_banks_are_what_rotation_reads(run):
    checkpoint = load_checkpoint(run[0] / "model.safetensors", RECIPE)
    model = Gpt(RECIPE.model)
    assert checkpoint.state.keys() == unbank(dict(model.named_parameters()), RECIPE.model).keys()
