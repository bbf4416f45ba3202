import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.logs.dump import GARBLED_FROM, Dump

SOURCE = '"""A script."""\n\nimport os\n\n\ndef main():\n    return os.getpid()\n\n\n'
SOURCE += 'if __name__ == "__main__":\n    main()\n'
RULE = "=" * 100


def fed(text):
    dump = Dump()
    inside = [dump.feed(number, line) for number, line in enumerate(text.split("\n"), start=1)]
    return dump, inside


def test_a_dump_at_the_head_is_the_script_to_the_byte():
    dump, _ = fed(f"{SOURCE}\n{RULE}\nRunning Python 3.12\nseed:1\n")
    assert dump.found == (SOURCE, 1)
    assert dump.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_a_dump_may_come_after_the_settings_and_a_mark():
    dump, inside = fed(f"Hyperparameters:\n  seed: 1\n{RULE}\nSource code:\n{RULE}\n{SOURCE}\n{RULE}\nval_tokens: 5\n")
    assert dump.found == (SOURCE, 6)
    assert not inside[1]


def test_the_last_of_several_dumps_counts():
    later = SOURCE.replace("getpid", "getppid")
    dump, _ = fed(f"{SOURCE}\n{RULE}\nstep:1/2 train_loss:3\nfinal_x val_loss:1 val_bpb:1\n{later}\n{RULE}\nseed:2\n")
    assert dump.found is not None
    assert dump.found[0] == later


def test_a_log_without_source_has_no_dump():
    dump, inside = fed("seed:1\nstep:1/10 train_loss:3.0\nfinal_int8 val_loss:1.0 val_bpb:1.0\n")
    assert dump.found is None
    assert not any(inside)
    assert not dump.garbled


def test_code_in_pieces_is_no_dump_but_is_told():
    dump, _ = fed("world_size:8\n" + "    return self.x\n" * GARBLED_FROM + f"{RULE}\n")
    assert dump.found is None
    assert dump.garbled


def test_what_looks_like_source_and_never_ends_swallows_no_facts():
    _, inside = fed("import os\nval_loader:shards pattern=x tokens:5\nseed:1\n")
    assert inside == [True, False, False, False]


@given(st.lists(st.text(alphabet="ab =():'\"#\t", max_size=20), max_size=30))
def test_any_lines_can_be_fed(lines):
    dump, _ = fed("\n".join(lines))
    assert dump.found is None or "\n" in dump.found[0]
