from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fairway.quant.codecs import brotli_encoded
from fairway.runtime.tensors import save_tensors
from fairway.studies import codec_gain
from fairway.studies.codec_gain import LAYOUTS, WHOLE, by_role, layout_of, of_halves, study
from fairway.studies.inputs import Inputs
from fairway.studies.weights import matrices


def symbols(rows: int, columns: int, spread: torch.Tensor | float = 4.0, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return (noise * spread).round().clamp(-31, 31).to(torch.int8)


def test_layouts_hold_the_same_symbols():
    q_OI = symbols(6, 4)
    assert layout_of([q_OI], "rows") == (q_OI.numpy().tobytes(), 0)
    in_columns = layout_of([q_OI], "columns")[0]
    assert in_columns == q_OI.T.contiguous().numpy().tobytes()
    assert layout_of([q_OI], "shuffled bytes")[0] == in_columns[::2] + in_columns[1::2]
    ordered, beside = layout_of([q_OI], "ordered")
    assert sorted(ordered) == sorted(in_columns)
    assert beside > 0


def test_noise_gives_no_codec_anything_and_structure_does():
    alike = {"blocks.0.q": symbols(96, 96)}
    spread = torch.where(torch.arange(96) < 48, 0.5, 8.0)
    apart = {"blocks.0.q": symbols(96, 96, spread)}
    for named, gains in ((alike, False), (apart, True)):
        found = {(p.codec, p.layout): p for p in by_role("c", "run", named, LAYOUTS) if p.role != WHOLE}
        classes, coder = found["classes", "columns"], found["range", "columns"]
        assert coder.size == pytest.approx(coder.entropy, rel=0.02)
        assert coder.size == coder.shuffled
        assert (classes.size < 0.95 * classes.entropy) is gains
        assert classes.shuffled > 0.99 * classes.entropy
        assert (found["brotli", "columns"].size < 0.97 * found["brotli", "columns"].shuffled) is gains


def test_lrzip_is_left_out_where_it_is_not(monkeypatch: pytest.MonkeyPatch, inputs: Inputs):
    monkeypatch.setattr(codec_gain, "has_lrzip", lambda: False)
    found = by_role("c", "run", {"blocks.0.q": symbols(16, 16)}, LAYOUTS)
    assert "lrzip" not in {p.codec for p in found}
    assert "lrzip is not installed" in study(inputs).paragraph


def test_bytes_of_halves_gain_by_being_shuffled():
    halves = torch.linspace(1.0, 1.9, 3000).half()
    raw, _, plain, apart = of_halves([halves])
    assert raw == 6000
    assert apart == len(brotli_encoded(halves.numpy().tobytes(), 2))
    assert apart != plain


def test_the_study_takes_the_symbols_of_the_run(inputs: Inputs, tmp_path: Path):
    named = matrices(inputs.checkpoints[0])
    stored = {f"symbols/{name}": symbols(*w.shape) for name, w in named.items()}
    steps = {f"steps/{name}": torch.full((len(w),), 0.01).half() for name, w in named.items()}
    save_tensors(tmp_path / "quantized.safetensors", {**stored, **steps}, {})
    result = study(replace(inputs, run_folders=(tmp_path, None)))
    assert set(result.tables["streams"].column("symbols")) == {"run", "floor"}
    assert result.numbers["run_range_columns_over_entropy"] == pytest.approx(1.0, abs=0.2)
    assert len(result.tables["halves"].rows) == 1
    assert set(study(inputs).tables["streams"].column("symbols")) == {"floor"}
