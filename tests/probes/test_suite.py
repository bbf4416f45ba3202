"""Every probe on every method that a recipe may name: none is accused, and the invalid one is caught."""

from fairway.probes.result import PROBES, Probe
from fairway.probes.stream import Stream
from fairway.probes.subject import MethodSubject, Subject
from fairway.probes.suite import probe_all


def found(subject: Subject, stream: Stream) -> dict[str, Probe]:
    probes = list(probe_all(subject, stream, seed=1))
    assert tuple(probe.name for probe in probes) == PROBES
    return {probe.name: probe for probe in probes}


def test_no_legal_method_is_accused(legal: MethodSubject, stream: Stream) -> None:
    probes = found(legal, stream)
    assert [probe.name for probe in probes.values() if probe.verdict == "failed"] == []
    assert probes["a-a"].measured == 0.0


def test_what_learns_before_it_scores_is_caught(ahead: MethodSubject, stream: Stream) -> None:
    probes = found(ahead, stream)
    assert {name for name, probe in probes.items() if probe.verdict == "failed"} == {
        "future-flip",
        "self-flip",
        "truncation",
        "order",
    }
