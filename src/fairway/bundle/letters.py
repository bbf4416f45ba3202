"""New names for all variables of a small program, chosen so that the text repeats itself.

A compressor charges for surprise. Which letter a variable gets costs nothing by itself, so each gets the one that its
surroundings make likely: that after which, and before which, the rest of the program most often goes on the same way.
The model is one of the simplest (counts of the last few tokens, blended from long to short), and variables are taken
one after the other, several times over; what comes out depends on the program alone.
"""

import ast
import builtins
import keyword
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from python_minifier.ast_annotation import add_parent
from python_minifier.rename import add_namespace, allow_rename_globals, allow_rename_locals, bind_names, resolve_names
from python_minifier.rename.binding import NameBinding
from python_minifier.rename.renamer import all_bindings, reservation_scope
from python_minifier.rename.util import arg_rename_in_place
from python_minifier.transforms.remove_posargs import remove_posargs

_MARK = "Zq{}qZ"
_TOKEN = re.compile(r"Zq\d+qZ|\w+|\n\t*|\W")
_ORDER = 4
"""Tokens that the model looks back."""
_BLEND = 1.0
"""How much a shorter run has to say against a longer one."""
_SWEEPS = 7
_TRIED = 14
"""Names that are judged in full for each variable; a glance at the nearest tokens picks them."""
COMPILE_TIME = "constexpr"
"""A name that is kept: Triton looks for it in the annotations of a kernel."""
LETTERS = string.ascii_uppercase + string.ascii_lowercase


@dataclass(slots=True)
class Variable:
    """One variable of a program: where its name may mean nothing else, and where the name stands."""

    scope: tuple[int, ...]
    name: str
    places: list[int] = field(default_factory=list)
    """Indices of tokens."""


def variables_of(tree: ast.Module) -> tuple[list[Variable], dict[int, Counter[str]]]:
    """Variables that may be renamed, now named by marks; and the fixed names of each scope. Changes ``tree``."""
    add_parent(tree)
    add_namespace(tree)
    bind_names(tree)
    resolve_names(tree)
    notes: Any = tree  # the library writes what it finds on the tree
    assert not notes.tainted, "the program looks names up by text"
    allow_rename_locals(tree, True)
    allow_rename_globals(tree, True, [*dir(builtins), *notes.preserved, COMPILE_TIME])
    found: list[Variable] = []
    fixed: dict[int, Counter[str]] = {}
    for namespace, binding in all_bindings(tree):
        scope = tuple(sorted({id(each) for each in reservation_scope(namespace, binding)}))
        in_place = all(arg_rename_in_place(each) for each in binding.references if isinstance(each, ast.arg))
        if isinstance(binding, NameBinding) and binding.allow_rename and in_place:
            found.append(Variable(scope, binding.name))
            binding.rename(_MARK.format(len(found) - 1))
        elif binding.name is not None:
            for each in scope:
                fixed.setdefault(each, Counter())[binding.name] += 1
    remove_posargs(tree)
    return found, fixed


def lettered(text: str, variables: Sequence[Variable], taken: dict[int, Counter[str]]) -> Iterator[str]:
    """A printed program whose variables are marks, with names in their places: as found first, then ever better.

    The model is no compressor, so which of the texts packs smallest is for the caller to try.
    """
    tokens = _TOKEN.findall(text)
    owner: dict[int, int] = {}
    for place, token in enumerate(tokens):
        if (mark := re.fullmatch(r"Zq(\d+)qZ", token)) is not None:
            variables[int(mark[1])].places.append(place)
            owner[place] = int(mark[1])
    _first_names(variables, taken)
    for place, number in owner.items():
        tokens[place] = variables[number].name
    model = _Model(tokens)
    order = sorted((each for each in variables if each.places), key=lambda each: each.places[0])
    yield "".join(tokens)
    for _ in range(_SWEEPS):
        for variable in order:
            _rename(variable, model, taken)
        yield "".join(tokens)


def _first_names(variables: Sequence[Variable], taken: dict[int, Counter[str]]) -> None:
    """The first names that are free, in the order in which variables appear: like functions then look alike."""
    names = [*LETTERS, *(first + second for first in LETTERS for second in string.ascii_letters)]
    names = [name for name in names if not keyword.iskeyword(name) and not keyword.issoftkeyword(name)]
    for variable in sorted((each for each in variables if each.places), key=lambda each: each.places[0]):
        variable.name = next(name for name in names if _is_free(name, variable, taken))
        _take(variable, taken, 1)


def _is_free(name: str, variable: Variable, taken: dict[int, Counter[str]]) -> bool:
    return not any(name in taken.get(scope, ()) for scope in variable.scope)


def _take(variable: Variable, taken: dict[int, Counter[str]], by: int) -> None:
    for scope in variable.scope:
        names = taken.setdefault(scope, Counter())
        names[variable.name] += by
        if not names[variable.name]:
            del names[variable.name]


def _rename(variable: Variable, model: "_Model", taken: dict[int, Counter[str]]) -> None:
    _take(variable, taken, -1)
    reach = model.around(variable.places)
    model.count(reach, -1)
    free = [name for name in LETTERS if _is_free(name, variable, taken)]
    if len(variable.name) > 1 and variable.name not in free:
        free.append(variable.name)
    if len(free) > _TRIED:
        free = sorted(free, key=lambda name: (-model.glance(variable.places, name), name))[:_TRIED]
    costs = []
    for name in free:
        for place in variable.places:
            model.tokens[place] = name
        costs.append((model.cost(reach), name))
    variable.name = min(costs)[1]
    for place in variable.places:
        model.tokens[place] = variable.name
    model.count(reach, 1)
    _take(variable, taken, 1)


class _Model:
    """How often each run of tokens occurs, up to a length."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self._runs: list[dict[tuple[str, ...], int]] = [{} for _ in range(_ORDER + 2)]
        self.count(range(len(tokens)), 1)

    def around(self, places: Sequence[int]) -> list[int]:
        """Tokens whose cost depends on those at ``places``."""
        last = len(self.tokens)
        return sorted({each for place in places for each in range(place, min(place + _ORDER + 1, last))})

    def count(self, places: Iterable[int], by: int) -> None:
        """Add (or take off) the runs that end at places."""
        for place in places:
            for size in range(1, min(_ORDER + 1, place + 1) + 1):
                run = tuple(self.tokens[place + 1 - size : place + 1])
                runs = self._runs[size]
                runs[run] = runs.get(run, 0) + by

    def glance(self, places: Sequence[int], name: str) -> float:
        """How well a name fits between its neighbours."""
        pairs, tokens = self._runs[2], self.tokens
        triples = self._runs[3]
        found = 0.0
        for place in places:
            if 2 <= place < len(tokens) - 1:
                before, after = tokens[place - 1], tokens[place + 1]
                found += math.log2(1 + pairs.get((before, name), 0)) + math.log2(1 + pairs.get((name, after), 0))
                found += math.log2(1 + triples.get((tokens[place - 2], before, name), 0))
                found += math.log2(1 + triples.get((before, name, after), 0))
        return found

    def cost(self, places: Sequence[int]) -> float:
        """Bits that tokens take."""
        bits = 1.0
        found = 0.0
        runs = self._runs
        for place in places:
            chance = 0.0005
            for size in range(1, min(_ORDER + 1, place + 1) + 1):
                run = tuple(self.tokens[place + 1 - size : place + 1])
                seen = runs[size - 1].get(run[:-1], 0) if size > 1 else len(self.tokens)
                if not seen:
                    break
                chance = (runs[size].get(run, 0) + _BLEND * chance) / (seen + _BLEND)
            bits *= chance
            if bits < 1e-200:
                found -= math.log2(bits)
                bits = 1.0
        return found - math.log2(bits)
