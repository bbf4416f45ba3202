"""F-strings as Python 3.12 allows them (PEP 701): where a program has them, and the same program without.

Before 3.12 an expression inside an f-string held no backslash, no comment, no quote of the string around it and, in a
string of one line, no line break. Where an f-string breaks that, each of its expressions is replaced by a name, so that
an older parser takes the text; the expressions are parsed by themselves and put back into the syntax tree.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_NESTED = 20
_START = re.compile(r"#[^\n]*|(?:\b(?P<prefix>[rR][fFbB]?|[fFbB][rR]?|[uU]))?(?P<quote>\"\"\"|'''|\"|')")
_REST = {
    '"': re.compile(r'(?:[^\\"\n]|\\.)*"', re.DOTALL),
    "'": re.compile(r"(?:[^\\'\n]|\\.)*'", re.DOTALL),
    '"""': re.compile(r'(?:[^\\"]|\\.|"(?!""))*"""', re.DOTALL),
    "'''": re.compile(r"(?:[^\\']|\\.|'(?!''))*'''", re.DOTALL),
}
_IN_LITERAL = re.compile(r"[{}\\\n\"']")
_IN_EXPRESSION = re.compile(
    r"#[^\n]*|(?:\b(?P<prefix>[rR][fFbB]?|[fFbB][rR]?|[uU]))?(?P<quote>\"\"\"|'''|\"|')|[=!<>]=|[()\[\]{}:!=]"
)


class CannotScan(ValueError):
    """The text is no Python of any version, or nests its f-strings too deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """One expression taken out of an f-string."""

    name: str
    """What stands in its place."""
    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A program whose f-strings an older parser takes."""

    text: str
    """With every line where it was."""
    holes: Sequence[Hole]
    first_line: int | None
    """Of the first f-string that needs Python 3.12; None where there is none."""
    reason: str = ""


@dataclass(slots=True)
class _FString:
    end: int
    fields: list[tuple[int, int, int]] = field(default_factory=list)
    """Where an expression begins and ends, and where a line break that it holds can be put instead."""
    reason: str = ""


def lower(text: str, prefix: str, first_line: int = 1) -> Lowered:
    """The text with a name in place of each expression that stands in an f-string of the newer kind.

    ``prefix`` begins every such name and must not occur in the text; ``CannotScan`` where strings do not end.
    """
    out: list[str] = []
    holes: list[Hole] = []
    first: int | None = None
    reason = ""
    done, at, counted, line = 0, 0, 0, first_line
    while (mark := _START.search(text, at)) is not None:
        quote = mark.group("quote")
        if quote is None:
            at = mark.end()
            continue
        kind = (mark.group("prefix") or "").lower()
        if "f" not in kind:
            at = _string_end(text, mark.end(), quote)
            continue
        found = _scan(text, mark.end(), quote, "r" in kind, 0)
        at = found.end
        if not found.reason:
            continue
        line += text.count("\n", counted, mark.start())
        counted = mark.start()
        if first is None:
            first, reason = line, found.reason
        owed = 0
        for begin, end, after in found.fields:
            name = f"{prefix}{len(holes)}"
            line += text.count("\n", counted, begin)
            counted = begin
            holes.append(Hole(name=name, text=text[begin:end], line=line))
            out += [text[done:begin], name]
            lost = text.count("\n", begin, end) if len(quote) == 1 else 0
            owed += lost
            if len(quote) == 3:
                owed += text.count("\n", begin, end)
            out.append(text[end:after])
            done = after
            if owed:
                out.append("\\\n" * owed if len(quote) == 1 else "\n" * owed)
                owed = 0
    out.append(text[done:])
    return Lowered(text="".join(out), holes=tuple(holes), first_line=first, reason=reason)


def _string_end(text: str, at: int, quote: str) -> int:
    match = _REST[quote].match(text, at)
    if match is None:
        raise CannotScan("a string does not end")
    return match.end()


def _scan(text: str, at: int, quote: str, raw: bool, depth: int) -> _FString:
    """One f-string from after its opening quote."""
    if depth > MOST_NESTED:
        raise CannotScan(f"f-strings nested more than {MOST_NESTED} deep")
    found = _FString(end=at)
    found.end = _literal(text, at, quote, raw, depth, found, spec=False)
    return found


def _literal(text: str, at: int, quote: str, raw: bool, depth: int, found: _FString, *, spec: bool) -> int:
    """The part between expressions; returns where it ends: after the quote, or at the brace that closes a spec."""
    while (mark := _IN_LITERAL.search(text, at)) is not None:
        at = mark.start()
        char = text[at]
        if char == "\\":
            # A named character has braces of its own.
            if not raw and text.startswith("\\N{", at):
                closing = text.find("}", at)
                at = closing + 1 if closing > 0 else len(text)
            elif spec and text[at + 1 : at + 2] in ("{", "}"):
                at += 1
            else:
                at += 2
        elif char == "\n":
            if len(quote) == 1:
                raise CannotScan("an f-string does not end on its line")
            at += 1
        elif char in "\"'":
            if text.startswith(quote, at):
                if spec:
                    raise CannotScan("an f-string ends inside a format")
                return at + len(quote)
            at += 1
        elif char == "}":
            if spec:
                return at
            at += 2 if text.startswith("}}", at) else 1
        elif text.startswith("{{", at) and not spec:
            at += 2
        else:
            at = _field(text, at + 1, quote, raw, depth, found, in_spec=spec)
    raise CannotScan("an f-string does not end")


def _field(text: str, at: int, quote: str, raw: bool, depth: int, found: _FString, *, in_spec: bool) -> int:
    """One expression with its conversion and format, from after the brace; returns the place after the closing one."""
    if depth > MOST_NESTED:
        raise CannotScan(f"f-strings nested more than {MOST_NESTED} deep")
    begin = at
    nested = 0
    end = -1
    debug = -1
    while (mark := _IN_EXPRESSION.search(text, at)) is not None:
        token, at = mark.group(), mark.end()
        if mark.group("quote") is not None:
            kind = (mark.group("prefix") or "").lower()
            if "f" in kind:
                inner = _scan(text, at, mark.group("quote"), "r" in kind, depth + 1)
                found.reason = found.reason or inner.reason
                at = inner.end
            else:
                at = _string_end(text, at, mark.group("quote"))
        elif token[0] == "#":
            continue
        elif token in ("(", "[", "{"):
            nested += 1
        elif token in (")", "]") or (token == "}" and nested):
            nested -= 1
        elif nested:
            continue
        elif token == "=":
            debug = mark.start()
        elif token in ("}", ":", "!"):
            end = mark.start()
            break
        if nested < 0:
            raise CannotScan("brackets do not match")
    if end < 0:
        raise CannotScan("an expression in an f-string does not end")
    expression_end = debug if debug >= 0 and not text[debug + 1 : end].strip() else end
    found.reason = found.reason or _newer(text[begin:end], quote)
    slot = len(found.fields)
    found.fields.append((begin, expression_end, 0))
    inside: list[tuple[int, int, int]] = []
    if text[end] == "!":
        end = _next(text, end, ":}")
    if text[end] == ":":
        if in_spec:
            found.reason = found.reason or "a format inside the format of an f-string"
        before = len(found.fields)
        end = _literal(text, end + 1, quote, raw, depth + 1, found, spec=True)
        inside = found.fields[before:]
        del found.fields[before:]
    closing = end + 1
    if inside:
        found.fields[slot] = (begin, expression_end, expression_end)
        found.fields += [(one, two, closing if k == len(inside) - 1 else two) for k, (one, two, _) in enumerate(inside)]
    else:
        found.fields[slot] = (begin, expression_end, closing)
    return closing


def _next(text: str, at: int, chars: str) -> int:
    while at < len(text) and text[at] not in chars:
        at += 1
    if at == len(text):
        raise CannotScan("an expression in an f-string does not end")
    return at


def _newer(expression: str, quote: str) -> str:
    """Why Python 3.11 does not take an expression inside an f-string; empty where it does."""
    if "\\" in expression:
        return "a backslash inside the expression of an f-string"
    if quote in expression:
        return "the quote of an f-string inside its own expression"
    if "#" in expression:
        return "a comment or number sign inside the expression of an f-string"
    if len(quote) == 1 and "\n" in expression:
        return "a line break inside the expression of a one-line f-string"
    return ""
