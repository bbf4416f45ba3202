import pytest

from fairway.verify.claims.claim import Claim, SeedClaim
from fairway.verify.logs.facts import LogFacts, ScoreLine
from fairway.verify.logs.roles import seed_in_name, with_roles


def log(file, seed=1, bpb=1.2, **changed):
    score = ScoreLine(label="final", val_loss=2.0, val_bpb=bpb, digits=4, eval_s=None, line=1)
    values = {"train_s": 600.0, "steps": 100, "scores": (score,), "final_val_bpb": bpb, "sha256": file, **changed}
    return LogFacts(file=file, seed_logged=seed, seed_in_name=seed_in_name(file), **values)


def roles(*logs, claim=None):
    return [each.role for each in with_roles(logs, claim)]


@pytest.mark.parametrize(
    ("file", "seed"),
    [
        ("train_seed42.log", 42),
        ("logs/train0.txt", 0),
        ("log_10mins_seed-7.txt", 7),
        ("ttt/seed_0.log", 0),
        ("ternary_log_1337.txt", 1337),
        ("hybrid_seq32768_s42.txt", 42),
        ("train_seed_2026.txt", 2026),
        ("train.log", None),
        ("train_v1.txt", None),
        ("baseline_600s_seq8192.txt", None),
        ("log_100k_steps.txt", None),
    ],
)
def test_seeds_in_names(file, seed):
    assert seed_in_name(file) == seed


def test_seeds_of_one_configuration_are_seeds():
    assert roles(log("train_seed1.log"), log("train_seed2.log", 2)) == ["seed", "seed"]


def test_a_byte_copy_is_a_duplicate_and_lends_its_seed():
    first, second = with_roles([log("train.log", sha256="x"), log("train_seed1.log", sha256="x")], None)
    assert (first.role, first.seed_in_name) == ("seed", 1)
    assert (second.role, second.duplicate_of) == ("duplicate", "train.log")


def test_other_configurations_are_experiments_by_what_the_claim_says():
    short = log("short.txt", bpb=1.26, settings={"iterations": "6000"})
    long = log("long.txt", bpb=1.21, settings={"iterations": "100000"})
    assert roles(short, long, claim=Claim(file="s", raw={}, val_bpb=1.26)) == ["seed", "experiment"]
    assert roles(short, long, claim=Claim(file="s", raw={}, val_bpb=1.21)) == ["experiment", "seed"]


def test_without_a_claim_most_seeds_win():
    tries = [log(f"try_{n}.txt", settings={"iterations": str(n)}) for n in (5, 6)]
    runs = [log(f"run_seed{n}.txt", n, settings={"iterations": "9"}) for n in (1, 2)]
    assert roles(*tries, *runs) == ["experiment", "experiment", "seed", "seed"]


def test_a_seed_of_another_configuration_is_still_a_seed():
    third = log("train_seed3.log", 3, settings={"iterations": "9"})
    assert roles(log("train_seed1.log"), log("train_seed2.log", 2), third) == ["seed"] * 3


def test_evaluations_of_their_own_and_summaries():
    ttt = log("ttt/seed_1.log", train_s=None, steps=None)
    summary = log("summary.log", 7, train_s=None, steps=None, scores=(), final_val_bpb=None)
    assert roles(log("train_seed1.log"), ttt, summary) == ["seed_train", "seed_eval", "summary"]
    assert with_roles([summary], None)[0].seed_logged is None


def test_the_claim_of_a_seed_counts_as_the_claim():
    claim = Claim(file="s", raw={}, per_seed={"1": SeedClaim(val_bpb=1.3)})
    one, other = (
        log("a.txt", bpb=1.3, settings={"iterations": "1"}),
        log("b.txt", bpb=1.1, settings={"iterations": "2"}),
    )
    assert roles(one, other, claim=claim) == ["seed", "experiment"]


def test_one_run_in_two_files_is_told_once():
    same = {"trace_sha256": "t", "final_val_bpb": 1.2}
    one, other = log("train_seed1.log", **same), log("train_seed1.stdout.log", **same)
    assert roles(one, other) == ["seed", "duplicate"]
    assert roles(one, log("train_seed2.log", 2, **same)) == ["seed", "seed"]
