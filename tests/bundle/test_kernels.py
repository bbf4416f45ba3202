"""Triton kernels of a recipe that asks for them, read back from the file that ships."""

import os
import subprocess
import sys

import pytest
import torch

from fairway.kernels.fused_lanes import lanes_go
from fairway.kernels.fused_mlp import mlp_up
from fairway.kernels.symmetric import symmetric_go
from fairway.quant.grid import largest_symbol
from fairway.quant.trellis import best_path, trellis_checks

RECIPE = """
extends = "tiny"
because = "kernels"
[model.kernels]
mlp = "triton"
head = "triton"
rotary = "triton"
exclusive = "triton"
junction = "triton"
[optim.muon]
products = "triton"
[quant]
attention = { kind = "trellis", bits = 5, clip_sigmas = 6.0, states = 16, engine = "triton" }
"""

# Runs as if it were imported: all is defined, nothing is started. Operators go by their names, which no form changes;
# what finds paths goes by the name of an option that it launches with, and has no form but Triton's.
PROGRAM = """
import sys, torch, types
program = sys.modules["looked_at"] = types.ModuleType("looked_at")
exec(compile(open(sys.argv[1], "rb").read(), sys.argv[1], "exec"), program.__dict__)
given = torch.load(sys.argv[2])
ops = torch.ops.fairway
ops.softcap_ce_(given["logits"], given["targets"], 9.0, True)
results = [*ops.mlp_up(*given["mlp"], 0.5), *ops.lanes_go(*given["lanes"], 0.7)]
results += [ops.symmetric_product(given["mlp"][0][None], None, 2.0, 1.0), given["logits"]]
if "paths" in given:
    mine = [each for each in vars(program).values() if isinstance(each, types.FunctionType)]
    find, = [each for each in mine if "enable_fp_fusion" in str(each.__code__.co_consts)]
    states = [given["states"]] * (find.__code__.co_argcount == 5)  # one form has the recipe's only number inside
    results.append(find(*given["paths"], *states, *given["grid"]))
torch.save(results, sys.argv[3])
"""


def inputs():
    generator = torch.Generator().manual_seed(4)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "mlp": [normal(9, 20), normal(37, 20)],
        "lanes": [*(normal(5, 24) for _ in range(4)), None, normal(5, 24), normal(9, 24)],
        "logits": normal(6, 50) * 9,
        "targets": torch.arange(6),
    }


@pytest.fixture(scope="module")
def folder(bundled, tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipe") / "kernels.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return bundled(str(recipe))


@pytest.mark.parametrize("file", ["train_gpt.py", "train_gpt_source.py"])
@pytest.mark.parametrize("interpreted", [False, True], ids=["torch", "interpreted"])
def test_operators_of_either_form_compute_what_those_of_the_package_compute(
    folder, tmp_path, monkeypatch, file, interpreted
):
    if interpreted:
        pytest.importorskip("triton", reason="Triton is not installed")
        if torch.cuda.is_available():
            pytest.skip("on a GPU kernels are compiled")
    paths = [inputs()["mlp"][0] * 4, inputs()["mlp"][0].square()]
    more = {"paths": paths, "states": 16, "grid": [trellis_checks(16), largest_symbol(5)]}
    torch.save(inputs() | (more if interpreted else {}), tmp_path / "in.pt")
    command = [sys.executable, "-c", PROGRAM, str(folder / file), str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TRITON_INTERPRET": str(int(interpreted)),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    given = inputs()
    x = given["mlp"][0]
    leaf = given["logits"].clone().requires_grad_()
    (9.0 * torch.tanh(leaf / 9.0)).log_softmax(1).gather(1, given["targets"][:, None]).sum().neg().backward()
    right = [
        *mlp_up(*given["mlp"], 0.5),
        *lanes_go(*given["lanes"], 0.7),
        symmetric_go(x[None], None, 2.0, 1.0),
        leaf.grad,
    ]
    if interpreted:
        right.append(best_path(*paths, 16, 5))
    for found, each in zip(torch.load(tmp_path / "out.pt"), right, strict=True):
        torch.testing.assert_close(found, each, rtol=1e-4, atol=1e-5)


def test_a_recipe_without_kernels_ships_none(bundled):
    text = (bundled("tiny") / "train_gpt_source.py").read_text(encoding="utf-8")
    assert "triton" not in text and "constexpr" not in text
