from dataclasses import replace

import pytest
import torch

from fairway.studies.embedding_rows import compared, row_entropies, study
from fairway.studies.inputs import Inputs, Needs


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_entropies_of_rows_that_are_known():
    w_VD = torch.stack([torch.zeros(64), torch.linspace(-1, 1, 64), torch.tensor([-1.0, 1.0]).repeat(32)])
    assert row_entropies(w_VD) == pytest.approx([0.0, 6.0, 1.0])


def test_larger_rows_have_more_entropy_for_no_other_reason():
    entropy_V = row_entropies(drawn(40, 512) * torch.linspace(0.05, 1.0, 40)[:, None])
    assert float(entropy_V[-10:].mean()) > float(entropy_V[:10].mean()) + 1.5


def test_rows_in_half_precision_take_bytes_and_take_error_away():
    w_VD = 0.3 * drawn(200, 64)
    w_VD[:20] *= 8  # rows that six bits hurt most
    found = {(c.grid, c.by, c.share): c for c in compared("c", w_VD, 1)}
    none, tenth, whole = (found["no floor", "entropy", share] for share in (0.0, 0.1, 1.0))
    assert none.raw < tenth.raw < whole.raw
    assert none.packed < tenth.packed < whole.packed
    assert whole.raw == 2 * w_VD.numel()
    assert none.squared > tenth.squared > whole.squared
    assert found["no floor", "error", 0.1].squared < 0.5 * found["no floor", "random", 0.1].squared
    assert tenth.raw - none.raw == pytest.approx(20 * (64 * (2 - 0.75) - 2))


def test_the_study_compares_with_gaussian_rows(inputs: Inputs):
    result = study(inputs)
    assert len(result.tables["rows"].rows) == 2
    assert result.numbers["error_removed_10_error"] >= result.numbers["error_removed_10_random"]
    assert result.numbers["entropy_most"] <= result.numbers["entropy_cap"]


def test_a_checkpoint_without_an_embedding_is_refused(inputs: Inputs):
    bare = [replace(c, state={n: w for n, w in c.state.items() if n != "embedding"}) for c in inputs.checkpoints]
    with pytest.raises(Needs, match="token embedding"):
        study(replace(inputs, checkpoints=tuple(bare)))
