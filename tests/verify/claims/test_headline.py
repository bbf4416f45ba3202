import json

from fairway.verify.claims import headline
from fairway.verify.claims.reader import claim_of
from fairway.verify.logs.facts import LogFacts, ScoreLine


def line(label, bpb, number=1):
    return ScoreLine(label=label, val_loss=bpb * 1.7, val_bpb=bpb, digits=8, eval_s=1.0, line=number)


def log(file, seed, bpb, *, others=(), **changed):
    scores = (*others, line("final", bpb, 9))
    return LogFacts(
        file=file,
        seed_logged=seed,
        final_label="final",
        final_val_bpb=bpb,
        final_val_loss=bpb * 1.7,
        scores=scores,
        **changed,
    )


def claim(**values):
    return claim_of("submission.json", json.dumps(values).encode())


def test_the_final_scores_count_where_nothing_else_is_quoted():
    logs = [
        log("a", 1, 1.10),
        log("b", 2, 1.12),
        log("x", 3, 9.9, role="experiment"),
        log("c", 1, 1.1, role="duplicate"),
    ]
    found = headline.claimed(logs, claim(val_bpb=1.11))
    assert found.bpb == (1.10, 1.12) and headline.by_seed(found) == {"1": 1.10, "2": 1.12}
    assert found.nats_per_bit == 1.7 or abs(found.nats_per_bit - 1.7) < 1e-12


def test_a_quoted_score_stands_before_one_that_came_later_and_worse():
    failed = log("a", 42, 1.336032, others=(line("sliding", 1.08938974, 5),))
    found = headline.claimed([failed], claim(val_bpb=1.08938974, seed_results={"42": {"val_bpb": 1.08938974}}))
    assert found.scores[0].val_bpb == 1.08938974 and not found.scores[0].final and found.scores[0].line == 5


def test_one_label_of_every_log_may_explain_the_claim():
    logs = [log("a", 1, 1.19, others=(line("trip", 1.21),)), log("b", 2, 1.20, others=(line("trip", 1.23),))]
    assert headline.claimed(logs, claim(val_bpb=1.22)).bpb == (1.21, 1.23)
    assert headline.claimed(logs, claim(val_bpb=1.05)).bpb == (1.19, 1.20)


def test_an_evaluation_alone_stands_before_the_training_log_of_its_seed():
    logs = [
        log("train", 1, 1.07, role="seed_train"),
        log("eval", 1, 1.06, role="seed_eval"),
        log("t2", 2, 1.08, role="seed_train"),
    ]
    assert headline.final(logs).bpb == (1.06, 1.08)


def test_two_runs_of_a_seed_are_told_apart_by_their_files_and_the_quoted_one_counts():
    logs = [log("a", 1, 1.10), log("b", 1, 1.12)]
    assert headline.by_seed(headline.final(logs)) == {"1#a": 1.10, "1#b": 1.12}
    quoted = claim(val_bpb=1.12, seed_results={"1": {"val_bpb": 1.12}})
    assert headline.claimed(logs, quoted).bpb == (1.12,)


def test_the_seed_of_the_name_stands_before_that_of_the_log():
    assert headline.seed_of(log("a", 1337, 1.1, seed_in_name=0)) == 0
