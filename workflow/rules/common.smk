# What the rules ask of a recipe. Everything else about a recipe is decided by `fairway`.
import os
from functools import cache
from pathlib import Path

from fairway.errors import FairwayError, RecipeError
from fairway.recipes.load import load_recipe, read_chain
from fairway.recipes.locate import dataset_name, recipe_names
from fairway.records.code import bundle_sources
from fairway.records.images import workflow_image
from snakemake.exceptions import WorkflowError

# What the file that runs is made of: it is made again when any of these changes, and a stage runs again when it is
# another file then.
PACKAGE = [os.path.relpath(path) for path in bundle_sources()]

# Stages that all ranks take part in get a process a card; `launch` sends all but the first home where a recipe's
# evaluation is not shared.
PROCESSES = (
    "python"
    if config["gpus"] < 2
    else f"torchrun --standalone --nproc-per-node={config['gpus']}"
)


# With `--software-deployment-method apptainer` rules run in this image of containers/images.toml.
try:
    IMAGE = workflow_image(
        "gpu" if config["gpus"] else "cpu", Path(workflow.basedir), config["registry"]
    )
except FairwayError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    recipe="[A-Za-z0-9][A-Za-z0-9_.-]*",
    dataset="[A-Za-z0-9][A-Za-z0-9_.-]*",
    seed="[0-9]+",


@cache
def recipe_named(name):
    try:
        return load_recipe(name).recipe
    except RecipeError as error:
        raise WorkflowError(str(error))


def recipe_files(wildcards):
    recipe_named(wildcards.recipe)
    return [os.path.relpath(delta.path) for delta in read_chain(wildcards.recipe)]


def data_folder(wildcards):
    return f"data/{dataset_name(recipe_named(wildcards.recipe).data)}"


def data_part(part):
    return lambda wildcards: f"{data_folder(wildcards)}/{part}"


def recipe_of_dataset(wildcards):
    """The first recipe by name that reads the dataset: they all describe it alike."""
    for name in recipe_names():
        if dataset_name(recipe_named(name).data) == wildcards.dataset:
            return name
    raise WorkflowError(f"no recipe reads data/{wildcards.dataset}")


def threads_of(wildcards):
    return recipe_named(wildcards.recipe).train.threads or workflow.cores


def of_each_seed(path):
    return lambda wildcards: [
        f"results/{wildcards.recipe}/seed{seed}/{path}"
        for seed in recipe_named(wildcards.recipe).seeds
    ]


def probes_of(wildcards):
    """What was probed of each seed, where the configuration asks for it."""
    asked = wildcards.recipe in config["probes"]
    return of_each_seed("probe.json")(wildcards) if asked else []


def walls(wildcards, input, output):
    """What encloses a rule's command where the system allows: it reads its inputs, it makes its outputs."""
    reads = [f"--read {path}" for path in input]
    makes = [f"--make {path}" for name, path in output.items() if name != "outside"]
    return " ".join(["--isolate", *reads, *makes])
