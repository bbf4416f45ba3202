"""The programs of a folder, each read, unpacked and parsed once."""

import ast
import posixpath
import re
from collections.abc import Iterator, Sequence

from fairway.errors import DataError
from fairway.verify.programs.codecs import LIMIT_BYTES
from fairway.verify.programs.evaluate import CannotEvaluate
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.program import Program, Programs
from fairway.verify.programs.unpacking import Unpacked, unpack
from fairway.verify.tree import Tree

MAIN = "train_gpt.py"
MOST_PROGRAMS = 40
MOST_TEXT_BYTES = 4_000_000
"""Of all programs of a folder together; what comes later is hidden."""
MOST_TOKENS_TOGETHER = 200_000
"""The same in words and marks, which bound the memory of the trees."""
CLAIM = "submission.json"
CLAIM_LIMIT_BYTES = 1_000_000
_CODE_BYTES = re.compile(r'"[^"\n]{0,40}code[^"\n]{0,40}"[ \t]{0,9}:[ \t]{0,9}(\d{1,9})\b', re.IGNORECASE)
_PATH = re.compile(r"[\w./-]{1,120}")


def read_programs(tree: Tree) -> Programs:
    """Every program of the folder; what cannot be read, unpacked or parsed says why in ``hidden``."""
    reader = _Reader(tree)
    found: dict[str, Program] = {}
    main_file = _main(reader)
    waiting = [main_file] if main_file else []
    reached: list[str] = []
    while waiting:
        file = waiting.pop(0)
        if file in reached:
            continue
        reached.append(file)
        if not file.endswith(".py"):
            continue
        program, files = reader.program(file)
        found[file] = program
        waiting += [path for path in (*files, *_reaches(program, tree)) if path not in reached]
    for file in tree.files:
        if file.endswith(".py") and file not in found:
            found[file] = reader.program(file)[0]
    main = found.pop(main_file) if main_file else None
    if main is not None and main.where in found:
        # The same text by another way in: it is looked at once, as what the main program runs.
        del found[main.where]
    return Programs(main=main, helpers=tuple(found.values()), reached=tuple(reached))


class _Reader:
    """Reads files of a folder within a bound for all of them."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._programs = self._bytes = self._tokens = 0

    def bytes_of(self, path: str) -> bytes:
        """A file that a program reads when it unpacks itself."""
        if path not in self.tree.files:
            raise CannotEvaluate(f"the folder has no file {path[:80]}")
        try:
            return self.tree.read(path, 2 * LIMIT_BYTES)
        except DataError as error:
            raise CannotEvaluate(str(error)) from error

    def program(self, file: str) -> tuple[Program, Sequence[str]]:
        """The program of a file, and the files it was unpacked from."""
        try:
            data = self.tree.read(file, LIMIT_BYTES)
        except DataError as error:
            return Program(file=file, shipped=b"", text="", hidden=str(error).removeprefix(f"{file}: ")), ()
        self._programs += 1
        self._bytes += len(data)
        full = self._programs > MOST_PROGRAMS or self._bytes > MOST_TEXT_BYTES
        if full or self._tokens > MOST_TOKENS_TOGETHER:
            reason = (
                f"comes after {self._programs - 1} programs with {self._tokens} words and marks, the most that is read"
            )
            return Program(file=file, shipped=data, text="", hidden=reason), ()
        unpacked = unpack(file, data, self.bytes_of)
        self._bytes += len(unpacked.text)
        self._tokens += unpacked.parsed.tokens
        return _program(file, data, unpacked), unpacked.files


def _program(file: str, data: bytes, unpacked: Unpacked) -> Program:
    return Program(
        file=file,
        shipped=data,
        text=unpacked.text,
        text_file=unpacked.file,
        layers=unpacked.layers,
        tree=unpacked.parsed.tree,
        syntax=unpacked.parsed.syntax,
        outer_syntax=unpacked.outer.syntax,
        hidden=unpacked.hidden,
    )


def _main(reader: _Reader) -> str | None:
    """The program that runs: by the code size that the folder claims, by its name, else the likeliest of the folder."""
    files = reader.tree.files
    claimed = _claimed_code_bytes(reader.tree)
    sized = [path for path in files if path.endswith(".py") and files[path].size_bytes in claimed]
    if MAIN in files and (MAIN in sized or len(sized) != 1):
        return MAIN
    if len(sized) == 1:
        return sized[0]
    top = [path for path in files if path.endswith(".py") and "/" not in path]
    if not top:
        top = [path for path in files if path.endswith(".py") and posixpath.basename(path) == MAIN]
    # A trainer is named so; of several the longest.
    return max(top, key=lambda path: (path.startswith("train"), "train" in path, files[path].size_bytes), default=None)


def _claimed_code_bytes(tree: Tree) -> frozenset[int]:
    """Numbers that submission.json gives for the code; where that is no JSON they are read all the same."""
    try:
        text = tree.read(CLAIM, CLAIM_LIMIT_BYTES).decode("utf-8", "replace")
    except DataError:
        return frozenset()
    return frozenset(int(number) for number in _CODE_BYTES.findall(text))


def _reaches(program: Program, tree: Tree) -> Iterator[str]:
    """Files of the folder that a program imports, or names in a constant."""
    if program.tree is None:
        return
    folder = posixpath.dirname(program.text_file or program.file)
    for node in all_nodes(program.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{one.name}".lstrip(".") for one in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _PATH.fullmatch(node.value):
            yield from (path for path in (posixpath.join(folder, node.value), node.value) if path in tree.files)
        for name in names:
            path = posixpath.join(folder, name.replace(".", "/"))
            yield from (one for one in (f"{path}.py", f"{path}/__init__.py") if one in tree.files)
