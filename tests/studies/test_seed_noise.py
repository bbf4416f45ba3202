import json
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fairway.data.shards import write_shard
from fairway.errors import DataError
from fairway.recipes.load import load_recipe
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.seed_noise import Runs, result, study

LENGTHS = (30, 50, 20, 80, 40)


def write_run(folder, seed: int, worse: float) -> Checkpoint:
    """A run's scores and ledger; every document costs 1 + its number + ``worse`` nats a target."""
    folder.mkdir(parents=True)
    begins = np.cumsum((0, *LENGTHS[:-1]))
    total = sum(LENGTHS)
    spans = []
    for number, (begin, length) in enumerate(zip(begins.tolist(), LENGTHS, strict=True)):
        end = min(begin + length, total - 1)
        spans.append([begin, begin + 1, end + 1, (end - begin) * (1 + number + worse), 3 * (end - begin)])
    nats, spelled = (sum(span[i] for span in spans) for i in (3, 4))
    lines = [{"kind": "open", "artifact_sha256": "0"}, {"kind": "score", "spans": spans}, {"kind": "close"}]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bpb, loss = nats / spelled / math.log(2), nats / (total - 1)
    final = {"name": "final", "bpb": bpb, "loss_nats": loss}
    quantized = {"name": "quantized", "bpb": bpb + 0.1, "loss_nats": loss + 0.1}
    (folder / "score.json").write_text(json.dumps({"scores": [quantized, final]}))
    (folder / "float.json").write_text(json.dumps({"scores": [{"name": "float", "bpb": bpb, "loss_nats": loss}]}))
    return Checkpoint(name=folder.name, path=folder / "model.safetensors", state={}, seed=seed)


@pytest.fixture
def val(tmp_path):
    tokens = torch.full((sum(LENGTHS),), 7)
    tokens[list(np.cumsum((0, *LENGTHS[:-1])))] = 1
    folder = tmp_path / "val"
    folder.mkdir()
    write_shard(folder / "fineweb_val_000000.bin", tokens.numpy().astype(np.uint16))
    return folder


@pytest.fixture
def inputs(tmp_path, val):
    checkpoints = tuple(write_run(tmp_path / f"seed{seed}", seed, 0.01 * seed) for seed in (1, 2, 3))
    folders = tuple(checkpoint.path.parent for checkpoint in checkpoints)
    recipe = load_recipe("tiny").recipe
    return {"checkpoints": checkpoints, "run_folders": folders, "val": val, "recipe": recipe, "quick": True}


def test_the_spread_is_that_of_the_scores_and_documents_move_pairs_less_than_scores(inputs):
    found = study(Inputs(**inputs))
    assert found.numbers["std_nats_per_token"] == pytest.approx(0.01)
    assert found.numbers["std_nats_per_byte"] == pytest.approx(0.01 / 3)
    assert found.numbers["pair_document_std_bpb"] < 1e-9 < found.numbers["document_std_bpb"]
    assert found.tables["documents"].rows[3][:2] == ("seed2 - seed1", pytest.approx(0.01 / 3 / math.log(2)))
    assert found.tables["stages"].column("stage") == ("float", "quantized", "final")
    found.draw(Figure())


def test_equal_runs_give_equal_tables(inputs):
    assert study(Inputs(**inputs)).tables == study(Inputs(**inputs)).tables


def test_one_seed_or_no_score_or_another_dataset_are_told(inputs, tmp_path, val):
    with pytest.raises(Needs, match="two checkpoints"):
        study(Inputs(**(inputs | {"checkpoints": inputs["checkpoints"][:1], "run_folders": (tmp_path,)})))
    with pytest.raises(Needs, match="--data FOLDER"):
        study(Inputs(**(inputs | {"val": None})))
    write_shard(val / "fineweb_val_000000.bin", np.array([1, 5, 5], dtype=np.uint16))
    with pytest.raises(DataError, match="name the dataset"):
        study(Inputs(**inputs))
    (tmp_path / "seed1" / "float.json").unlink()
    with pytest.raises(Needs, match=r"float\.json beside"):
        study(Inputs(**inputs))


def test_scores_that_are_none_are_told(inputs, tmp_path):
    (tmp_path / "seed1" / "score.json").write_text('{"scores": [{"name": "final", "bpb": 1}]}')
    with pytest.raises(DataError, match="not what an evaluation writes"):
        study(Inputs(**inputs))


def runs(character: float) -> Runs:
    """Forty documents that are hard or easy for all seeds alike, with noise of each seed, and a seed's own level."""
    generator = np.random.default_rng(4)
    hard = generator.uniform(1, 3, 40)
    text = np.full(40, 100.0)
    levels = 1 + character * np.arange(3.0)
    nats = text * (hard + 0.02 * generator.standard_normal((3, 40)) + levels[:, None])
    bpb = nats.sum(1) / text.sum() / math.log(2)
    stages = dict.fromkeys(("float", "quantized", "final"), bpb)
    return Runs(("a", "b", "c"), stages, stages, nats, text)


def test_seeds_with_a_level_of_their_own_are_told_from_exchangeable_ones():
    assert result(runs(0.05), samples=500).numbers["p"] < 0.01
    exchangeable = result(runs(0.0), samples=500).numbers
    assert exchangeable["p"] > 0.01
    assert exchangeable["std_bpb"] < 3 * exchangeable["null_std_bpb"]


def test_rates_of_the_rules_are_beside_what_they_promise():
    found = result(runs(0.05), samples=4000)
    assert found.numbers["written_plain_zero_recent"] == 0.0
    assert found.numbers["written_plain_margin_recent"] < 0.012
    assert found.numbers["audit_plain_zero_recent"] == pytest.approx(0.24, abs=0.03)
    power = found.tables["power"]
    simulated, computed = power.column("accepted"), power.column("computed")
    assert all(abs(a - b) < 0.04 for a, b in zip(simulated, computed, strict=True))
