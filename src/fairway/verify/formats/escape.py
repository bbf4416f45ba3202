"""Text of strangers, made harmless for a terminal and for Markdown."""

import html

_MARKED = {ord(sign): f"\\{sign}" for sign in "\\`*_{}[]()|~!"}


def printable(text: str) -> str:
    """The text in one line; control signs, escapes and lone surrogates are spelled out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def markdown(text: str) -> str:
    """The text so that Markdown shows it as it is: no markup, no HTML, no mention, no reference to an issue."""
    safe = html.escape(printable(text), quote=False).translate(_MARKED)
    return safe.replace("@", "@<!-- -->").replace("#", "#<!-- -->").replace("://", ":<!-- -->//")
