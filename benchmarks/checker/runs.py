"""One run of the judge over one case."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.verify.finding import PROFILES, Verdict
from fairway.verify.run import check
from fairway.verify.sources.repository import Repository
from fairway.verify.submission import Change
from fairway.verify.targets import Options, judged, of_pull_request, track_called
from fairway.verify.tracks import track_of
from fairway.verify.tree import FolderTree

LEGALITY = frozenset(
    {
        "adapt_then_score",
        "byte_accounting",
        "calibration_in_eval",
        "last_epoch_score",
        "lossy_tokenizer",
        "partial_validation",
        "ppm_byte_spread",
        "pre_quant_ttt",
        "rescore_two_pass",
        "slot",
        "target_keyed_cache",
        "target_reading_gate",
        "train_val_overlap",
        "val_in_training",
    }
)
"""Categories about what a score means, where a baseless finding accuses somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the judge said of one merged folder."""

    path: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenged:
    """What the judge said of one challenged pull request, over all folders that it adds."""

    verdicts: list[Verdict] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def flagged(self) -> set[str]:
        """The categories with a finding that asks for something."""
        return {
            finding.category
            for verdict in self.verdicts
            for finding in verdict.findings
            if finding.verdict in ("FAIL", "REVIEW")
        }


def judge_folder(clone: Path, mirror: Path | None, path: str, number: int | None) -> Judged:
    """One folder of a checkout; with ``mirror`` and a number, together with the change of its pull request."""
    began = time.perf_counter()
    change: Change | None = None
    if mirror is not None and number is not None:
        repository = Repository(mirror)
        commit = repository.commit(f"refs/pull/{number}/head")
        change = repository.change(commit, repository.base(commit), number)
    folder = clone / path
    verdict = check(
        FolderTree(folder),
        track_called(track_of(folder), folder),
        path=path,
        change=change,
        with_facts=mirror is not None,
    )
    return Judged(path=path, verdict=verdict, seconds=time.perf_counter() - began)


def judge_challenged(mirror: Path, case: dict[str, Any]) -> Challenged:
    """Every folder that a challenged pull request adds."""
    began = time.perf_counter()
    options = Options(profiles=PROFILES, waivers={})
    try:
        targets = of_pull_request(mirror, case["head"], None, None)
        verdicts = [judged(target, options) for target in targets]
    except FairwayError as error:
        return Challenged(error=str(error), seconds=time.perf_counter() - began)
    return Challenged(verdicts=verdicts, seconds=time.perf_counter() - began)
