import ast
from pathlib import Path

import pytest

from fairway.verify.twin import likeness

READABLE = '''
"""What it is."""
import os, sys
from math import sqrt as root, floor


def outer(first: int, second: float = 2.0, *rest: str, key: int = 3) -> int:
    """What it does."""
    assert first
    total: int = first
    later: int
    words = [word for line in rest for word in line if (seen := word)]
    later = len(words)

    def inner(value):
        nonlocal total
        total += value * key
        return lambda value=value: value + root(total) + later

    try:
        pass
    except ValueError as error:
        raise KeyError(seen) from error
    match words:
        case [head, *tail]:
            return inner(head)() + len(tail)
        case {"a": one, **others}:
            global STATE
            STATE = floor(one)
    return inner(first)()


class Point:
    x: int = 1

    def moved(self, x):
        return Point.x + self.x + x
'''
MINIFIED = """
import os
import sys
from math import sqrt as A,floor as B
def C(a,b=2.0,*c,key=3):
 d=a;g=[j for i in c for j in i if(e:=j)];f=len(g)
 def h(a):
  nonlocal d
  d+=a*key
  return lambda b=a:b+A(d)+f
 try:pass
 except ValueError as k:raise KeyError(e)from k
 match g:
  case[l,*m]:return h(l)()+len(m)
  case{"a":n,**o}:
   global STATE
   STATE=B(n)
 return h(a)()
class Point:
 x:0=1
 def moved(a,b):return Point.x+a.x+b
"""


def test_what_a_minifier_takes_away_is_no_difference():
    assert likeness(READABLE, MINIFIED) == "program"
    assert likeness(READABLE, READABLE) == "text"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("d=a;", "d=b;"),
        ("b=2.0", "b=2"),
        ("key=3", "yek=3"),
        ("len(g)", "sum(g)"),
        ("b+A(d)", "a+A(d)"),
        ("b+A(d)", "b+B(d)"),
        ("+f\n", "+d\n"),
        ("nonlocal d", "global d"),
        ("if(e:=j)", "if(e:=i)"),
        ("KeyError", "NameError"),
        ("from k", "from e"),
        ("l,*m", "m,*l"),
        ("a.x", "a.y"),
        ("Point.x", "a.x"),
        ("import sys", "import re"),
        ("sqrt as A,floor as B", "floor as A,sqrt as B"),
        ("x:0=1", "x=1"),
        ("h(a)()", "h(a)"),
        ("except ValueError", "except OSError"),
    ],
)
def test_every_change_of_what_is_done_is_seen(old, new):
    assert old in MINIFIED
    assert likeness(READABLE, MINIFIED.replace(old, new)) is None


def test_every_module_of_the_package_is_itself_when_written_anew():
    for path in (Path(__file__).parents[2] / "src" / "fairway").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert likeness(text, ast.unparse(ast.parse(text))) in ("text", "program"), path


def test_what_is_no_python_is_no_twin():
    assert likeness("x = 1", "x = (") is None
    assert likeness("x = (", "x = (") == "text"
