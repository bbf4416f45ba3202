"""One program as a syntax tree, and all programs of a folder."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One Python program of a folder, unpacked where it was packed."""

    file: str
    """The file of the folder that holds it."""
    shipped: bytes
    """The file as it lies there."""
    text: str
    """The program that the file runs in the end; lines of findings are lines of this text."""
    text_file: str = ""
    """The file that holds the text: another than ``file`` where that executes it. Empty stands for ``file``."""
    layers: Sequence[str] = ()
    """Decoders that led from the file to the text, outermost first; empty where the file is its own text."""
    tree: ast.Module | None = None
    """None where no supported Python can parse the text."""
    syntax: Mapping[str, tuple[str, int | None] | None] = field(default_factory=dict)
    """Python version (``"3.10"`` … ``"3.13"``) to the first error of the text and its line, None where it compiles."""
    outer_syntax: Mapping[str, tuple[str, int | None] | None] = field(default_factory=dict)
    """The same of the file as it lies there."""
    hidden: str = ""
    """Why the program cannot be seen; empty where it can."""

    @property
    def where(self) -> str:
        """The file that a finding about the text names."""
        return self.text_file or self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Every program of a folder."""

    main: Program | None
    """What runs: ``train_gpt.py``, what that executes, or the one script where there is no file of that name."""
    helpers: Sequence[Program] = ()
    """Other Python of the folder, the files that ``main`` reaches first."""
    reached: Sequence[str] = ()
    """Files of the folder that the main program imports, opens or executes, itself included."""
