"""CaseOps: capitals as operators before lowercase words, without loss (#1729, recipes A.5).

``The USA by McKay`` becomes ``<title>the <allcaps>usa by <title>mc<capnext>kay``: a tokenizer then knows one spelling
of a word, and four operators. Only A to Z are touched. An operator character that the text has itself is escaped.
The score counts the bytes of the text as it was, which shards of byte counts, the sidecars, hold for each token.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int, Int32
from torch import Tensor

from fairway.data.byte_counts import ByteTable, load_tokenizer
from fairway.errors import DataError

TITLE, ALLCAPS, CAPNEXT, ESCAPE = "\ue001", "\ue002", "\ue003", "\ue004"
OPERATORS = (TITLE, ALLCAPS, CAPNEXT, ESCAPE)
"""In the order of their token ids, which begin behind pad, bos, eos and unk."""

_CASE_RUNS = re.compile(f"[A-Za-z]+|[{TITLE}-{ESCAPE}]")
_CASE_CODES = re.compile(
    f"(?P<word>{ALLCAPS}[a-z][a-z]+|{TITLE}?[a-z](?:{CAPNEXT}?[a-z])*)"
    f"|{ESCAPE}(?P<literal>[{TITLE}-{ESCAPE}])"
    f"|(?P<other>[^A-Za-z{TITLE}-{ESCAPE}]+)"
)


def encode_case(text: str) -> str:
    """The text with its capitals as operators."""
    return _CASE_RUNS.sub(lambda run: _encoded_run(run[0]), text)


def decode_case(text: str) -> str:
    """The text that ``encode_case`` writes so; ``DataError`` names the first character that it would not write there.

    What is accepted is exactly what ``encode_case`` can return, so each is the inverse of the other.
    """
    parts: list[str] = []
    place, in_word = 0, False
    while place < len(text):
        code = _CASE_CODES.match(text, place)
        word = code["word"] if code else None
        decoded = "" if word is None else _decoded_word(word)
        # A word is a whole run of letters, so none begins where another has just ended.
        if code is None or word is not None and (in_word or _encoded_run(decoded) != word):
            raise DataError(f"CaseOps text: {text[place]!r} at character {place} is where no encoder puts it")
        parts.append(code["literal"] or code["other"] or decoded)
        place, in_word = code.end(), word is not None
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class CaseTable:
    """Bytes of the text before the transform that tokens stand for."""

    table: ByteTable
    operators: Int[Tensor, " 4"]
    """Token of each operator."""

    @classmethod
    def from_tokenizer(cls, path: Path) -> "CaseTable":
        """Build the table; ``DataError`` unless each operator is a piece of its own and part of no other."""
        processor = load_tokenizer(path)
        pieces = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
        if sorted(piece for piece in pieces if any(operator in piece for operator in OPERATORS)) != list(OPERATORS):
            raise DataError(
                f"{path}: U+E001 to U+E004 must be pieces of their own and in no other, as CaseOps has them"
            )
        operators = torch.tensor([pieces.index(operator) for operator in OPERATORS])
        return cls(ByteTable.from_tokenizer(path), operators)

    def of_tokens(self, tokens_N: Int[Tensor, " N"]) -> Int32[Tensor, " N"]:
        """Bytes of each token of a stream of documents.

        BOS and operators stand for nothing unless these are escaped, letters for one byte in either case, everything
        else for its UTF-8; a space counts wherever it stands.
        """
        tokens_N = tokens_N.long()
        full_N = self.table.base_bytes_V[tokens_N] + self.table.leading_space_V[tokens_N].int()
        bytes_N = torch.where(self.are_operators(tokens_N), 0, full_N)
        literal = escaped_places(tokens_N, int(self.operators[-1]))
        bytes_N[literal] = full_N[literal]
        return bytes_N

    def are_operators(self, tokens_N: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """Which tokens are operator characters, escaped or not."""
        return torch.isin(tokens_N, self.operators)


def escaped_places(tokens_N: Int[Tensor, " N"], escape: int) -> list[int]:
    """Places of the tokens that an escape makes literal; of two escapes in a row the second is such a one."""
    places: list[int] = []
    for place in (tokens_N == escape).nonzero().flatten().tolist():
        if not (places and places[-1] == place) and place + 1 < len(tokens_N):
            places.append(place + 1)
    return places


def _encoded_run(run: str) -> str:
    """One maximal run of letters, or one operator character."""
    if run in OPERATORS:
        return ESCAPE + run
    if run.islower():
        return run
    if run.isupper() and len(run) > 1:
        return ALLCAPS + run.lower()
    first = TITLE if run[0].isupper() else ""
    rest = "".join(CAPNEXT + letter.lower() if letter.isupper() else letter for letter in run[1:])
    return first + run[0].lower() + rest


def _decoded_word(word: str) -> str:
    if word[0] == ALLCAPS:
        return word[1:].upper()
    letters = word[1:] if word[0] == TITLE else word
    first, *rest = letters.split(CAPNEXT)
    if word[0] == TITLE:
        first = first[0].upper() + first[1:]
    return "".join([first, *(part[0].upper() + part[1:] for part in rest)])
