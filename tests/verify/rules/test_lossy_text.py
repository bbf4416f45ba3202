"""Texts that cannot be had back are pointed at; transforms that can be undone are not."""

import pytest
from submissions import PROGRAM, submission, with_program

from fairway.verify.rules.lossy_text import RULE

FOLDED = "def prepare(sp, text):\n    text = text.lower()\n    return sp.encode(text, out_type=int)\n"
CHAINED = 'import unicodedata\n\n\ndef clean(text):\n    return unicodedata.normalize("NFKC", text).lower()\n'
RULED = 'import sentencepiece as spm\n\nspm.SentencePieceTrainer.train(normalization_rule_name="nmt_nfkc_cf")\n'
REVERSIBLE = """MARK = "\\ue001"


def fold(text):
    out = []
    for word in text.split(" "):
        if word.isupper():
            out.append(MARK)
        out.append(word.lower())
    return " ".join(out)


def mode(args):
    return args.mode.lower().encode("utf-8")
"""


@pytest.mark.parametrize("helper", [FOLDED, CHAINED, RULED])
def test_folding_before_the_tokenizer_is_pointed_at(tmp_path, helper):
    (finding,) = RULE.check(submission(tmp_path, {"prepare.py": helper}))
    assert (finding.verdict, finding.file) == ("REVIEW", "prepare.py")
    assert finding.line is not None


def test_a_transform_that_can_be_undone_passes(tmp_path):
    findings = list(RULE.check(submission(tmp_path, {"prepare.py": REVERSIBLE})))
    assert [finding.verdict for finding in findings] == ["PASS"]


def test_a_name_of_the_data_is_enough_to_ask(tmp_path):
    program = PROGRAM.replace("fineweb_1024_bpe.model", "fineweb_1024_casefold.model")
    (finding,) = RULE.check(submission(tmp_path, with_program(program)))
    assert finding.verdict == "REVIEW"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("The corpus is lowercased before the tokenizer sees it.", "REVIEW"),
        ("The tokenizer's case folding is lossless and reversible.", "PASS"),
    ],
)
def test_what_the_folder_says_is_quoted(tmp_path, said, verdict):
    (finding,) = RULE.check(submission(tmp_path, {"README.md": f"# Made up\n\n{said}\n"}))
    assert finding.verdict == verdict
