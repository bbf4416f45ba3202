"""``fairway probe --script``, the part of ``fairway probe`` that is about a stranger's script."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairway.cli.console import echo
from fairway.errors import FairwayError
from fairway.probes.script import REPORT, ScriptReport, Setting, probe_script
from fairway.probes.script_data import most_tokens

_STYLES = {
    **{"passed": "green", "failed": "bold red", "not-applicable": "dim"},
    **{"PASSED": "bold green", "FAILED": "bold red", "UNVERIFIABLE": "bold yellow"},
}


def judge_script(script: Path, output: Path | None, vocab_size: int, settings: Sequence[str]) -> int:
    """Probe a script, show what came out and return the exit status: 0 if it passed, 1 otherwise."""
    for each in settings:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", each):
            raise FairwayError(f"--set takes KEY=VALUE, got {each!r}")
    folder = Path("results", "probe-script", script.stem) if output is None else output
    setting = Setting(vocab_size=vocab_size, variables=dict(each.split("=", 1) for each in settings))
    setting = replace(setting, val_tokens=min(setting.val_tokens, most_tokens(vocab_size)))
    echo(f"probe: {script} runs on made-up data; what it prints is kept in {folder}")
    report = probe_script(script, folder, setting)
    show_script(report)
    echo(f"probe: the report is {folder / REPORT}")
    return 0 if report.verdict == "PASSED" else 1


def show_script(report: ScriptReport) -> None:
    """A row a probe, the whole's last."""
    walls = report.isolation["mechanism"] or f"no walls: {report.isolation['reason']}"
    targets = report.data["targets"]
    table = Table(
        title=f"{report.script}: {len(report.runs)} runs on {targets:,} targets, {report.device}, {walls},"
        f" {report.seconds:.0f} s"
    )
    for column in ("probe", "", "because"):
        table.add_column(column)
    for name, verdict, because in report.rows:
        table.add_row(name, f"[{_STYLES[verdict]}]{verdict}", escape(because))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
