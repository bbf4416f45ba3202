"""What rules about anybody's submission look at: files, claim, logs, programs, the change that brings them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairway.verify.claims.claim import Claim
from fairway.verify.leaderboard import Leaderboard
from fairway.verify.logs.facts import LogFacts
from fairway.verify.programs.program import Programs
from fairway.verify.tracks import Track
from fairway.verify.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a pull request does to a checkout."""

    added: Sequence[str]
    modified: Sequence[str]
    deleted: Sequence[str]
    folders: Sequence[str]
    """Folders of records that it adds, below the checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One folder of anybody's, as far as reading shows it."""

    name: str
    path: str
    """As it was named to the judge."""
    track: Track
    tree: Tree
    submission_file: str | None
    claim: Claim | None
    """None where there is no such file, or it holds no object."""
    claim_text: str = ""
    readme_file: str | None = None
    readme: str | None = None
    requirements: str | None = None
    logs: Sequence[LogFacts] = ()
    programs: Programs = field(default_factory=lambda: Programs(main=None))
    change: Change | None = None
    """None where no pull request was given."""
    leaderboard: Leaderboard | None = None
    problems: Sequence[tuple[str, str, int | None]] = ()
    """Message, file and line of what could not be read at all."""

    @property
    def seed_logs(self) -> Mapping[str, LogFacts]:
        """The logs that the claim rests on, by file: seeds, neither copies nor experiments nor summaries."""
        return {log.file: log for log in self.logs if log.role in ("seed", "seed_train", "seed_eval")}
