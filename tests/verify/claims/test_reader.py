import json

from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.claims.reader import claim_of, read_claim
from fairway.verify.tree import FolderTree


def claim(**values):
    return claim_of("submission.json", json.dumps(values).encode())


def test_the_aliases_lead_to_one_set_of_names():
    read = claim(run_name="x", mean_val_bpb=1.2, std_bpb=0.001, artifact_bytes=15_000_000, code_bytes=5, seed=3)
    assert (read.name, read.val_bpb, read.val_bpb_std, read.bytes_total, read.bytes_code) == (
        "x",
        1.2,
        0.001,
        15_000_000,
        5,
    )
    assert read.seeds == (3,) and read.spelled["val_bpb"] == "mean_val_bpb"


def test_the_first_spelling_wins():
    assert claim(mean_bpb=1.3, val_bpb=1.2).val_bpb == 1.2


def test_results_stand_by_seed_whatever_they_are_called():
    one = {"val_bpb": 1.1, "artifact_bytes": 7, "ttt_time_ms": 1500, "train_time_ms": 2000, "steps": 9}
    for key in ("seed_results", "per_seed", "seeds"):
        read = claim(**{key: {"seed_42": one, "7": {"val_bpb": 1.2}}})
        assert read.seeds == (7, 42) and read.per_seed is not None
        found = read.per_seed["42"]
        assert (found.val_bpb, found.bytes_total, found.eval_s, found.eval_ms) == (1.1, 7, 1.5, 1500)
        assert (found.train_s, found.train_ms, found.steps) == (2.0, 2000, 9)
    listed = claim(seed_results=[{"seed": 42, "val_bpb": 1.1}, {"seed": 7, "val_bpb": 1.2}])
    assert listed.per_seed is not None and listed.per_seed["7"].val_bpb == 1.2


def test_lists_parallel_to_the_seeds_are_taken_apart():
    read = claim(seeds=[42, 0], seed_scores=[1.1, 1.2], eval_time_seconds=[80, 83])
    assert read.eval_s == 83 and read.per_seed is not None
    assert (read.per_seed["0"].val_bpb, read.per_seed["42"].eval_s) == (1.2, 80)


def test_a_score_by_seed_may_be_a_plain_number():
    read = claim(seed_results={"1": 1.25, "2": 1.26})
    assert read.per_seed is not None and read.per_seed["2"].val_bpb == 1.26


def test_numbers_in_strings_are_taken_with_a_problem_and_words_are_not():
    read = claim(val_bpb="1.0820", bytes_total="pending", val_loss=True)
    assert read.val_bpb == 1.082 and read.bytes_total is None and read.val_loss is None
    assert [message for message, _ in read.problems] == [
        "val_bpb is the string '1.0820', it must be a number",
        "val_loss is True, it must be a number",
        "bytes_total is 'pending', it must be a number",
    ]


def test_megabytes_are_not_bytes():
    read = claim(bytes_total=15.9)
    assert read.bytes_total is None and "looks like megabytes" in read.problems[0][0]


def test_problems_have_the_line_of_their_key():
    read = claim_of("submission.json", b'{\n "author": "a",\n "val_bpb": "pending"\n}')
    assert read.problems == (("val_bpb is 'pending', it must be a number", 3),)


def test_another_name_of_the_file_is_found_and_none_is_none(tmp_path):
    assert read_claim(FolderTree(tmp_path)) == (None, None, "")
    (tmp_path / "submission_x.json").write_text('{"val_bpb": 1.2}')
    file, found, text = read_claim(FolderTree(tmp_path))
    assert file == "submission_x.json" and found is not None and found.val_bpb == 1.2 and text


def test_what_is_no_object_claims_nothing():
    for data in (b"[1, 2]", b"3", b"", b"null", b"\xff\xfe"):
        read = claim_of("submission.json", data)
        assert read.raw == {} and read.val_bpb is None and read.problems


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["1", "42"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_KEYS = [
    "val_bpb",
    "bytes_total",
    "seeds",
    "seed",
    "seed_results",
    "seed_scores",
    "eval_time_seconds",
    "steps",
    "author",
    "date",
]


@given(st.dictionaries(st.sampled_from(_KEYS), _ANY, max_size=6))
def test_no_value_of_any_key_raises_anything(values):
    read = claim_of("submission.json", json.dumps(values).encode())
    assert read.bytes_total is None or isinstance(read.bytes_total, int)
    assert read.seeds is None or all(isinstance(seed, int) for seed in read.seeds)
