"""Studies by the command line: the files they leave, and what is told where one cannot run."""

import json

import pytest
import torch

from fairway.studies import catalogue
from fairway.studies.catalogue import NAMES, help_line


def test_a_study_of_a_run_leaves_tables_figures_and_facts(fairway, world, tmp_path):
    checkpoint, out = world.seed / "model.safetensors", tmp_path / "studies"
    said = fairway("study", "symmetry", checkpoint, "-o", out, "--data", world.data, "--quick")
    assert said.status == 0, said.err
    facts = json.loads((out / "symmetry.json").read_text())
    assert facts["study"] == "symmetry" and facts["seconds"] > 0 and facts["checkpoints"] == [f"seed{world.number}"]
    assert facts["numbers"]["forced.all.saved_bytes"] > 0
    for name in ("symmetry.csv", "symmetry_forced.csv", "symmetry.md", "symmetry.png", "symmetry.svg"):
        assert (out / name).stat().st_size > 0
    # without data there is no score, and the study is told without it
    assert fairway("study", "symmetry", checkpoint, "-o", tmp_path / "less", "--quick").status == 0
    assert not (tmp_path / "less" / "symmetry_forced.csv").exists()


def test_all_studies_go_on_past_one_that_lacks_an_input(fairway, world, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "NAMES", ("embedding_svd", "spectra"))
    path = tmp_path / "final_model.pt"
    torch.save({"blocks.0.attn.c_q.weight": torch.eye(8), "odd.name": torch.ones(2)}, path)
    said = fairway("study", "all", path, "-o", tmp_path / "out", "--quick")
    assert said.status == 0, said.err
    index = (tmp_path / "out" / "index.md").read_text()
    assert "embedding_svd: left out: study embedding_svd needs a token embedding" in index
    assert "[spectra](spectra.md)" in index
    assert "1 tensors keep their own names: odd.name" in said.err


def test_every_study_of_the_catalogue_has_a_line_of_help(fairway):
    said = fairway("study", "list")
    assert said.status == 0
    for name in NAMES:
        assert f"{name}: {help_line(name)}" in said.out
        assert help_line(name).endswith(".")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phrenology", "x.pt", "-o", "out"], ["there is no study 'phrenology'", "procrustes"]),
        (["spectra", "-o", "out"], ["name at least one checkpoint"]),
        (["spectra", "x.pt"], ["-o FOLDER"]),
        (["spectra", "missing.pt", "-o", "out"], ["missing.pt: no such file"]),
        (["spectra", "missing.safetensors", "-o", "out"], ["missing.safetensors: no such file"]),
    ],
)
def test_a_mistake_is_one_line(fairway, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    said = fairway("study", *arguments)
    assert said.status == 2
    assert all(word in said.complaint for word in words), said.complaint


def test_checkpoints_of_one_name_and_of_another_model_are_told(fairway, world, tmp_path):
    checkpoint = world.seed / "model.safetensors"
    said = fairway("study", "spectra", checkpoint, checkpoint, "-o", tmp_path)
    assert said.status == 2 and "two checkpoints would be called" in said.complaint
    torch.save({"blocks.0.attn.c_q.weight": torch.eye(8)}, tmp_path / "x.pt")
    said = fairway("study", "spectra", tmp_path / "x.pt", "--recipe", world.recipe, "-o", tmp_path)
    assert said.status == 2 and "layers, but recipe mite has" in said.complaint
