"""``fairway probe``."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairway.cli.console import echo
from fairway.cli.probe_script import judge_script
from fairway.cli.runs import open_run
from fairway.errors import DataError
from fairway.probes.decode import decode_proof
from fairway.probes.result import ProbeResult, as_json
from fairway.probes.run import code_of, probe_run
from fairway.recipes.load import read_resolved
from fairway.recipes.locate import dataset_name
from fairway.records.layout import ARTIFACT, CHECKSUMS, PROBE, RECIPE, seed_folder
from fairway.runtime.files import write_text_atomic

_STYLES = {"passed": "green", "failed": "bold red", "not-applicable": "dim"}


def command(
    what: Annotated[
        str | None,
        typer.Argument(help="A record's folder, or a recipe's name (its runs in results/).", metavar="RECORD|RECIPE"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset; the workflow's if absent.")] = None,
    seed: Annotated[int | None, typer.Option(help="Probe this seed alone.")] = None,
    documents: Annotated[
        int | None, typer.Option(help="How many validation documents; as few as make the method learn if absent.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder that takes seedN/probe.json; that of the runs if absent. A record is not written into.",
        ),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Instead: a stranger's train_gpt.py, run inside walls on made-up data.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="With --script: the vocabulary that it is made for.")] = 1024,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="With --script: KEY=VALUE for it; may be repeated.")
    ] = None,
) -> None:
    """Prove by running it that an evaluation is legal: change what it must not see, and look what moves.

    Exit status: 0 if no probe fails, 1 otherwise, and if a script cannot be verified.
    """
    if (what is None) == (script is None):
        raise DataError("probe takes a record, a recipe or --script train_gpt.py, one of them")
    if script is not None:
        raise typer.Exit(judge_script(script, output, vocab_size, setting or []))
    assert what is not None
    folder = Path(what) if Path(what, RECIPE).is_file() else Path("results", what)
    resolved = read_resolved(folder / RECIPE)
    recipe = resolved.recipe
    if seed is not None and seed not in recipe.seeds:
        raise DataError(f"--seed {seed}: {folder} is of the seeds {', '.join(map(str, recipe.seeds))}")
    place = data or Path("data", dataset_name(recipe.data))
    if output is None and not (folder / CHECKSUMS).exists():
        output = folder
    code_sha256, code_bytes = code_of(folder, resolved)
    failed = False
    for number in recipe.seeds if seed is None else [seed]:
        with tempfile.TemporaryDirectory() as scratch:
            into = output / seed_folder(number) if output is not None else Path(scratch)
            result = probe_run(
                replace(open_run(folder / RECIPE, number), code_sha256=code_sha256, code_bytes=code_bytes, echo=echo),
                artifact=folder / seed_folder(number) / ARTIFACT,
                val=place / "val",
                tokenizer=place / "tokenizer.model",
                events=into / "probe.events.jsonl",
                documents=documents,
                decode=decode_proof,
            )
            if output is not None:
                write_text_atomic(into / PROBE, as_json(result))
        show(result, recipe.name)
        failed = failed or bool(result.failed)
    raise typer.Exit(1 if failed else 0)


def show(result: ProbeResult, name: str) -> None:
    """One table a seed, a row a probe."""
    stream = result.stream
    table = Table(
        title=f"{name}, seed {result.seed}: {stream.documents} documents, {stream.targets:,} targets, {result.device},"
        f" {result.seconds:.0f} s"
    )
    for column in ("probe", "", "measured", "limit", "because"):
        table.add_column(column, justify="right" if column in ("measured", "limit") else "left")
    for probe in result.probes:
        number, limit = f"{probe.measured:.4g} {probe.unit}", f"{probe.limit:.4g}"
        if probe.verdict == "not-applicable":
            number = limit = ""
        table.add_row(probe.name, _styled(probe.verdict), number, limit, escape(probe.because))
    if (proof := result.decode) is not None:
        table.add_row(
            "decode",
            _styled(proof.verdict),
            f"{proof.stream_bits:,} bits",
            f"{proof.limit_bits:,.1f}",
            escape(proof.because),
        )
    # A pipe has no width; a table cut to 80 columns would break every sentence.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _styled(verdict: str) -> str:
    return f"[{_STYLES[verdict]}]{verdict}"
