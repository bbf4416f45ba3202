import math
from dataclasses import replace

import pytest
import torch

from fairway.errors import ArtifactError
from fairway.quant.describe import describe
from fairway.quant.packing import QuantizedModel
from fairway.quant.pipeline import pack


@pytest.fixture
def quantized() -> QuantizedModel:
    generator = torch.Generator().manual_seed(0)
    shapes = {"embedding": (300, 48), "blocks.0.q": (48, 48), "blocks.1.q": (48, 48), "blocks.0.up": (96, 48)}
    sigmas = {"embedding": 4.0, "blocks.0.q": 2.0, "blocks.1.q": 0.5, "blocks.0.up": 2.0}
    symbols = {
        name: (torch.randn(shape, generator=generator) * sigmas[name]).round().clamp(-15, 15).to(torch.int8)
        for name, shape in shapes.items()
    }
    steps = {name: torch.rand(shape[0], generator=generator).half() + 0.01 for name, shape in shapes.items()}
    return QuantizedModel(symbols, steps, {"attn_scale": torch.rand(2, 48, generator=generator).half()})


def entropy_bytes(values: torch.Tensor) -> float:
    _, counts = values.unique(return_counts=True)
    return float(-(counts * (counts / counts.sum()).log2()).sum()) / 8


@pytest.mark.parametrize("codec", ["range", "brotli", "zstd", "lzma", "smallest"])
def test_rows_cover_every_tensor_and_sum_to_the_artifact(quantized, quant_spec, codec):
    data = pack(quantized, replace(quant_spec, codec=codec), {"seed": 1})
    rows = {row.name: row for row in describe(data)}
    assert list(rows) == ["embedding", "blocks.0.q", "blocks.1.q", "blocks.0.up", "attn_scale", "steps", "container"]
    assert sum(row.size_bytes for row in rows.values()) == len(data)
    assert sum(row.share for row in rows.values()) == pytest.approx(1)
    assert (rows["embedding"].role, rows["embedding"].bits, rows["embedding"].count) == ("embedding", 7, 300 * 48)
    assert rows["steps"].count == 300 + 48 + 48 + 96
    assert {rows[name].codec for name in ("embedding", "steps")} <= {"range", "brotli", "zstd", "lzma"}


def test_entropies_are_those_of_the_frequencies_of_a_role_and_range_coding_reaches_them(quantized, quant_spec):
    rows = {row.name: row for row in describe(pack(quantized, quant_spec, {}))}
    q0, q1 = quantized.symbols["blocks.0.q"], quantized.symbols["blocks.1.q"]
    assert rows["embedding"].entropy_bytes == pytest.approx(entropy_bytes(quantized.symbols["embedding"]), rel=1e-4)
    both = rows["blocks.0.q"].entropy_bytes + rows["blocks.1.q"].entropy_bytes
    assert both == pytest.approx(entropy_bytes(torch.stack([q0, q1])), rel=1e-4)
    assert rows["blocks.1.q"].entropy_bytes < rows["blocks.0.q"].entropy_bytes
    assert 0.97 < rows["embedding"].efficiency <= 1.0
    assert rows["blocks.0.q"].size_bytes > rows["blocks.1.q"].size_bytes


def test_a_model_of_zeros_has_rows_too(quant_spec):
    model = QuantizedModel(
        {"blocks.0.q": torch.zeros(8, 8, dtype=torch.int8)}, {"blocks.0.q": torch.ones(8).half()}, {}
    )
    data = pack(model, quant_spec, {})
    rows = describe(data)
    assert sum(row.size_bytes for row in rows) == len(data)
    assert all(math.isfinite(row.efficiency) and row.entropy_bytes >= 0 for row in rows)


def test_what_is_no_artifact_is_refused():
    with pytest.raises(ArtifactError):
        describe(b"not an artifact, though long enough to be one, in bytes at least")
