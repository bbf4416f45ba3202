"""Everything that the program imports is there: in the folder, the standard library, the image or requirements.txt."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.imports import Import
from fairway.verify.programs.verdicts import running, running_imports
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    if not running(submission):
        yield unverifiable("there is no program whose imports could be read")
        return
    found = list(running_imports(submission))
    told = [finding for one in found for finding in _of(one, (submission.readme or "").lower())]
    yield from told
    if not told:
        yield passed(f"{len(found)} modules are imported, each of them at hand")


def _of(one: Import, readme: str) -> Iterator[Finding]:
    place = {"file": one.file, "line": one.line}
    if one.kind == "local":
        yield review(
            f"imports {one.module} from the folder: copied without it, the program ends here",
            profile="strict",
            **place,
        )
    elif one.guarded or one.kind not in ("missing", "customary"):
        return
    elif one.kind == "customary":
        yield review(
            f"imports {one.module}, which requirements.txt does not name and the reference list does not install",
            profile="strict",
            **place,
        )
    elif any(name.lower() in readme for name in (one.module, *one.distributions)):
        yield review(
            f"imports {one.module}, which requirements.txt does not name; the README mentions it: see that it tells "
            "how to install it",
            profile="strict",
            **place,
        )
    else:
        yield review(
            f"imports {one.module}, which neither the folder, the standard library, the reference list of packages nor "
            "requirements.txt has: the program ends here on a machine set up by the book",
            **place,
        )


RULE = Rule(
    id="imports-resolve",
    why="A program that needs what is not there ends at its first line on anybody else's machine.",
    source="openai/parameter-golf README: scripts must run within the records folder; requirements.txt for packages",
    scope="submission",
    check=_check,
    category="does_not_run",
    fix="Ship the module, or name its package in requirements.txt and say in the README how to install it.",
    cases=(404, 466, 842, 1111),
)
