import ast

from fairway.bundle.edits import Source

TEXT = '''
# about one
ONE = 1
"""What one is."""

# about two
TWO = 2


class Kind:
    """A kind."""

    # about f
    @staticmethod
    def f() -> str:
        return "é" + str(ONE)
'''.lstrip()


def test_removing_a_statement_takes_the_comment_above_it_and_leaves_the_rest_as_written():
    source = Source(TEXT)
    source.remove([source.tree.body[2]], source.tree.body)
    assert source.edited() == TEXT.replace("# about two\nTWO = 2\n", "")


def test_removing_all_of_a_block_leaves_pass():
    source = Source("def f():\n    # why\n    return 1\n")
    function = source.tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    source.remove(function.body, function.body)
    assert source.edited() == "def f():\n    pass\n"


def test_removing_the_statements_of_a_block_one_by_one_leaves_pass():
    source = Source("if x:\n    if a:\n        f()\n    if b:\n        g()\n")
    outer = source.tree.body[0]
    assert isinstance(outer, ast.If)
    for inner in outer.body:
        source.remove([inner], outer.body)
    assert source.edited() == "if x:\n    pass\n"


def test_an_expression_behind_a_letter_of_two_bytes_is_replaced_where_it_stands():
    source = Source(TEXT)
    name = next(
        node for node in ast.walk(source.tree) if isinstance(node, ast.Name) and node.id == "ONE" and node.col_offset
    )
    source.replace(name, "1")
    assert source.edited() == TEXT.replace("str(ONE)", "str(1)")


def test_of_two_changes_of_one_place_the_first_is_made():
    source = Source("x = a + b\n")
    statement = source.tree.body[0]
    assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.BinOp)
    source.replace(statement.value, "c")
    source.replace(statement.value.left, "d")
    assert source.edited() == "x = c\n"
