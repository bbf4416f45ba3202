import json
import math
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from fairway.cli.__main__ import build_app
from fairway.errors import DataError
from fairway.studies.catalogue import NAMES
from fairway.studies.claims import Claim, read_claims
from fairway.studies.page import MOST_ROWS, page, read_facts, read_table, write_page
from fairway.studies.result import Result, Table
from fairway.studies.write import write_result

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def folder(tmp_path):
    """What `study all` writes, of one study with a long table."""
    rows = tuple((f"seed{i}", 0.1 * i, math.nan if i else i) for i in range(MOST_ROWS + 2))
    result = Result(
        study=NAMES[-1],
        title="A title",
        tables={"main": Table(columns=("run", "score (BPB)", "count"), rows=rows)},
        draw=lambda figure: figure.subplots().plot([0, 1], [1, 0]),
        paragraph="One half.",
        null="A coin.",
        numbers={"half": 0.5, "none": math.nan},
    )
    written = tmp_path / "out"
    write_result(result, written, seconds=2.0, checkpoints=["seed1", "seed2"])
    return written


def test_the_page_tells_each_study_its_null_and_its_figure_and_judges_the_claims(folder):
    claims = [
        Claim(
            pr=7,
            says="Half.",
            number="0.5",
            because="So it is.",
            study=NAMES[-1],
            measured="half",
            reproduced=(0.0, 1.0),
        ),
        Claim(pr=8, says="Fast.", number="2x", because="No clock."),
    ]
    text = page(folder, claims)
    assert "One half." in text and "Null model: A coin." in text
    assert f"![A title](out/{NAMES[-1]}.png)" in text
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 2} rows of" in text
    assert "| #7 | Half. | 0.5 |" in text and "| reproduced | So it is. |" in text
    assert "Of 2 claims 1 reproduced, 0 explained by the null, 0 not reproduced, 1 not testable here." in text
    assert f"Not among them: {NAMES[0]}" in text


def test_tables_come_back_as_they_were_written(folder):
    table = read_table(folder / f"{NAMES[-1]}.csv")
    assert table.columns == ("run", "score (BPB)", "count")
    assert table.rows[0] == ("seed0", 0, 0)
    assert table.rows[3][1] == pytest.approx(0.3) and math.isnan(table.rows[3][2])


def test_what_the_page_is_made_of_lies_beside_it_in_few_bytes_and_makes_it_again(folder, tmp_path):
    written = write_page(folder, tmp_path / "docs" / "studies.md")
    assert [path.name for path in written] == ["studies.md", *(f"{NAMES[-1]}.{end}" for end in ("json", "csv", "png"))]
    assert written[3].stat().st_size < (folder / written[3].name).stat().st_size
    with Image.open(written[3]) as reduced, Image.open(folder / written[3].name) as figure:
        assert reduced.size == figure.size
    before = [path.read_bytes() for path in written]
    assert write_page(tmp_path / "docs" / "studies", tmp_path / "docs" / "studies.md") == written[:1]
    write_page(folder, tmp_path / "docs" / "studies.md")
    assert [path.read_bytes() for path in written] == before


def test_a_folder_without_studies_and_facts_of_something_else_are_told(tmp_path):
    with pytest.raises(DataError, match="holds no study"):
        read_facts(tmp_path)
    (tmp_path / f"{NAMES[0]}.json").write_text(json.dumps({"format": "other/1"}))
    with pytest.raises(DataError, match=f"must be the facts of study {NAMES[0]}"):
        read_facts(tmp_path)


def test_the_command_writes_the_page_and_says_what_it_needs(folder, tmp_path):
    app = build_app("study")
    target = tmp_path / "docs" / "studies.md"
    done = CliRunner().invoke(app, ["study", "page", str(folder), "-o", str(target)])
    assert done.exit_code == 0 and target.is_file(), done.output
    failed = CliRunner().invoke(app, ["study", "page", str(folder)])
    assert "-o docs/studies.md" in str(failed.exception)


def test_the_committed_page_is_what_the_committed_numbers_make():
    assert (DOCS / "studies.md").read_text(encoding="utf-8") == page(DOCS / "studies", read_claims())
    assert sum(path.stat().st_size for path in (DOCS / "studies").iterdir()) < 600_000
