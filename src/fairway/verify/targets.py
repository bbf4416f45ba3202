"""What the judge was pointed at, as folders to judge: plain ones, those of archives, those of a pull request."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fairway.errors import DataError
from fairway.verify.finding import Verdict
from fairway.verify.run import check
from fairway.verify.sources.archive import is_archive, read_archive
from fairway.verify.sources.repository import CommitTree, Repository
from fairway.verify.submission import Change
from fairway.verify.tracks import Track, find_track, load_track, track_of
from fairway.verify.tree import FolderTree, Tree

UNPLACED_TRACK = "10min_16mb"
"""By what a pull request is judged that adds no folder to any track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One folder to judge; small enough to be handed to another process, which opens it itself."""

    path: str
    """As a person names it."""
    track: Track
    folder: Path | None = None
    archive: Path | None = None
    root: str = ""
    """The folder inside the archive."""
    clone: Path | None = None
    commit: str = ""
    change: Change | None = None

    def tree(self) -> Tree:
        """Its files."""
        if self.archive is not None:
            return next(tree for tree in read_archive(self.archive) if tree.root == self.root)
        if self.clone is not None:
            changed = () if self.change is None else (*self.change.added, *self.change.modified)
            return CommitTree(Repository(self.clone), self.commit, self.path, () if self.path else changed)
        assert self.folder is not None
        return FolderTree(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How folders are judged."""

    profiles: Sequence[str]
    waivers: Mapping[str, str]
    leaderboard: Path | None = None
    with_facts: bool = False
    public_key: bytes | None = None
    """In PEM: whose signature a record must carry."""


def judged(target: Target, options: Options) -> Verdict:
    """The verdict on one target."""
    return check(
        target.tree(),
        target.track,
        path=target.path or f"the change of {target.commit[:12]}",
        profiles=options.profiles,
        change=target.change,
        leaderboard=options.leaderboard,
        waivers=options.waivers,
        with_facts=options.with_facts,
        public_key=options.public_key,
    )


def on_disk(path: Path, track: str | None) -> Iterator[Target]:
    """The folder at ``path`` or around the file there, or the folders of an archive; ``DataError`` if there is none."""
    if not path.exists() and not path.is_symlink():
        raise DataError(f"{path}: no such folder")
    if not path.is_dir():
        path = _around(path) or path
    if path.is_dir():
        yield Target(path=str(path), track=track_called(track or track_of(path), path), folder=path)
        return
    if not is_archive(path):
        raise DataError(f"{path}: is a file, must be a folder, a zip or a tar")
    for tree in read_archive(path):
        inside = PurePosixPath(tree.root).parent.name
        if track is None and not inside.startswith("track_"):
            raise DataError(f"{path}: names no track_<name> above its folder; say --track")
        known = track_called(track or inside.removeprefix("track_"), path)
        yield Target(path=f"{path}:{tree.root or '.'}", track=known, archive=path, root=tree.root)


def _around(path: Path) -> Path | None:
    """The folder of records that a file lies in: commit hooks name files."""
    above = path.absolute().parent
    return next((folder for folder in (above, *above.parents) if folder.parent.name.startswith("track_")), None)


def of_pull_request(clone: Path, ref: str, base: str | None, track: str | None) -> Iterator[Target]:
    """The folders of records that a commit adds to the branch it goes to; all that it changes, if it adds none."""
    repository = Repository(clone)
    commit = repository.commit(ref)
    change = repository.change(commit, repository.base(commit, base), number_of(ref))
    for folder in change.folders or ("",):
        named = PurePosixPath(folder).parent.name.removeprefix("track_") or UNPLACED_TRACK
        known = track_called(track or named, clone)
        yield Target(path=folder, track=known, clone=clone, commit=commit, change=change)


def number_of(ref: str) -> int | None:
    """The number of the pull request in a ref such as ``refs/pull/77/head``."""
    match = re.search(r"(?:^|/)pull/([0-9]{1,9})(?:/|$)", ref)
    return None if match is None else int(match[1])


def track_called(name: str, near: Path) -> Track:
    """The track of that name. The judge's own comes first: nothing near a folder may loosen its rules."""
    return load_track(find_track(name, [Path(__file__), Path.cwd(), near]))
