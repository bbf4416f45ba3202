import pytest


@pytest.mark.parametrize(
    "arguments", [[], ["tiny"], ["tiny", "--sizes"], ["tiny", "-o", "x", "--compare", "y"]], ids=" ".join
)
def test_bundle_takes_a_recipe_with_an_aim_or_sizes_alone(fairway, tmp_path, arguments):
    result = fairway("bundle", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert (
        result.stderr
        == "fairway: bundle takes a recipe with -o FOLDER, --compare DATA or --prove FOLDER, or --sizes alone\n"
    )


def test_a_recipe_that_does_not_exist_is_told_in_one_line(fairway, tmp_path):
    result = fairway("bundle", "tinny", "-o", "x", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "no recipe is named 'tinny'" in result.stderr


def test_the_packed_file_is_derived_from_the_readable_one_and_another_is_told(fairway, bundled, tmp_path):
    proved = fairway("bundle", "tiny", "--prove", str(bundled("tiny")))
    assert proved.returncode == 0, proved.stderr
    assert "derived from train_gpt_source.py, byte for byte" in proved.stdout
    source = (bundled("tiny") / "train_gpt_source.py").read_text(encoding="utf-8")
    (tmp_path / "train_gpt_source.py").write_text(source.replace("1e-12", "1e-11"), encoding="utf-8")
    (tmp_path / "train_gpt.py").write_bytes((bundled("tiny") / "train_gpt.py").read_bytes())
    other = fairway("bundle", "tiny", "--prove", str(tmp_path))
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "train_gpt.py is not what this version of fairway makes of train_gpt_source.py" in other.stderr


def test_a_readable_file_of_another_recipe_proves_nothing(fairway, bundled):
    result = fairway("bundle", "pocket", "--prove", str(bundled("tiny")))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "train_gpt_source.py is not of recipe pocket" in result.stderr
