"""``fairway recipe``: show, resolve, diff, list, size, plan, smoke."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairway.cli import recipe_plan, smoke
from fairway.cli.runs import Output
from fairway.quant.forecast import forecast
from fairway.recipes.aliases import from_environment
from fairway.recipes.catalogue import catalogue, catalogue_json, catalogue_text
from fairway.recipes.explain import diff as diff_recipes
from fairway.recipes.explain import show as show_recipe
from fairway.recipes.load import load_recipe, write_resolved

app = typer.Typer(no_args_is_help=True)
app.command("smoke")(smoke.command)
app.command("plan")(recipe_plan.command)

Name = Annotated[str, typer.Argument(help="A recipe's name, or the path of its .toml file.")]


@app.command()
def show(name: Name, under: Annotated[str, typer.Argument(help="Only keys under this path.")] = "") -> None:
    """Print every value with the file that set it, and what it was before."""
    typer.echo(show_recipe(load_recipe(name), under))


@app.command()
def resolve(name: Name, output: Output) -> None:
    """Write recipe.json: every value, its origin, and the hash of the whole."""
    write_resolved(load_recipe(name), output)


@app.command()
def diff(old: Name, new: Name) -> None:
    """Print the values in which two recipes differ."""
    typer.echo(diff_recipes(load_recipe(old), load_recipe(new)))


@app.command("list")
def list_recipes(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Print name, parent, size, status, track and reason of each recipe."""
    entries = catalogue()
    typer.echo(catalogue_json(entries) if as_json else catalogue_text(entries))


@app.command("from-env")
def from_env(
    command: Annotated[str, typer.Argument(help="A published command, or its environment variables, in quotes.")],
    stack: Annotated[str, typer.Option(help="Whose script the variables belong to.")],
) -> None:
    """Print the recipe that a published command comes to: a recipe's name, or a delta as a file."""
    found = from_environment(stack, command)
    for note in found.notes:
        typer.echo(note, err=True)
    typer.echo(found.equals if found.equals is not None else found.to_toml(), nl=found.equals is not None)


@app.command()
def size(name: Name) -> None:
    """Forecast the artifact's bytes before anything is trained."""
    expected = forecast(load_recipe(name).recipe)
    table = Table("part", "bytes", title=f"forecast of {name}")
    table.columns[1].justify = "right"
    parts = {**expected.by_role, "steps": expected.steps_bytes, "container": expected.container_bytes}
    for part, size_bytes in parts.items():
        table.add_row(part, f"{size_bytes:,}")
    table.add_row("total", f"{expected.total_bytes:,}", style="bold")
    Console().print(table)
