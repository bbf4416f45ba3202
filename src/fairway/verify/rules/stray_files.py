"""Nothing lies in the folder that tools left behind, that hides its content, or that nobody can read."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.submission import Submission

_LEFT_BEHIND = re.compile(
    r"(?:.*/)?(?:__pycache__|\.git|\.idea|\.vscode|\.ipynb_checkpoints|\.pytest_cache|wandb|__MACOSX)/.*"
    r"|(?:.*/)?(?:\.DS_Store|Thumbs\.db|desktop\.ini|nohup\.out|core)"
    r"|.*(?:~|\.swp|\.bak|\.orig|\.rej|\.tmp)",
    re.DOTALL,
)
_SECRET = re.compile(r"(?:.*/)?(?:\.env(?:\..*)?|id_rsa|id_ed25519|\.netrc|credentials(?:\.json)?|.*\.pem)", re.DOTALL)
_ARCHIVE = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lzma", ".br", ".whl", ".jar")
_BINARY = (".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe", ".o", ".a", ".cubin", ".fatbin", ".ptx")
_PICKLE = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".npy", ".npz")
_MOST_NAMED = 10


def _check(submission: Submission) -> Iterator[Finding]:
    found = [*_findings(submission)]
    yield from found[:_MOST_NAMED]
    if len(found) > _MOST_NAMED:
        yield review(f"{len(found) - _MOST_NAMED} further files of these kinds")
    if not found:
        yield passed(f"{len(submission.tree.files)} files, each of a kind that a reviewer can read")


def _findings(submission: Submission) -> Iterator[Finding]:
    for path in submission.tree.files:
        name = path.lower()
        if _SECRET.fullmatch(name) is not None:
            yield review("has the name of a file for secrets; it should not be published", file=path)
        elif name.endswith(_BINARY):
            yield review("is compiled code: what it does cannot be read; ship its source", file=path)
        elif _LEFT_BEHIND.fullmatch(path) is not None:
            yield review("was left behind by a tool and is no part of a record", file=path)
        elif name.endswith(_ARCHIVE):
            yield review("is an archive: its content is hidden from review; ship the files", file=path)
        elif name.endswith(_PICKLE):
            yield review("may be a pickle, which runs code when loaded; the judge does not open it", file=path)


RULE = Rule(
    id="stray-files",
    why="Compiled code, pickles and archives keep a reviewer from seeing what a record consists of.",
    source="openai/parameter-golf README: code and logs of the record; CONTRIBUTING practice of small, readable diffs",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Remove caches, archives and compiled files; ship the source that makes them.",
)
