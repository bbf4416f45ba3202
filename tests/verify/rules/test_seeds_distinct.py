import json


def test_three_different_seeds_pass(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "seeds-distinct")] == ["PASS"]


def test_fewer_seeds_than_the_track_asks_for_fail(toy, make_toy, tmp_path, failing):
    two = make_toy(tmp_path / "two", seeds=(7, 8))
    assert failing(two.write().judge()) == {"seeds-distinct"}


def test_a_seed_that_is_left_out_of_the_folder_fails(toy, failing):
    toy.recipe["seeds"] = [7, 8, 9, 10]
    assert failing(toy.write().judge()) == {"seeds-distinct"}


def test_a_seed_that_is_left_out_of_the_claim_fails(toy, said):
    toy.write()
    claim = toy.submission()
    claim["seeds"] = [7, 8]
    toy.put("submission.json", json.dumps(claim))
    assert [f.file for f in said(toy.sign().judge(), "seeds-distinct", "FAIL")] == ["submission.json"]


def test_a_copied_training_log_fails(toy, said):
    def copy(seed, events):
        losses = [e for e in events if e["event"] == "step"]
        for i, event in enumerate(losses):
            event["loss_nats"] = 3.0 - i if seed in (8, 9) else 2.5 - i

    toy.edit_events.append(copy)
    (finding,) = said(toy.write().judge(), "seeds-distinct", "FAIL")
    assert finding.message == "seeds 8 and 9 have the same training losses: one is a copy"


def test_copied_scores_fail(toy, said):
    toy.ledgers[9] = toy.ledgers[8]
    messages = [f.message for f in said(toy.write().judge(), "seeds-distinct", "FAIL")]
    assert messages == ["seeds 8 and 9 have the same losses on the ledger: one is a copy"]
