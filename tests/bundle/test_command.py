import pytest


@pytest.mark.parametrize(
    "arguments", [[], ["tiny"], ["tiny", "--sizes"], ["tiny", "-o", "x", "--compare", "y"]], ids=" ".join
)
def test_bundle_takes_a_recipe_with_an_aim_or_sizes_alone(fairway, tmp_path, arguments):
    result = fairway("bundle", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "fairway: bundle takes a recipe with -o FOLDER or --compare DATA, or --sizes alone\n"


def test_a_recipe_that_does_not_exist_is_told_in_one_line(fairway, tmp_path):
    result = fairway("bundle", "tinny", "-o", "x", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "no recipe is named 'tinny'" in result.stderr
