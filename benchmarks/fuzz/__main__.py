"""A fuzz target for the judge: ``python -m benchmarks.fuzz [libFuzzer options] [corpus]`` where atheris is installed.

The first byte says which file of a made-up folder the rest becomes; every rule is asked of the folder. A rule that
crashes, and any other exception, ends the run with the input that did it.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

try:
    import atheris  # type: ignore[import-not-found]
except ImportError:
    raise SystemExit("fairway: the fuzz target needs atheris (pip install atheris), which is no dependency") from None

with atheris.instrument_imports(include=["fairway.verify"]):
    from fairway.verify.run import check
    from fairway.verify.tracks import find_track, load_track
    from fairway.verify.tree import FolderTree

FILES = (
    "train_gpt.py",
    "train_seed7.log",
    "submission.json",
    "README.md",
    "kernel.cpp",
    "tokenizer.model",
    "helper.py",
    "requirements.txt",
)
TRACK = load_track(find_track("10min_16mb", [Path(__file__)]))
PROGRAM = "import torch\nval_tokens = torch.load('x')\nloss = model(val_tokens)\n"


def one(data: bytes) -> None:
    """Judge a folder one file of which is the input."""
    name = FILES[data[0] % len(FILES)] if data else FILES[0]
    with TemporaryDirectory() as place:
        folder = Path(place) / "2026-04-02_Fuzz"
        folder.mkdir()
        (folder / "train_gpt.py").write_text(PROGRAM)
        (folder / name).write_bytes(data[1:])
        verdict = check(FolderTree(folder), TRACK, path=name, with_facts=True)
    if verdict.crashes:
        reasons = [finding.message for finding in verdict.findings if finding.rule in verdict.crashes]
        raise RuntimeError(f"{', '.join(verdict.crashes)}: {'; '.join(reasons)}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
