"""The studies, by name."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

from fairway.errors import FairwayError
from fairway.studies.inputs import Inputs
from fairway.studies.result import Result

NAMES: tuple[str, ...] = (
    "procrustes",
    "symmetry",
    "spectra",
    "embedding_svd",
    "outliers",
    "rounding_error",
    "rate_distortion",
    "averaging",
    "embedding_rows",
    "pruning",
    "codebook",
    "codec_gain",
    "doc_length",
    "seed_noise",
)
"""Each is a module of this package with a function ``study``; in the order in which they are told."""


def find_study(name: str) -> Callable[[Inputs], Result]:
    """The function of a study; ``FairwayError`` for a name that none has."""
    if name not in NAMES:
        raise FairwayError(f"there is no study {name!r}; there are {', '.join((*NAMES, 'all'))}")
    study: Callable[[Inputs], Result] = importlib.import_module(f"fairway.studies.{name}").study
    return study


def help_line(name: str) -> str:
    """What a study is about: the first line of its module, which is read, not imported."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
