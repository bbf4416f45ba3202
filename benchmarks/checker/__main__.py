"""How `fairway check` does on the real world: a clone of openai/parameter-golf against files of expectations.

    python benchmarks/checker --clone CLONE --cases CASES [--mirror BARE] [--facts] [--merged] [--challenged]
                              [--category NAME] [--pr N] [--folder PART] [--jobs N] [--markdown]

CASES holds ``merged.json`` (a list: every fact and mechanical verdict of a merged folder) and ``challenged.json``
(a list of ``{pr, head, folders, categories}``). BARE is a clone that holds the heads of all pull requests; without it
CLONE is taken. With none of the three parts named, all are run. Every miss is printed.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables  # noqa: E402 - it lies beside this file
from runs import LEGALITY, Judged, judge_challenged, judge_folder  # noqa: E402


def main() -> int:
    """Run the parts that are asked for and print their tables."""
    asked = _arguments()
    everything = not (asked.facts or asked.merged or asked.challenged)
    merged_cases = json.loads((asked.cases / "merged.json").read_text(encoding="utf-8"))
    with ProcessPoolExecutor(asked.jobs) as pool:
        if asked.facts or everything:
            calls = [
                (asked.clone, asked.mirror or asked.clone, case["path"], case["pr"])
                for case in merged_cases
                if asked.folder in case["path"]
            ]
            judged = list(pool.map(judge_folder, *zip(*calls, strict=True)))
            by_path = {one.path: one for one in judged}
            tables.facts([case for case in merged_cases if case["path"] in by_path], by_path, asked.markdown)
        merged: list[Judged] = []
        if asked.merged or everything:
            paths = [path for path in _merged_folders(asked.clone) if asked.folder in path]
            merged = list(
                pool.map(judge_folder, *zip(*[(asked.clone, None, path, None) for path in paths], strict=True))
            )
            tables.merged(merged, LEGALITY if asked.category is None else {asked.category}, asked.markdown)
        if asked.challenged or everything:
            cases = json.loads((asked.cases / "challenged.json").read_text(encoding="utf-8"))
            cases = [
                case
                for case in cases
                if (asked.category is None or asked.category in case["categories"])
                and (asked.pr is None or asked.pr == case["pr"])
            ]
            found = list(pool.map(judge_challenged, [asked.mirror or asked.clone] * len(cases), cases))
            tables.challenged(cases, found, merged, asked.category, asked.markdown)
    return 0


def _merged_folders(clone: Path) -> list[str]:
    return sorted(path.relative_to(clone).as_posix() for path in clone.glob("records/track_*/*") if path.is_dir())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/checker", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clone", type=Path, required=True, help="a checkout of openai/parameter-golf")
    parser.add_argument("--mirror", type=Path, help="a clone with the heads of all pull requests")
    parser.add_argument("--cases", type=Path, required=True, help="folder of merged.json and challenged.json")
    parser.add_argument("--facts", action="store_true", help="compare facts and mechanical verdicts")
    parser.add_argument("--merged", action="store_true", help="list findings on merged folders")
    parser.add_argument("--challenged", action="store_true", help="look for the category of each challenged one")
    parser.add_argument("--category", help="only this category")
    parser.add_argument("--pr", type=int, help="only this challenged pull request")
    parser.add_argument("--folder", default="", help="only merged folders whose path holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown, for docs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
