"""A verdict on the screen: coloured on a terminal, plain in a log."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairway.verify.finding import SEVERITY, Verdict
from fairway.verify.formats.escape import printable
from fairway.verify.report import as_text, place_of, summary_line

_COLOURS = {"PASS": "green", "FAIL": "bold red", "REVIEW": "yellow", "UNVERIFIABLE": "cyan"}


def show(verdict: Verdict, *, all_findings: bool = False, to_stderr: bool = False) -> None:
    """Print a verdict; its words are those of the report, only the colours are added."""
    text = _coloured(as_text(verdict, all_findings=all_findings).rstrip("\n"))
    Console(stderr=to_stderr, soft_wrap=True, highlight=False).print(text)


_PIPED_WIDTH = 160


def show_table(verdict: Verdict, *, all_findings: bool = False) -> None:
    """Print a verdict as a table, the worst first; without colours where the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    heading, holding, crashes = summary_line(verdict, all_findings=all_findings)
    console.print(_coloured(heading), soft_wrap=True)
    told = [f for f in verdict.findings if all_findings or f.verdict != "PASS"]
    if told:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for column in ("verdict", "rule", "where", "what"):
            table.add_column(column, overflow="fold")
        for finding in sorted(told, key=lambda finding: -SEVERITY[finding.verdict]):
            profile = "" if finding.profile == "both" else f" ({finding.profile})"
            waived = f" (waived: {printable(finding.waived)})" if finding.waived else ""
            said = Text(printable(finding.message) + waived)
            table.add_row(
                _coloured(finding.verdict + profile), Text(finding.rule), Text(printable(place_of(finding))), said
            )
        console.print(table)
    for line in (*holding, *crashes):
        console.print(_coloured(line), soft_wrap=True)


def _coloured(line: str) -> Text:
    text = Text(line)
    for word, colour in _COLOURS.items():
        text.highlight_words([word], colour)
    return text
