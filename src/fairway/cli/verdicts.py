"""A verdict on the screen: coloured on a terminal, plain in a log."""

from rich.console import Console
from rich.text import Text

from fairway.verify.finding import Verdict
from fairway.verify.report import as_text

_COLOURS = {"PASS": "green", "FAIL": "bold red", "REVIEW": "yellow", "UNVERIFIABLE": "cyan"}


def show(verdict: Verdict, *, all_findings: bool = False, to_stderr: bool = False) -> None:
    """Print a verdict; its words are those of the report, only the colours are added."""
    text = Text(as_text(verdict, all_findings=all_findings).rstrip("\n"))
    for word, colour in _COLOURS.items():
        text.highlight_words([word], colour)
    Console(stderr=to_stderr, soft_wrap=True, highlight=False).print(text)
