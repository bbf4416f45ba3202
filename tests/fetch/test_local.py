from pathlib import Path

import pytest

from fairway.errors import DataError
from fairway.fetch.local import local_documents


def test_each_line_is_a_document_normalised_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    lines = [
        '{"text": "first  document\\nsecond line", "id": 7}',
        "",
        '{"text": "  "}',
        '{"text": "caf\\u00e9 \\ud83d\\udc4d"}',
        '{"text": "\u2028not a line end inside"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert local_documents(path) == ["first document second line", "café 👍", "not a line end inside"]


@pytest.mark.parametrize(
    ("second_line", "complaint"),
    [
        (b'{"text": "broken', "docs.jsonl:2: is not JSON"),
        (b'{"body": "x"}', 'docs.jsonl:2: must be an object with a string "text"'),
        (b'{"text": 3}', 'docs.jsonl:2: must be an object with a string "text"'),
        (b'["text"]', 'docs.jsonl:2: must be an object with a string "text"'),
        (b'{"text": "\\ud83d"}', "docs.jsonl:2: text holds half a surrogate pair"),
        (b'{"text": "\xff"}', "docs.jsonl: is not UTF-8"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, second_line: bytes, complaint: str) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + second_line + b"\n")
    with pytest.raises(DataError, match=complaint):
        local_documents(path)


def test_a_file_that_is_absent_or_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        local_documents(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(DataError, match="no document with text"):
        local_documents(tmp_path / "empty.jsonl")
