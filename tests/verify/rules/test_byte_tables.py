"""Tables of bytes that count otherwise than the organisers' are pointed at."""

import pytest
from submissions import PROGRAM, TARGETS, VAL_BYTES, log, submission, with_program

from fairway.verify.legality.sentencepiece import pieces_of
from fairway.verify.rules.byte_tables import RULE

LENGTH = '        sizes[token] = len(piece.encode("utf-8"))\n'
BYTE = """        if sp.is_byte(token):
            sizes[token] = 1
            continue
"""


def model(*pieces: str) -> bytes:
    """A SentencePiece model of some pieces and 300 more."""
    whole = b""
    for piece in (*pieces, *(f"x{number}" for number in range(300))):
        text = piece.encode()
        message = b"\x0a" + bytes([len(text)]) + text + b"\x15\x00\x00\x80\xbf"
        whole += b"\x0a" + bytes([len(message)]) + message
    return whole


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (PROGRAM.replace(BYTE, ""), "byte-fallback"),
        (PROGRAM.replace(LENGTH, LENGTH.replace("\n", " + 1\n")), "leading space"),
        (
            PROGRAM + '\n\ndef table(path):\n    data = np.load(path)\n    return data["base_bytes"]\n',
            "read from a file",
        ),
        (PROGRAM + "\n\nBYTES_PER_TOKEN = 2.4359\n", "is the number 2.4359"),
    ],
)
def test_odd_tables_are_pointed_at(tmp_path, changed, what):
    assert changed != PROGRAM
    (finding,) = RULE.check(submission(tmp_path, with_program(changed)))
    assert finding.verdict == "REVIEW"
    assert what in finding.message
    assert finding.line is not None


def test_the_organisers_table_passes(tmp_path):
    findings = list(RULE.check(submission(tmp_path, {"bpe.model": model("\u2581", "a")})))
    assert [finding.verdict for finding in findings] == ["PASS"]


def test_a_vocabulary_without_a_space_is_pointed_at(tmp_path):
    (finding,) = RULE.check(submission(tmp_path, {"bpe.model": model("\u2581a", "a")}))
    assert (finding.verdict, finding.file) == ("REVIEW", "bpe.model")


@pytest.mark.parametrize(("size", "verdict"), [(VAL_BYTES, "PASS"), (round(1.0895 * VAL_BYTES), "REVIEW")])
def test_a_count_of_bytes_in_the_log_is_held_against_the_track(tmp_path, size, verdict):
    files = {"train_seed7.log": log(7, extra=f"mixed tokens={TARGETS} bytes={size} mix_bpb=0.98")}
    (finding,) = RULE.check(submission(tmp_path, files))
    assert finding.verdict == verdict


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"PK\x03\x04" * 9])
def test_what_is_no_model_has_no_pieces(data):
    assert pieces_of(data) == frozenset()
