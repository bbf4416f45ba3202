import pytest

from fairway.errors import RecipeError
from fairway.recipes.explain import diff, show
from fairway.recipes.load import leaves, load_recipe, plain


def test_show_tells_value_origin_and_what_it_was_before(write):
    text = show(load_recipe(write("[quant.mlp]\nclip_sigmas = 10.0\n")), "quant.mlp")
    assert text.splitlines() == [
        'kind         "sigmas"  from baseline',
        "bits         6         from baseline",
        "clip_sigmas  10.0      from wide (was 12.0 in baseline)",
        "scale_floor  1e-10     from default",
    ]


def test_show_without_a_path_has_one_line_a_value():
    resolved = load_recipe("pocket")
    assert len(show(resolved).splitlines()) == len(list(leaves(plain(resolved.recipe))))


def test_show_of_an_unknown_path_names_the_sections():
    with pytest.raises(RecipeError, match="nothing lies under quantt; known: name, track, seeds, lineage, data"):
        show(load_recipe("pocket"), "quantt")


def test_diff_lists_exactly_the_values_that_differ(write):
    new = load_recipe(write('[quant]\ncodec = "range"\n[score.method]\nkind = "sliding"\nstride = 32\n'))
    rows = [line.split() for line in diff(load_recipe("baseline"), new).splitlines()]
    assert rows[0] == ["baseline", "wide"]
    assert ["quant.codec", '"smallest"', '"range"'] in rows
    assert ["score.method.stride", "-", "32"] in rows
    assert ["score.method.prefix_docs", "2000", "-"] in rows
    assert not [row for row in rows if row[0].startswith(("model", "optim", "train", "data", "lineage"))]


def test_diff_of_a_recipe_with_itself_says_so():
    assert diff(load_recipe("tiny"), load_recipe("tiny")) == "tiny and tiny say the same"
