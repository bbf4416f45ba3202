"""What rules about anybody's submission look at: files, claim, logs, programs, the change that brings them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairway.errors import DataError
from fairway.verify.claims.claim import Claim
from fairway.verify.claims.reader import read_claim
from fairway.verify.leaderboard import Leaderboard, whole_leaderboard
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.read import read_logs
from fairway.verify.programs.program import Programs
from fairway.verify.programs.read import read_programs
from fairway.verify.tracks import Track
from fairway.verify.tree import Tree

README = "README.md"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a pull request does to a checkout."""

    added: Sequence[str]
    modified: Sequence[str]
    deleted: Sequence[str]
    folders: Sequence[str]
    """Folders of records that it adds, below the checkout."""
    pr: int | None = None
    """Its number, where the ref by which it was named holds one."""


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
    """The public leaderboard of the track, and our own records of it; None where there is neither."""
    problems: Sequence[tuple[str, str, int | None]] = ()
    """Message, file and line of what could not be read at all."""

    @property
    def seed_logs(self) -> Mapping[str, LogFacts]:
        """The logs that the claim rests on, by file: seeds, neither copies nor experiments nor summaries."""
        return {log.file: log for log in self.logs if log.role in ("seed", "seed_train", "seed_eval")}


README_LIMIT_BYTES = 4_000_000


def read_submission(
    tree: Tree,
    track: Track,
    *,
    path: str,
    change: Change | None = None,
    leaderboard: Leaderboard | None = None,
) -> Submission:
    """Everything that rules may look at, from the files of one folder; what cannot be read is a problem, not an error.

    ``path`` is the folder as it was named; ``change`` the pull request that brings it, where one is judged;
    ``leaderboard`` our own records, which are added to the public leaderboard of the track.
    """
    problems: list[tuple[str, str, int | None]] = []
    programs = read_programs(tree)
    submission_file, claim, claim_text = read_claim(tree)
    logs = read_logs(tree, programs, claim)
    readme_file = _named(tree, README)
    requirements_file = _named(tree, REQUIREMENTS)
    return Submission(
        name=tree.name,
        path=path,
        track=track,
        tree=tree,
        submission_file=submission_file,
        claim=claim,
        claim_text=claim_text,
        readme_file=readme_file,
        readme=_text(tree, readme_file, problems),
        requirements=_text(tree, requirements_file, problems),
        logs=logs,
        programs=programs,
        change=change,
        leaderboard=whole_leaderboard(track.name, track.file, leaderboard),
        # Last: what is read above adds to it.
        problems=tuple(problems),
    )


def _named(tree: Tree, name: str) -> str | None:
    """The file of that name at the top of the folder, in whatever case it is written."""
    if name in tree.files:
        return name
    return next((path for path in tree.files if path.lower() == name.lower()), None)


def _text(tree: Tree, file: str | None, problems: list[tuple[str, str, int | None]]) -> str | None:
    if file is None:
        return None
    try:
        data = tree.read(file, README_LIMIT_BYTES)
    except DataError as error:
        problems.append((str(error).removeprefix(f"{file}: "), file, None))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append((f"is not UTF-8 (byte {error.start})", file, line))
        return data.decode("utf-8-sig", "replace")
