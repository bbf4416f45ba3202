import json
import math

import pytest
from matplotlib.figure import Figure

from fairway.studies.result import Result, Table
from fairway.studies.write import write_result


def draw(figure: Figure) -> None:
    figure.subplots().plot([0, 1], [1, 0])


def a_result(**changes) -> Result:
    table = Table(columns=("layer", "energy_share", "what"), rows=((0, 1 / 3, "a|b"), (1, math.nan, "c")))
    facts = {
        "study": "sample",
        "title": "A sample",
        "tables": {"layers": table, "seeds": Table(columns=("seed",), rows=((42,),))},
        "draw": draw,
        "paragraph": "One third.",
        "null": "Nothing.",
        "numbers": {"third": 1 / 3, "none": math.nan},
    }
    return Result(**(facts | changes))


def test_tables_page_figures_and_facts_are_written(tmp_path):
    written = write_result(a_result(), tmp_path, seconds=1.25, checkpoints=["seed42"])
    names = {path.name for path in written}
    assert names == {"sample.csv", "sample_seeds.csv", "sample.md", "sample.png", "sample.svg", "sample.json"}
    assert (tmp_path / "sample.csv").read_text() == "layer,energy_share,what\n0,0.333333,a|b\n1,,c\n"
    page = (tmp_path / "sample.md").read_text()
    assert "| 0 | 0.3333 | a\\|b |" in page
    assert "Null model: Nothing." in page
    facts = json.loads((tmp_path / "sample.json").read_text())
    assert facts["numbers"] == {"third": 1 / 3, "none": None}
    assert facts["checkpoints"] == ["seed42"]


def test_equal_numbers_give_equal_files(tmp_path):
    first = write_result(a_result(), tmp_path / "a", seconds=1.0, checkpoints=["x"])
    second = write_result(a_result(), tmp_path / "b", seconds=1.0, checkpoints=["x"])
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_row_of_another_length_and_no_table_are_mistakes():
    with pytest.raises(ValueError, match="2 cells"):
        Table(columns=("a", "b"), rows=((1,),))
    with pytest.raises(ValueError, match="at least one table"):
        a_result(tables={})
