def final(events):
    return next(e for e in events if e.get("name") == "final")


def test_scoring_loading_and_compiling_within_the_budget_pass(toy, said):
    findings = said(toy.write().judge(), "eval-budget")
    assert {f.verdict for f in findings} == {"PASS"} and len(findings) == 9
    assert "score 20.007 + load 1.000 + compile 0.500 = 21.507 s" in findings[0].message


def test_compiling_counts_by_the_written_rule_and_is_reviewed_by_precedent(toy, said):
    toy.edit_events.append(lambda seed, events: final(events).update(compile_s=45.0))
    verdict = toy.write().judge()
    assert {f.profile for f in said(verdict, "eval-budget", "FAIL")} == {"strict"}
    assert {f.profile for f in said(verdict, "eval-budget", "REVIEW")} == {"precedent"}


def test_scoring_beyond_the_budget_fails_both_profiles(toy, said):
    def slow(seed, events):
        if seed == 9:
            final(events).update(seconds=61.5, t_s=70.0)

    toy.edit_events.append(slow)
    verdict = toy.write().judge()
    assert {f.profile for f in said(verdict, "eval-budget", "FAIL")} == {"strict", "precedent"}


def test_seconds_that_were_not_counted_are_for_a_person_to_look_at(toy, said):
    toy.edit_events.append(lambda seed, events: final(events).update(t_s=55.0))
    assert len(said(toy.write().judge(), "eval-budget", "REVIEW")) == 3
