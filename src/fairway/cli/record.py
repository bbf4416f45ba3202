"""``fairway record``: the records folder, assembled from a recipe's runs and judged."""

import re
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.cli.verdicts import show
from fairway.errors import FairwayError
from fairway.recipes.load import read_resolved
from fairway.recipes.locate import dataset_name
from fairway.records.assemble import assemble
from fairway.records.checkout import put_into
from fairway.records.pull_request import pull_request
from fairway.records.submission import Byline, invalidity
from fairway.runtime.files import write_text_atomic
from fairway.verify.facts import NoEvidence, read_record
from fairway.verify.finding import Verdict
from fairway.verify.leaderboard import append, row_of
from fairway.verify.report import as_json
from fairway.verify.run import LEADERBOARD, judge
from fairway.verify.strict_json import parse
from fairway.verify.tracks import Track, find_track, load_track

_RECORD = re.compile(r"(\d{4}-\d\d-\d\d)_(.+)")


def command(
    recipe: Annotated[str, typer.Argument(help="What ran: a recipe's name, or its resolved recipe.json.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The record's folder (YYYY-MM-DD_slug), or the track's that takes it."),
    ],
    author: Annotated[str, typer.Option(help="Who submits.")],
    github_id: Annotated[str, typer.Option(help="Under which account.")],
    results: Annotated[Path | None, typer.Option(help="Folder of its runs; that of recipe.json if absent.")] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset they ran on; the workflow's if absent.")] = None,
    seeds: Annotated[str | None, typer.Option(help="42,1337,...: an error unless the recipe names just these.")] = None,
    date: Annotated[str | None, typer.Option(help="YYYY-MM-DD; today (UTC) if absent.")] = None,
    slug: Annotated[str | None, typer.Option(help="Second half of the folder's name; the recipe's if absent.")] = None,
    predecessor: Annotated[str | None, typer.Option(help="Folder of the record that this one beats.")] = None,
    into: Annotated[Path | None, typer.Option(help="A git clone of the challenge that takes a copy, staged.")] = None,
    pr_body: Annotated[Path | None, typer.Option(help="Where the pull request's text is written.")] = None,
    invalid: Annotated[
        bool, typer.Option("--invalid", help="Assemble what is no record: its method is marked invalid.")
    ] = False,
    accept: Annotated[bool, typer.Option("--accept", help="If nothing fails, add it to the leaderboard.")] = False,
) -> None:
    """Assemble the records folder, judge it, and print where it lies (the last line of standard output)."""
    what_ran = Path(recipe) if recipe.endswith(".json") else Path("results", recipe, "recipe.json")
    resolved = read_resolved(what_ran).recipe
    why = invalidity(resolved)
    if why is None and invalid:
        raise FairwayError(f"{what_ran}: {resolved.name} is not marked invalid; leave --invalid out")
    if why is not None and not invalid:
        raise FairwayError(
            f"{what_ran}: {resolved.name} is no record: {why}; --invalid assembles its folder, which says so"
        )
    if seeds is not None:
        _same_seeds(seeds, resolved.seeds)
    track_file = find_track(resolved.track, [Path.cwd(), Path(__file__)])
    if named := _RECORD.fullmatch(output.name):
        if date is not None or slug is not None:
            raise FairwayError(f"-o {output} names date and slug already; leave --date and --slug out")
        output, date, slug = output.parent, named[1], named[2]
    byline = Byline(
        author=author,
        github_id=github_id,
        name=resolved.name,
        blurb=resolved.lineage.because,
        predecessor=predecessor,
    )
    place = assemble(
        what_ran,
        results or what_ran.parent,
        data or Path("data", dataset_name(resolved.data)),
        tomllib.loads(track_file.read_text(encoding="utf-8")),
        output,
        date=date or datetime.now(UTC).date().isoformat(),
        slug=slug or resolved.name.replace("-", "_").lower(),
        byline=byline,
        numbered=slug is None,
    )
    verdict = judge(place, load_track(track_file))
    write_text_atomic(place / "verdict.json", as_json(verdict))
    show(verdict, to_stderr=True)
    if pr_body is not None:
        write_text_atomic(pr_body, _pull_request(place, load_track(track_file), verdict))
    passes = not verdict.failed and not verdict.crashes and verdict.sums_sha256 is not None
    if into is not None:
        if not passes:
            raise FairwayError(f"{place}: was not put into {into}, for it does not pass")
        added = put_into(place, into)
        echo(f"record: staged in {into}: {len(added)} new files in {Path(added[0]).parent}, and no other change")
    if accept:
        if not passes or verdict.sums_sha256 is None:
            raise FairwayError(f"{place}: was not added to the leaderboard, for it does not pass")
        claim = parse((place / "submission.json").read_text(encoding="utf-8"))
        row = row_of(
            claim,
            record=place.name,
            rules_version=verdict.rules_version,
            sums_sha256=verdict.sums_sha256,
            predecessor=predecessor,
        )
        append(output.parent / LEADERBOARD, row)
    sys.stdout.write(f"{place}\n")


def _same_seeds(asked: str, named: Sequence[int]) -> None:
    """A record holds every seed that its recipe names: to leave one out afterwards would be to choose by outcome."""
    if not re.fullmatch(r"\d+(,\d+)*", asked):
        raise FairwayError(f"--seeds takes whole numbers with commas between them, got {asked!r}")
    if sorted(map(int, asked.split(","))) != sorted(named):
        raise FairwayError(
            f"--seeds {asked}: the recipe names {','.join(map(str, named))}, and a record holds all of them;"
            " other seeds are another recipe (seeds = [...])"
        )


def _pull_request(place: Path, track: Track, verdict: Verdict) -> str:
    try:
        return pull_request(read_record(place, track), verdict)
    except NoEvidence as missing:
        raise FairwayError(f"{place}: a pull request cannot be written: {missing.message}") from missing
