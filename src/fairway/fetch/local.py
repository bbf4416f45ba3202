"""The user's own documents: JSON lines, each an object with the field ``text``."""

import json
from pathlib import Path

from fairway.errors import DataError
from fairway.prepare import normalise


def local_documents(path: Path) -> list[str]:
    """Read the texts of a file in order, normalised as the tokenizer sees them, empty ones left out.

    ``DataError`` names the first line that is not an object with a string ``text``.
    """
    documents: list[str] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip() and (text := normalise(_text_of(line, f"{path}:{number}"))):
                    documents.append(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    if not documents:
        raise DataError(f'{path}: no document with text; each line should read like {{"text": "..."}}')
    return documents


def _text_of(line: str, where: str) -> str:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON: {error.msg}") from error
    text = entry.get("text") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise DataError(f'{where}: must be an object with a string "text", got {line.strip()[:60]}')
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: text holds half a surrogate pair at character {error.start}") from error
    return text
