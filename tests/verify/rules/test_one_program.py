import hashlib

import pytest


def test_a_packed_file_is_unpacked_and_its_words_are_looked_up_in_the_source(toy, said):
    (finding,) = said(toy.write().judge(), "one-program")
    assert finding.verdict == "PASS" and finding.file == "train_gpt.py"
    assert "unpacks by b85decode lzma" in finding.message
    assert "no word that is not in train_gpt_source.py" in finding.message


def test_a_packed_file_that_names_its_source_by_hash_is_told_so(toy, pack, said):
    toy.code = pack(f"{toy.minified}\nX='{hashlib.sha256(toy.source.encode()).hexdigest()}'")
    (finding,) = said(toy.write().judge(), "one-program")
    assert finding.verdict == "PASS" and "by its hash" in finding.message


def test_a_packed_file_that_holds_its_source_word_for_word_is_told_so(toy, pack, said):
    toy.code = pack(toy.source)
    (finding,) = said(toy.write().judge(), "one-program")
    assert finding.verdict == "PASS" and finding.message.endswith("byte for byte")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sys.argv[1:]", "[]"),
        ("print(main", "(main"),
        ('"__main__"', '"main"'),
    ],
)
def test_a_source_that_lacks_a_word_of_what_ran_is_for_a_person_to_look_at(toy, failing, said, old, new):
    assert old in toy.source
    toy.source = toy.source.replace(old, new)
    verdict = toy.write().judge()
    assert [(f.verdict, f.file) for f in said(verdict, "one-program")] == [("REVIEW", "train_gpt_source.py")]
    assert failing(verdict) == set()


def test_a_source_that_is_no_python_fails(toy, failing):
    toy.source = "def main(:\n"
    assert failing(toy.write().judge()) == {"one-program"}


def test_code_that_is_no_python_fails(toy, failing):
    toy.code = b"import sys\nexec(\n"
    assert "one-program" in failing(toy.write().judge())


def test_code_that_runs_what_is_not_in_it_is_for_a_person_to_look_at(toy, said):
    toy.code = b"exec(open('elsewhere.py').read())\n"
    assert [f.verdict for f in said(toy.write().judge(), "one-program")] == ["REVIEW"]


def test_a_run_folder_shows_that_what_ran_can_be_unpacked(toy, said):
    assert [f.verdict for f in said(toy.judge_run(7), "one-program")] == ["PASS"]
