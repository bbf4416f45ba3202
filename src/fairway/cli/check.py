"""``fairway check``: any folder, from its files alone; nothing of it is run and torch is never loaded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fairway.errors import FairwayError
from fairway.verify.finding import PROFILES, Verdict
from fairway.verify.report import exit_status
from fairway.verify.run import known_rules

FORMATS = ("table", "text", "json", "sarif", "markdown")


def command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of submissions or files in them, zip or tar archives.", metavar="FOLDER..."),
    ] = None,
    track: Annotated[str | None, typer.Option(help="The track, where the folder's place does not name it.")] = None,
    profile: Annotated[str, typer.Option(help="strict, precedent or both.")] = "both",
    form: Annotated[str, typer.Option("--format", help="table, text, json, sarif or markdown.")] = "table",
    everything: Annotated[bool, typer.Option("--all", help="Tell what holds in full, too.")] = False,
    leaderboard: Annotated[Path | None, typer.Option(help="The chain of records to compare with.")] = None,
    repo: Annotated[Path | None, typer.Option(help="A clone; judge what --ref adds to it.", metavar="CLONE")] = None,
    ref: Annotated[str | None, typer.Option(help="The pull request's head in --repo.")] = None,
    base: Annotated[str | None, typer.Option(help="The branch it goes to [default: the clone's].")] = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(help="Do not count a rule; the reason stands in the verdict.", metavar="RULE=REASON"),
    ] = None,
    explain: Annotated[str | None, typer.Option(help="Tell what a rule asks and why.", metavar="RULE")] = None,
    public_key: Annotated[Path | None, typer.Option(help="In PEM: whose signature a record must carry.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes [default: one a core].", min=1)] = None,
) -> None:
    """Judge folders of submissions. Exit status: 0 no profile fails, 1 one does, 2 usage, 3 a fault of the judge."""
    if explain is not None:
        from fairway.verify.formats.explanation import explain as explained

        sys.stdout.write(explained(explain, known_rules()))
        raise typer.Exit(0)
    if profile not in (*PROFILES, "both"):
        raise FairwayError(f"--profile must be strict, precedent or both, got {profile!r}")
    if form not in FORMATS:
        raise FairwayError(f"--format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {form!r}")
    if bool(folders) == (repo is not None):
        raise FairwayError("name folders to judge, or --repo and --ref, one of the two")
    if (repo is None) != (ref is None):
        raise FairwayError("--repo and --ref belong together")

    from fairway.cli.parallel import all_judged
    from fairway.verify import targets

    if repo is not None and ref is not None:
        wanted = list(targets.of_pull_request(repo, ref, base, track))
    else:
        named = [target for folder in folders or () for target in targets.on_disk(folder, track)]
        wanted = list({(target.path, target.root): target for target in named}.values())
    options = targets.Options(
        profiles=PROFILES if profile == "both" else (profile,),
        waivers=_waivers(waive or ()),
        leaderboard=leaderboard,
        with_facts=form == "json",
        public_key=None if public_key is None else _key(public_key),
    )
    verdicts: list[Verdict] = []
    for verdict in all_judged(wanted, options, jobs):
        verdicts.append(verdict)
        if form in ("table", "text"):
            _show(verdict, form, everything)
    if form not in ("table", "text"):
        sys.stdout.write(_document(form, verdicts))
    raise typer.Exit(exit_status(verdicts))


def _show(verdict: Verdict, form: str, everything: bool) -> None:
    from fairway.cli.verdicts import show, show_table

    (show_table if form == "table" else show)(verdict, all_findings=everything)


def _document(form: str, verdicts: Sequence[Verdict]) -> str:
    if form == "json":
        from fairway.verify.formats.objects import as_json

        return as_json(verdicts)
    if form == "sarif":
        from fairway.verify.formats.sarif import as_sarif

        return as_sarif(verdicts, known_rules())
    from fairway.verify.formats.markdown import as_markdown

    return as_markdown(verdicts)


def _key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FairwayError(f"{path}: cannot be read as a key: {error.strerror}") from error


def _waivers(given: Sequence[str]) -> dict[str, str]:
    return dict(_waiver(text) for text in given)


def _waiver(text: str) -> tuple[str, str]:
    rule, _, reason = text.partition("=")
    if rule not in known_rules():
        raise FairwayError(f"--waive: there is no rule {rule!r}; --explain names the nearest")
    if not reason.strip():
        raise FairwayError(f"--waive {rule}: give a reason, as in {rule}='systems-only change, same model'")
    return rule, " ".join(reason.split())
