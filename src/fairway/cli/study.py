"""``fairway study``: what trained weights show, beside what chance shows."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairway.cli.console import echo
from fairway.errors import DataError, FairwayError

if TYPE_CHECKING:
    from fairway.studies.inputs import Inputs


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="A study, or all; `list` tells what there is, `page` makes one page of a folder.", metavar="NAME"
        ),
    ],
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(help="Weights: .safetensors, or .pt of an official script.", metavar="CHECKPOINT..."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder that takes tables and figures.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Resolved recipe [default: recipe.json beside or above a checkpoint].")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset: val/, train/, tokenizer.model.")] = None,
    quick: Annotated[bool, typer.Option(help="Fewer samples and repetitions.")] = False,
) -> None:
    """Study checkpoints, one or several seeds of one model; tables, a figure and a paragraph each."""
    from fairway.studies.catalogue import NAMES, find_study, help_line
    from fairway.studies.inputs import Needs
    from fairway.studies.write import write_index, write_result

    if name == "list":
        for each in NAMES:
            typer.echo(f"{each}: {help_line(each)}")
        return
    if name == "page":
        _write_page(checkpoints or [], output)
        return
    if name != "all":
        find_study(name)
    if not checkpoints:
        raise FairwayError(f"study {name}: name at least one checkpoint, e.g. results/pocket/seed42/model.safetensors")
    if output is None:
        raise FairwayError(f"study {name}: say where its files go: -o FOLDER")
    inputs = _inputs(checkpoints, recipe, data, quick)
    told, failures = [], 0
    for each in NAMES if name == "all" else (name,):
        began, worked = time.perf_counter(), time.process_time()
        try:
            result = find_study(each)(inputs)
        except Needs as error:
            if name != "all":
                raise
            echo(f"study {each}: left out: {error}")
            told.append((each, f"left out: {error}"))
            failures += 1
            continue
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
        names = [each.name for each in inputs.checkpoints]
        write_result(result, output, seconds=seconds, cpu_seconds=cpu_seconds, checkpoints=names)
        echo(f"study {each}: {seconds:.1f} s: {result.paragraph}")
        told.append((each, result.paragraph))
    if name == "all":
        path = write_index(output, told)
        echo(f"study all: {len(told) - failures} of {len(told)} studies: {path}")


def _write_page(folders: list[Path], output: Path | None) -> None:
    from fairway.studies.page import write_page

    if len(folders) != 1 or not folders[0].is_dir() or output is None or output.suffix != ".md":
        raise FairwayError("study page: name one folder that `study all` wrote, and the page: -o docs/studies.md")
    for path in write_page(folders[0], output):
        echo(f"study page: {path}")


def _inputs(paths: list[Path], recipe: Path | None, data: Path | None, quick: bool) -> "Inputs":
    from fairway.recipes.load import read_resolved
    from fairway.studies.checkpoint import load_checkpoint
    from fairway.studies.inputs import Inputs

    given = None if recipe is None else read_resolved(recipe).recipe
    loaded = []
    for path in paths:
        beside = None if recipe is not None else _recipe_near(path)
        own = given if beside is None else read_resolved(beside).recipe
        checkpoint = load_checkpoint(path, own)
        if checkpoint.kept:
            echo(f"study: {path}: {len(checkpoint.kept)} tensors keep their own names: {_short(checkpoint.kept)}")
        loaded.append(checkpoint)
    if len({each.recipe for each in loaded}) > 1:
        raise DataError("the checkpoints come from different recipes; study them one recipe at a time")
    names = [each.name for each in loaded]
    if len(set(names)) < len(names):
        raise DataError(f"two checkpoints would be called {_twice(names)}; put them into folders with different names")
    parts: dict[str, Path | None] = {"val": None, "train": None, "tokenizer": None}
    if data is not None:
        if not data.is_dir():
            raise DataError(f"--data {data}: no such folder; it should hold val/, train/ and tokenizer.model")
        there = {"val": data / "val", "train": data / "train", "tokenizer": data / "tokenizer.model"}
        parts = {key: path if path.exists() else None for key, path in there.items()}
    return Inputs(
        checkpoints=tuple(loaded),
        recipe=loaded[0].recipe,
        run_folders=tuple(path.parent if _is_run(path) else None for path in paths),
        quick=quick,
        progress=echo,
        **parts,
    )


def _recipe_near(path: Path) -> Path | None:
    folders = path.resolve().parents[:2]
    return next((folder / "recipe.json" for folder in folders if (folder / "recipe.json").is_file()), None)


def _is_run(path: Path) -> bool:
    return (path.parent / "train.events.jsonl").is_file() or (path.parent / "artifact.bin").is_file()


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _short(names: tuple[str, ...]) -> str:
    """Names with the layers taken together."""
    common = list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))
    return ", ".join(common[:8]) + (", ..." if len(common) > 8 else "")
