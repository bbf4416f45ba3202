from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.byte_counts import load_tokenizer
from fairway.data.caseops import ALLCAPS, CAPNEXT, ESCAPE, OPERATORS, TITLE, CaseTable, decode_case, encode_case
from fairway.errors import DataError
from fairway.prepare import normalise, train_tokenizer

SENTENCES = [
    "The USA and McKay's iPhone of 1984: nobody at NASA saw IT again, said Ångström.",
    "日本語の文章と漢字。Ω, Café CRÈME, naïve façade; A B c dE",
    "In March Of 2024 MORE than 1,000,000! XVIIth Century",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("aAbBzZ '1\u0331" + "".join(OPERATORS)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caseops") / "tokenizer.model"
    train_tokenizer(SENTENCES * 3, path, 420, transform="caseops")
    return path


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("the ship, 1984", "the ship, 1984"),
        ("The USA", f"{TITLE}the {ALLCAPS}usa"),
        ("I am A b", f"{TITLE}i am {TITLE}a b"),
        ("McKay", f"{TITLE}mc{CAPNEXT}kay"),
        ("iPHone", f"i{CAPNEXT}p{CAPNEXT}hone"),
        ("XVIIth", f"{TITLE}x{CAPNEXT}v{CAPNEXT}i{CAPNEXT}ith"),
        ("Éa ÀB", f"Éa À{TITLE}b"),
        ("A1B", f"{TITLE}a1{TITLE}b"),
        (f"x{TITLE}{ESCAPE}Y", f"x{ESCAPE}{TITLE}{ESCAPE}{ESCAPE}{TITLE}y"),
    ],
)
def test_capitals_become_operators_as_the_reference_says(text: str, encoded: str) -> None:
    assert encode_case(text) == encoded
    assert decode_case(encoded) == text


@given(text=ANY_TEXT)
def test_every_text_comes_back_and_has_no_capital_on_the_way(text: str) -> None:
    encoded = encode_case(text)
    assert decode_case(encoded) == text
    assert not any("A" <= character <= "Z" for character in encoded)


@given(text=st.text(st.sampled_from("abA1 " + "".join(OPERATORS)), max_size=8))
def test_what_can_be_decoded_is_what_would_be_encoded(text: str) -> None:
    try:
        decoded = decode_case(text)
    except DataError:
        return
    assert encode_case(decoded) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Ab", 0),
        (f"ab{TITLE}c", 2),
        (f"a {TITLE}", 2),
        (f"{TITLE} a", 0),
        (f"{TITLE}{TITLE}a", 0),
        (f"{TITLE}{ALLCAPS}ab", 0),
        (f"{ALLCAPS}a", 0),
        (f"{ALLCAPS}ab{CAPNEXT}c", 3),
        (f"{TITLE}a{CAPNEXT}b", 0),
        (f"x {CAPNEXT}ab", 2),
        (f"a{CAPNEXT}", 1),
        (f"a{CAPNEXT}{CAPNEXT}b", 1),
        (f"a{ESCAPE}", 1),
        (f"a{ESCAPE}b", 1),
        (f"{TITLE}{ESCAPE}{TITLE}", 0),
    ],
)
def test_an_operator_where_no_encoder_puts_one_is_named(text: str, place: int) -> None:
    with pytest.raises(DataError, match=f"at character {place} is where no encoder puts it"):
        decode_case(text)


def test_operators_are_pieces_4_to_7(tokenizer: Path) -> None:
    processor = load_tokenizer(tokenizer)
    assert [processor.id_to_piece(token) for token in range(4, 8)] == list(OPERATORS)
    assert CaseTable.from_tokenizer(tokenizer).operators.tolist() == [4, 5, 6, 7]


def walked_bytes(processor, tokens: list[int]) -> list[int]:
    """The same by walking characters: what an escape, a letter and anything else are worth."""
    counts, escaped = [], False
    for token in tokens:
        count = 0
        if processor.is_byte(token):
            count = 1
        elif token != 1:
            for character in processor.id_to_piece(token).replace("\u2581", " "):
                if escaped or character not in OPERATORS:
                    count += len(character.encode())
                    escaped = False
                else:
                    escaped = character == ESCAPE
        counts.append(count)
    return counts


@settings(deadline=None)
@given(texts=st.lists(ANY_TEXT.map(normalise), min_size=1, max_size=3))
def test_tokens_give_each_document_back_and_count_its_bytes(tokenizer: Path, texts: list[str]) -> None:
    processor, table = load_tokenizer(tokenizer), CaseTable.from_tokenizer(tokenizer)
    documents = [[1, *processor.encode(encode_case(text))] for text in texts]
    for text, tokens in zip(texts, documents, strict=True):
        assert decode_case(processor.decode(tokens[1:])) == text
        assert int(table.of_tokens(torch.tensor(tokens)).sum()) == len(text.encode())
    stream = [token for tokens in documents for token in tokens]
    assert table.of_tokens(torch.tensor(stream)).tolist() == walked_bytes(processor, stream)


def test_a_capital_before_a_lone_accent_survives_where_the_published_normalisation_would_fuse_it(
    tokenizer: Path,
) -> None:
    text = "H\u0331"
    assert normalise(text) == text and normalise(encode_case(text)) == f"{TITLE}\u1e96"
    processor = load_tokenizer(tokenizer)
    assert decode_case(processor.decode(processor.encode(encode_case(text)))) == text


def test_a_tokenizer_without_operators_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.model"
    train_tokenizer(SENTENCES * 3, path, 420)
    with pytest.raises(DataError, match="must be pieces of their own"):
        CaseTable.from_tokenizer(path)
