"""``fairway reproduce``: a record's program run again, one's own or a stranger's, and a report of what came out."""

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fairway.cli.console import echo
from fairway.errors import FairwayError
from fairway.fetch.dataset import fetch_dataset, verify_dataset
from fairway.fetch.hub import EXPORTS
from fairway.machine.environment import describe_environment, differences
from fairway.machine.limits import Limits
from fairway.recipes.aliases import assignments
from fairway.recipes.load import read_resolved
from fairway.recipes.locate import dataset_name
from fairway.records.layout import ARTIFACT, ENVIRONMENT, RECIPE, REQUIREMENTS, seed_folder
from fairway.records.reproduce import (
    CODE,
    Numbers,
    Repeated,
    Reproduction,
    as_json,
    as_markdown,
    compare,
    copy_program,
    numbers_of,
    read_numbers,
    run_again,
)
from fairway.runtime.files import write_text_atomic
from fairway.spec.data import DataSpec, HubCorpus
from fairway.verify.strict_json import parse
from fairway.verify.submission import Submission, read_submission
from fairway.verify.tracks import Track, find_track, load_track
from fairway.verify.tree import FolderTree

_COMMAND = re.compile(r"(?:[^\n]*\\\n)*[^\n]*\btrain_gpt\.py\b[^\n]*")
_SETUP_S = 1800.0
"""For compiling and for what a program does outside its own clocks."""


@dataclass(frozen=True, slots=True)
class _Data:
    """Where a program finds its data, and what must be visible for that."""

    shards: Path
    tokenizer: Path | None
    reads: tuple[Path, ...]
    tokenizer_name: str = "tokenizer.model"
    """What the published scripts call it below ./data/tokenizers."""

    @property
    def variables(self) -> dict[str, str]:
        """What the published scripts ask for."""
        told = {"DATA_PATH": str(self.shards)}
        return told if self.tokenizer is None else {**told, "TOKENIZER_PATH": str(self.tokenizer)}


def command(
    folder: Annotated[Path, typer.Argument(help="A records folder, one's own or a stranger's.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where runs and report are written.")],
    seeds: Annotated[
        str | None, typer.Option(help="42,1337,...: which to repeat; all of the record's if absent.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Its track; by where the folder lies if absent.")] = None,
    data: Annotated[Path | None, typer.Option(help="Shards that are there already; fetched if absent.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="With --data: the tokenizer's model.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for the program; may be repeated.")
    ] = None,
    gpus: Annotated[int, typer.Option(help="Processes, one a card; 0: one process on the CPU.")] = 0,
    make_environment: Annotated[
        bool,
        typer.Option(
            "--make-environment", help="Install the folder's requirements.txt into an environment of its own."
        ),
    ] = False,
) -> None:
    """Run a record's program again inside walls and compare score, bytes and times with what it claims.

    Exit status: 0 if score and size agree within the noise of seeds, 1 if they do not or it cannot be told.
    """
    if not folder.is_dir():
        raise FairwayError(f"{folder}: no such folder")
    rules = load_track(find_track(track or _track_of(folder), [Path.cwd(), folder, Path(__file__)]))
    submission = read_submission(FolderTree(folder), rules, path=folder.as_posix())
    recorded = _recorded(submission, folder)
    asked = _seeds(seeds, recorded)
    python = _python(folder, output, make=make_environment)
    found = _data(folder, submission, data, tokenizer, output)
    variables = {**_published(submission), **found.variables, **_given(setting or [])}
    repeated = []
    for seed in asked:
        scratch = output / seed_folder(seed)
        copy_program(folder, scratch / "work")
        _link_data(scratch / "work", found)
        echo(f"reproduce: seed {seed} of {folder.name} runs; its log grows in {scratch / 'run.log'}")
        seen = run_again(
            folder,
            seed,
            scratch,
            _start(python, gpus),
            reads=[*found.reads, *([python.parents[1]] if make_environment else [])],
            variables={**variables, "RUN_ID": f"seed{seed}"},
            limits=_limits(rules),
        )
        echo(f"reproduce: seed {seed} ended after {seen.seconds:.0f} s with status {seen.status} ({seen.ended_by})")
        made = scratch / "work" / "logs" / f"seed{seed}" / ARTIFACT
        numbers = read_numbers(scratch / "run.log", made if made.is_file() else None) if seen.status == 0 else None
        repeated.append(
            Repeated(
                seed=seed,
                recorded=recorded.get(seed),
                found=numbers,
                watched=seen.as_json(),
                log=(scratch / "run.log").as_posix(),
            )
        )
    environment = describe_environment(Path.cwd())
    report = Reproduction(
        record=folder.name,
        seeds=tuple(repeated),
        agreements=compare(list(recorded.values()), repeated),
        environment=environment,
        differences=_unlike(folder, environment),
    )
    write_text_atomic(output / "reproduction.json", as_json(report))
    write_text_atomic(output / "reproduction.md", as_markdown(report))
    sys.stdout.write(as_markdown(report))
    raise typer.Exit(0 if report.succeeded else 1)


def _track_of(folder: Path) -> str:
    for part in reversed(folder.absolute().parts):
        if part.startswith("track_"):
            return part.removeprefix("track_")
    raise FairwayError(f"{folder}: lies in no folder track_...; name its track with --track")


def _recorded(submission: Submission, folder: Path) -> dict[int, Numbers]:
    """The numbers of each seed that the claim rests on, from its logs."""
    found: dict[int, Numbers] = {}
    for log in submission.seed_logs.values():
        seed = log.seed_logged if log.seed_logged is not None else log.seed_in_name
        if seed is not None and log.final_val_bpb is not None:
            artifact = folder / seed_folder(seed) / ARTIFACT
            found[seed] = numbers_of(log, artifact if artifact.is_file() else None)
    if not found:
        raise FairwayError(f"{folder}: no log tells a seed and its score, so there is nothing to compare with")
    return dict(sorted(found.items()))


def _seeds(asked: str | None, recorded: Mapping[int, Numbers]) -> list[int]:
    if asked is None:
        return list(recorded)
    if not re.fullmatch(r"\d+(,\d+)*", asked):
        raise FairwayError(f"--seeds takes whole numbers with commas between them, got {asked!r}")
    return [int(each) for each in asked.split(",")]


def _python(folder: Path, output: Path, *, make: bool) -> Path:
    """The interpreter that runs the program: this one, or one with just what the folder asks for."""
    if not make:
        return Path(sys.executable)
    wanted = folder / REQUIREMENTS
    if not wanted.is_file():
        raise FairwayError(f"{folder}: has no {REQUIREMENTS}, so there is no environment to make")
    place = output / "environment"
    if not (place / "bin" / "python").exists():
        echo(f"reproduce: installing {wanted} into {place}")
        venv.create(place, with_pip=True, clear=True)
        install = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(wanted)]
        if subprocess.run(install).returncode:
            shutil.rmtree(place)
            raise FairwayError(f"{wanted}: could not be installed; pip's own words stand above")
    return (place / "bin" / "python").absolute()


def _start(python: Path, gpus: int) -> list[str]:
    if gpus < 2:
        return [str(python), CODE]
    return [str(python), "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", CODE]


def _limits(track: Track) -> Limits:
    seconds = 4 * (track.train.budget_s + track.eval.budget_s) + _SETUP_S
    return Limits(seconds=seconds, processes=2048, disk_bytes=64 << 30)


def _data(folder: Path, submission: Submission, data: Path | None, tokenizer: Path | None, output: Path) -> _Data:
    """What the user named; else the dataset of the record's recipe; else the published export that its files name."""
    if data is not None:
        model = None if tokenizer is None else tokenizer.absolute()
        return _Data(data.absolute(), model, (data.absolute(), *([model] if model else [])))
    own = (folder / RECIPE).is_file()
    spec = read_resolved(folder / RECIPE).recipe.data if own else _export(submission)
    place = Path("data", dataset_name(spec)).absolute()
    if not (place / "manifest.json").is_file():
        fetch_dataset(spec, place, progress=echo)
    verify_dataset(place)
    if own or not isinstance(spec.corpus, HubCorpus):
        return _Data(place, place / "tokenizer.model", (place,))
    export = EXPORTS[spec.corpus.variant]
    flat = _flat(place, output / "data" / export.dataset)
    return _Data(flat, place / "tokenizer.model", (flat, place), export.tokenizer)


def _export(submission: Submission) -> DataSpec:
    """The published export that the program, its README or its logs name most often."""
    texts = [program.text for program in (submission.programs.main,) if program is not None]
    texts += [submission.readme or "", *(value for log in submission.logs for value in log.settings.values())]
    times = {
        variant: sum(len(re.findall(rf"{export.dataset}\b", text)) for text in texts)
        for variant, export in EXPORTS.items()
    }
    variant: Any = max(times, key=lambda each: times[each])
    if not times[variant]:
        raise FairwayError(f"{submission.path}: names none of the published exports; give --data and --tokenizer")
    return DataSpec(corpus=HubCorpus(variant=variant), vocab_size=EXPORTS[variant].vocab_size, val_docs=50_000)


def _flat(place: Path, folder: Path) -> Path:
    """Shards of both splits in one folder, as the published scripts look for them; links, not copies."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted([*(place / "train").glob("*.bin"), *(place / "val").glob("*.bin")]):
        link = folder / path.name
        if not link.is_symlink():
            link.symlink_to(path)
    return folder.absolute()


def _link_data(work: Path, found: _Data) -> None:
    """``./data`` beside the program, for those that look there whatever they are told."""
    links = {work / "data" / "datasets" / found.shards.name: found.shards}
    if found.tokenizer is not None:
        links[work / "data" / "tokenizers" / found.tokenizer_name] = found.tokenizer
    for link, place in links.items():
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place)


def _published(submission: Submission) -> dict[str, str]:
    """Variables of the command that the README gives, the last one that starts the program."""
    commands = _COMMAND.findall(submission.readme or "")
    return assignments(commands[-1].replace("`", " ")) if commands else {}


def _given(settings: Sequence[str]) -> dict[str, str]:
    for each in settings:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", each):
            raise FairwayError(f"--set takes KEY=VALUE, got {each!r}")
    return dict(each.split("=", 1) for each in settings)


def _unlike(folder: Path, environment: Mapping[str, Any]) -> tuple[str, ...]:
    told = folder / ENVIRONMENT
    if not told.is_file():
        return ()
    theirs = parse(told.read_text(encoding="utf-8"))["environments"][0]
    ours = json.loads(json.dumps(environment))
    for each in (theirs, ours):
        each.pop("git", None)
        each["packages"].pop("fairway", None)
    return tuple(differences(theirs, ours))
