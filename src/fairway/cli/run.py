"""``fairway run``: a recipe's whole pipeline, here or in a container."""

import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.container import Shut, container_command, find_engine, find_image, find_user, make_folders
from fairway.errors import FairwayError
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import dataset_name
from fairway.records.images import find_images, image_named
from fairway.spec.data import HubCorpus


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name.")],
    in_container: Annotated[bool, typer.Option("--in-container", help="In an image, without a network.")] = False,
    gpus: Annotated[int, typer.Option(min=0, help="Graphics cards that a stage on tensors takes.")] = 0,
    image: Annotated[str | None, typer.Option(help="Of containers/images.toml; cpu, or gpu with --gpus.")] = None,
    registry: Annotated[
        str, typer.Option(help="Where the pinned image is pulled from; the one built here if ''.")
    ] = "",
    engine: Annotated[str | None, typer.Option(help="docker or podman; the first that answers if absent.")] = None,
    user: Annotated[str | None, typer.Option(help="UID:GID in the container; the caller's if absent.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the command line and stop.")] = False,
) -> None:
    """Run the workflow up to the record of RECIPE; exit status is that of what ran."""
    root = find_images(Path.cwd())
    resolved = load_recipe(recipe).recipe
    call = ["snakemake", "--profile", "workflow/profiles/local", "--config", f"gpus={gpus}"]
    if gpus > 1:  # the profile speaks for one
        call += ["--resources", f"gpus={gpus}"]
    targets = ["--", f"results/{recipe}/record.txt", f"results/{recipe}/figures/loss_curves.png"]
    if in_container:
        data = root / "data" / dataset_name(resolved.data)
        if isinstance(resolved.data.corpus, HubCorpus) and not (data / "manifest.json").is_file():
            raise FairwayError(
                f"{data}: is not there and a container has no network; fetch it first:"
                f" snakemake --profile workflow/profiles/local {data.relative_to(root)}/manifest.json"
            )
        shut = Shut(engine=find_engine(engine), user=find_user(user), gpus=gpus)
        wanted = image_named(image or ("gpu" if gpus else "cpu"), root)
        reference, called = find_image(wanted, root, registry, shut.engine)
        # The tree in the container is its own, so nothing else can hold a lock on it.
        call = container_command(shut, reference, called, root, [*call, "--nolock", *targets])
    elif image or registry or engine or user:
        raise FairwayError("--image, --registry, --engine and --user go with --in-container")
    else:
        call += targets
    if dry_run:
        typer.echo(shlex.join(call))
        return
    if in_container:
        make_folders(root)
    raise typer.Exit(subprocess.run(call, cwd=root, check=False).returncode)
