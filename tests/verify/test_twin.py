import hashlib

import pytest

from fairway.verify.twin import likeness, strangers, words

READABLE = '''
"""A docstring, with many words."""
import collections
from pathlib import Path as Place

LIMIT = 12000  # a comment


def longest(lines: list[str], default: str = "nothing here") -> str:
    """Another docstring."""
    counted = collections.Counter(lines)
    return max(counted, key=len, default=default) + Place("folder/name.txt").suffix
'''
MINIFIED = """
import collections
from pathlib import Path as A
def B(a):C=collections.Counter(a);return max(C,key=len,default='nothing here')+A('folder/name.txt').suffix
"""


def test_a_text_is_its_own_source():
    assert likeness(READABLE, READABLE) == "text"


def test_a_program_whose_words_are_all_in_the_source_may_come_from_it():
    assert likeness(READABLE, MINIFIED) == "words"
    assert strangers(READABLE, MINIFIED) == []


def test_a_program_that_names_its_source_by_hash_is_bound_to_it():
    name = hashlib.sha256(READABLE.encode()).hexdigest()
    source, other = READABLE, READABLE.replace("12000", "13000")
    bound = f"{MINIFIED}X='{name}'\n"
    assert likeness(source, bound) == "named"
    assert likeness(other, bound) is None


@pytest.mark.parametrize(
    ("old", "new", "stranger"),
    [
        ("import collections\n", "import collections,socket\n", "socket"),
        (".suffix", ".parent", "parent"),
        ("'nothing here'", "'nothing there'", "there"),
        ("key=len", "reverse=True", "reverse"),
        ("max(", "sorted(", "sorted"),
        ("from pathlib", "from pathlab", "pathlab"),
    ],
)
def test_a_word_that_the_source_has_not_is_named(old, new, stranger):
    assert old in MINIFIED
    changed = MINIFIED.replace(old, new)
    assert likeness(READABLE, changed) is None
    assert stranger in strangers(READABLE, changed)


def test_comments_and_docstrings_lend_no_words():
    assert not {"docstring", "many", "words", "comment", "Another"} & words(READABLE)
    assert {"collections", "pathlib", "nothing", "folder", "suffix", "default", "LIMIT"} <= words(READABLE)


@pytest.mark.parametrize("text", ["x = (", "\0", "(" * 5000])
def test_what_is_no_python_is_an_error_of_one_line(text):
    with pytest.raises(ValueError, match="is no Python") as caught:
        words(text)
    assert "\n" not in str(caught.value)
