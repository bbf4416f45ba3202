"""``fairway check``: any folder, from its files alone; nothing of it is run and torch is never loaded."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.verdicts import show
from fairway.errors import FairwayError
from fairway.verify.finding import PROFILES
from fairway.verify.report import as_object, exit_status
from fairway.verify.run import judge
from fairway.verify.tracks import find_track, load_track, track_of


def command(
    folders: Annotated[list[Path], typer.Argument(help="Folders of records.", metavar="FOLDER...")],
    track: Annotated[str | None, typer.Option(help="The track, where the folder's place does not name it.")] = None,
    profile: Annotated[str, typer.Option(help="strict, precedent or both.")] = "both",
    form: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    everything: Annotated[bool, typer.Option("--all", help="Tell what holds in full, too.")] = False,
    leaderboard: Annotated[Path | None, typer.Option(help="The chain of records to compare with.")] = None,
) -> None:
    """Judge folders of records. Exit status: 0 no profile fails, 1 one does, 2 usage, 3 a fault of the judge."""
    if profile not in (*PROFILES, "both"):
        raise FairwayError(f"--profile must be strict, precedent or both, got {profile!r}")
    if form not in ("text", "json"):
        raise FairwayError(f"--format must be text or json, got {form!r}")
    wanted = PROFILES if profile == "both" else (profile,)
    verdicts = []
    for folder in folders:
        rules = load_track(find_track(track or track_of(folder), [folder, Path.cwd(), Path(__file__)]))
        verdicts.append(judge(folder, rules, profiles=wanted, leaderboard=leaderboard))
        if form == "text":
            show(verdicts[-1], all_findings=everything)
    if form == "json":
        sys.stdout.write(json.dumps([as_object(verdict) for verdict in verdicts], indent=1) + "\n")
    raise typer.Exit(exit_status(verdicts))
