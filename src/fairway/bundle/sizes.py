"""The table of what each recipe's program weighs, which the documentation keeps."""

from collections.abc import Sequence
from pathlib import Path

from fairway.bundle.build import Bundle, build
from fairway.recipes.load import load_recipe

SIZES_FILE = Path("docs") / "bundle_sizes.md"

_HEAD = """# Bytes of each recipe's program

`train_gpt_source.py` is the readable form, `train_gpt.py` the self-extracting one, which the size rule counts; minified
is what it unpacks to. Written by `fairway bundle --sizes`.

| recipe | readable | minified | self-extracting |
| --- | --: | --: | --: |
"""


def size_row(name: str, made: Bundle) -> str:
    """One recipe's line of the table."""
    sizes = (len(made.readable.encode()), len(made.minified.encode()), len(made.packed))
    return f"| `{name}` | {' | '.join(f'{size:,}' for size in sizes)} |\n"


def size_table(names: Sequence[str]) -> str:
    """The whole page."""
    return _HEAD + "".join(size_row(name, build(load_recipe(name))) for name in names)
