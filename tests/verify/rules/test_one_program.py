import pytest


def test_a_packed_file_and_its_readable_source_are_one_program(toy, said):
    (finding,) = said(toy.write().judge(), "one-program")
    assert finding.verdict == "PASS" and finding.file == "train_gpt.py"
    assert "unpacks by b85decode lzma2" in finding.message and finding.message.endswith("node for node")


def test_a_packed_file_that_holds_its_source_word_for_word_is_told_so(toy, pack, said):
    toy.code = pack(toy.source)
    (finding,) = said(toy.write().judge(), "one-program")
    assert finding.verdict == "PASS" and finding.message.endswith("byte for byte")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("total += len(word)", "total -= len(word)"),
        ("return total", "return word"),
        ("len(word)", "max(word)"),
        ("sys.argv[1:]", "sys.argv[2:]"),
        ("import sys", "import os as sys"),
        ("sys.argv", "sys.path"),
    ],
)
def test_a_source_that_does_something_else_is_for_a_person_to_look_at(toy, failing, said, old, new):
    assert old in toy.source
    toy.source = toy.source.replace(old, new)
    verdict = toy.write().judge()
    assert [(f.verdict, f.file) for f in said(verdict, "one-program")] == [("REVIEW", "train_gpt_source.py")]
    assert failing(verdict) == set()


def test_code_that_is_no_python_fails(toy, failing):
    toy.code = b"import sys\nexec(\n"
    assert "one-program" in failing(toy.write().judge())


def test_code_that_runs_what_is_not_in_it_is_for_a_person_to_look_at(toy, said):
    toy.code = b"exec(open('elsewhere.py').read())\n"
    assert [f.verdict for f in said(toy.write().judge(), "one-program")] == ["REVIEW"]


def test_a_run_folder_shows_that_what_ran_can_be_unpacked(toy, said):
    assert [f.verdict for f in said(toy.judge_run(7), "one-program")] == ["PASS"]
