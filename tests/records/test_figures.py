import ast
import hashlib
import importlib.resources
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.records.facts import RunFacts, read_run
from fairway.records.figures import (
    FIGURE_CAPTIONS,
    along,
    bpb_along_evaluation,
    bytes_by_role,
    document_scores,
    error_by_tensor,
    write_figures,
)
from fairway.records.ledgers import Ledger
from fairway.records.style import ROLE_COLOURS, save_figure, seed_colour
from fairway.spec.roles import Role


@pytest.fixture
def run(template: Any) -> RunFacts:
    return read_run(template.recipe_json, template.results, template.data)


def ledger_of(spans: list[tuple[int, int, float, float]]) -> Ledger:
    starts, stops, nats, spelled = (list(column) for column in zip(*spans, strict=True))
    return Ledger(
        path=Path("ledger.jsonl"),
        artifact_sha256="ab",
        starts=np.array(starts, dtype=np.int64),
        stops=np.array(stops, dtype=np.int64),
        nats=np.array(nats, dtype=np.float64),
        bytes=np.array(spelled, dtype=np.float64),
        learned=(),
    )


@st.composite
def scored_streams(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int, float, float]]]:
    """Documents, and spans that score each target once in any order and pay no heed to documents."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8).filter(lambda lengths: sum(lengths) > 1))
    total = sum(lengths)
    cuts = sorted({1, total, *draw(st.lists(st.integers(1, total), max_size=8))})
    bounds = draw(st.permutations(list(zip(cuts[:-1], cuts[1:], strict=True))))
    return lengths, [(start, stop, draw(st.floats(0, 9)), float(draw(st.integers(1, 9)))) for start, stop in bounds]


@given(stream=scored_streams())
def test_documents_share_nats_and_bytes_as_target_by_target_counting_does(
    stream: tuple[list[int], list[tuple[int, int, float, float]]],
) -> None:
    lengths, spans = stream
    # The document of a target is the one before whose end-and-next-BOS it stands.
    owner = [-1] + [document for document, length in enumerate(lengths) for _ in range(length)]
    nats, spelled = [0.0] * len(lengths), [0.0] * len(lengths)
    for start, stop, span_nats, span_bytes in spans:
        for target in range(start, stop):
            nats[owner[target]] += span_nats / (stop - start)
            spelled[owner[target]] += span_bytes / (stop - start)
    found_nats, found_bytes = document_scores(ledger_of(spans), np.array(lengths, dtype=np.int64))
    np.testing.assert_allclose(found_nats, nats, atol=1e-9)
    np.testing.assert_allclose(found_bytes, spelled, atol=1e-9)


@given(stream=scored_streams(), bins=st.integers(1, 12))
def test_stretches_of_the_evaluation_grow_to_the_score_and_weigh_up_to_it(
    stream: tuple[list[int], list[tuple[int, int, float, float]]], bins: int
) -> None:
    ledger = ledger_of(stream[1])
    targets, so_far, local = along(ledger, bins)
    total = ledger.nats.sum() / ledger.bytes.sum() / math.log(2)
    assert targets[-1] == (ledger.stops - ledger.starts).sum()
    assert so_far[-1] == pytest.approx(total)
    assert (np.diff(targets) > 0).all() and len(targets) <= bins
    assert local.min() - 1e-9 <= total <= local.max() + 1e-9


def test_the_last_document_scores_add_up_to_the_ledger_s(run: RunFacts) -> None:
    for seed in run.seeds:
        nats, spelled = document_scores(seed.ledger, np.array(run.document_tokens, dtype=np.int64))
        assert nats.sum() == pytest.approx(seed.final.loss_nats * seed.final.tokens)
        assert spelled.sum() == pytest.approx(seed.final.bytes)


def png_chunks(data: bytes) -> set[str]:
    kinds, at = set(), 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kinds.add(data[at + 4 : at + 8].decode())
        at += 12 + length
    return kinds


def test_the_same_facts_give_the_same_pngs_whatever_the_user_configured(run: RunFacts, tmp_path: Path) -> None:
    first = write_figures(run, tmp_path / "first", cap_bytes=400_000)
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black", "savefig.dpi": 20}):
        second = write_figures(run, tmp_path / "second", cap_bytes=400_000)
    assert [path.name for path in first] == [f"{name}.png" for name in FIGURE_CAPTIONS]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in (first, second)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(FIGURE_CAPTIONS)
    for path in first:
        # No text, no time: the header, the resolution, the pixels.
        assert png_chunks(path.read_bytes()) == {"IHDR", "pHYs", "IDAT", "IEND"}


def test_one_seed_without_loops_rotation_gptq_or_cap_is_drawn_too(one_seed_world: Any, tmp_path: Path) -> None:
    run = read_run(one_seed_world.recipe_json, one_seed_world.results, one_seed_world.data)
    (seed,) = run.seeds
    bare = replace(
        seed,
        curve=replace(seed.curve, loops_on_step=None),
        errors=tuple(replace(error, gptq=None, gptq_unrotated=None, nearest_unrotated=None) for error in seed.errors),
        sizes=tuple(replace(size, entropy_bytes=None) for size in seed.sizes),
    )
    paths = write_figures(replace(run, seeds=(bare,)), tmp_path)
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_documents_of_one_length_are_one_class(run: RunFacts, tmp_path: Path) -> None:
    total = sum(run.document_tokens)
    tokens = next(length for length in range(2, total) if total % length == 0)
    paths = write_figures(replace(run, document_tokens=(tokens,) * (total // tokens)), tmp_path)
    assert paths[-1].stat().st_size > 10_000


def test_the_bars_of_bytes_by_role_add_up_to_artifact_and_code(run: RunFacts) -> None:
    figure = bytes_by_role(run.seeds[0], code_bytes=run.code_bytes, cap_bytes=None)
    strip, bars = figure.axes
    for axes in (strip, bars):
        widths = [patch.get_width() for patch in axes.patches]  # type: ignore[attr-defined]
        assert sum(widths) == pytest.approx(run.seeds[0].artifact_bytes + run.code_bytes)


def test_every_matrix_has_a_point_in_each_series_of_its_role_s_panel(run: RunFacts) -> None:
    figure = error_by_tensor([seed.errors for seed in run.seeds])
    drawn = sum(len(line.get_xdata()) for axes in figure.axes[:-1] for line in axes.lines)  # type: ignore[arg-type]
    assert drawn == 4 * len(run.seeds[0].errors)


@pytest.mark.parametrize(
    ("gone", "shown"),
    [
        ({}, ["to nearest", "rotated, to nearest", "by GPTQ", "rotated, by GPTQ"]),
        ({"nearest_unrotated": None, "gptq_unrotated": None}, ["to nearest", "by GPTQ"]),
        ({"gptq": None, "gptq_unrotated": None}, ["to nearest", "rotated, to nearest"]),
        ({"gptq": 1e-3, "nearest": 1e-3, "nearest_unrotated": 1e-3, "gptq_unrotated": 1e-3}, ["to nearest"]),
    ],
)
def test_only_what_changed_an_error_is_told_apart(run: RunFacts, gone: dict[str, Any], shown: list[str]) -> None:
    errors = [tuple(replace(error, **gone) for error in seed.errors) for seed in run.seeds]
    legend = error_by_tensor(errors).axes[-1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == shown


def test_a_phase_of_many_steps_is_one_mark(run: RunFacts) -> None:
    ledgers = [
        replace(seed.ledger, learned=((50, "lora"), *[(90, "sgd")] * 7, *[(200, "sgd")] * 7)) for seed in run.seeds
    ]
    (axes,) = bpb_along_evaluation([1, 2, 3], ledgers, [1.5, 1.6, 1.7]).axes
    upright = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]  # type: ignore[index,arg-type]
    assert upright == [90, 200]
    assert [text.get_text() for text in axes.texts] == ["base learns"]


def test_every_role_has_its_colour_and_neighbouring_seeds_differ() -> None:
    assert {str(role) for role in Role} <= ROLE_COLOURS.keys()
    assert len(set(ROLE_COLOURS.values())) == len(ROLE_COLOURS)
    assert len({seed_colour(index) for index in range(8)}) == 8


def test_no_module_of_records_uses_pyplot() -> None:
    folder = Path(str(importlib.resources.files("fairway"))) / "records"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            assert not any("pyplot" in name for name in [*names, module])


def test_a_figure_is_written_whole_or_not_at_all(
    run: RunFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = bytes_by_role(run.seeds[0], code_bytes=1, cap_bytes=None)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        save_figure(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())
