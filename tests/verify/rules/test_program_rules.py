"""The rules about what a program is, needs and does, each with a folder that holds and one that does not."""

import base64
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from submissions import PROGRAM, submission

from fairway.verify.finding import Finding, Rule
from fairway.verify.rules import (
    code_in_one_file,
    commands_declared,
    imports_resolve,
    no_network,
    paths_inside,
    program_compiles,
    program_readable,
    program_trains,
    safe_loading,
)

RULES = (
    code_in_one_file,
    commands_declared,
    imports_resolve,
    no_network,
    paths_inside,
    program_compiles,
    program_readable,
    program_trains,
    safe_loading,
)
Ask = Callable[..., list[Finding]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def of(rule: Rule, program: str | bytes | None = PROGRAM, **others: str) -> list[Finding]:
        named: Mapping[str, str | bytes | None] = {
            "train_gpt.py": program,
            **{name.replace("__", "."): text for name, text in others.items()},
        }
        return list(rule.check(submission(tmp_path, named)))

    return of


def packed(text: str) -> str:
    """A self-extracting program."""
    payload = base64.b85encode(lzma.compress(text.encode())).decode()
    return f'import lzma as L,base64 as B\nexec(L.decompress(B.b85decode("{payload}")))\n'


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("module", RULES, ids=lambda module: module.RULE.id)
def test_a_plain_program_passes(ask: Ask, module: object) -> None:
    assert only(ask(module.RULE)).verdict == "PASS"  # type: ignore[attr-defined]
    assert only(ask(module.RULE, packed(PROGRAM))).verdict == "PASS"  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", RULES, ids=lambda module: module.RULE.id)
def test_a_folder_without_a_program_cannot_be_asked(ask: Ask, module: object) -> None:
    assert only(ask(module.RULE, None)).verdict == "UNVERIFIABLE"  # type: ignore[attr-defined]


def test_what_no_python_compiles_fails_with_its_line(ask: Ask) -> None:
    found = only(ask(program_compiles.RULE, "import torch\nThis is the plan of a record.\n"))
    assert (found.verdict, found.line, found.profile) == ("FAIL", 2, "both")
    assert only(ask(program_compiles.RULE, "import torch\nreturn 1\n")).line == 2
    assert "empty" in only(ask(program_compiles.RULE, "")).message


def test_what_only_new_python_compiles_is_a_question(ask: Ask) -> None:
    found = only(ask(program_compiles.RULE, packed(PROGRAM + "\nx = {}\nprint(f'{x['a']}')\n")))
    line = PROGRAM.count("\n") + 3
    assert (found.verdict, found.profile, found.line) == ("REVIEW", "strict", line)
    assert "3.10, 3.11" in found.message and "unpacks to" in found.message


def test_a_broken_helper_that_nothing_reaches_fails_nothing(ask: Ask) -> None:
    found = ask(program_compiles.RULE, notes__py="not python at all\n")
    assert [one.verdict for one in found] == ["PASS", "REVIEW"]


def test_what_cannot_be_decoded_is_told(ask: Ask) -> None:
    hidden = "import marshal\nexec(marshal.loads(open('code.bin', 'rb').read()))\n"
    found = only(ask(program_readable.RULE, hidden, code__bin="x"))
    assert found.verdict == "REVIEW" and "line 2" in found.message
    late = only(ask(program_readable.RULE, PROGRAM + "\nexec(open('late.txt').read())\n"))
    assert late.verdict == "REVIEW" and late.line == PROGRAM.count("\n") + 2


@pytest.mark.parametrize(
    "line", ["import nowhere_to_be_found", "from scipy.stats import norm", "import mlx.core as mx"]
)
def test_an_import_that_nothing_brings_is_told(ask: Ask, line: str) -> None:
    found = only(ask(imports_resolve.RULE, f"{line}\n{PROGRAM}"))
    assert (found.verdict, found.profile, found.line) == ("REVIEW", "both", 1)


def test_an_import_that_is_guarded_declared_or_shipped_is_not_missing(ask: Ask) -> None:
    guarded = "try:\n    import scipy\nexcept ImportError:\n    scipy = None\n"
    assert only(ask(imports_resolve.RULE, guarded + PROGRAM)).verdict == "PASS"
    declared = "# for the fit\nSciPy>=1.11\nhttps://example.org/flash_attn_3-3.0.0-cp39-abi3-linux_x86_64.whl\n"
    program = f"import scipy, flash_attn_interface\n{PROGRAM}"
    assert only(ask(imports_resolve.RULE, program, requirements__txt=declared)).verdict == "PASS"
    local = only(ask(imports_resolve.RULE, f"import tilt\n{PROGRAM}", tilt__py="x = 1\n"))
    assert (local.verdict, local.profile) == ("REVIEW", "strict")


def test_a_second_file_of_code_is_told(ask: Ask) -> None:
    found = only(ask(code_in_one_file.RULE, f"import tilt\n{PROGRAM}", tilt__py="import ctypes\nlib = 'tilt.c'\n"))
    assert (found.verdict, found.file) == ("REVIEW", "tilt.py")
    both = ask(code_in_one_file.RULE, f"import tilt\n{PROGRAM}", tilt__py="lib = 'tilt.c'\n", tilt__c="int x;\n")
    assert [one.file for one in both] == ["tilt.py", "tilt.c"]


def test_a_program_that_trains_nothing_is_told(ask: Ask) -> None:
    sketch = "import torch\n\ndef main():\n    # to be written\n    pass\n\nmain()\n"
    found = ask(program_trains.RULE, sketch)
    assert [one.line for one in found] == [3, None] and {one.verdict for one in found} == {"REVIEW"}


def test_places_of_a_machine_are_told(ask: Ask) -> None:
    scratch = only(ask(paths_inside.RULE, f"x = f'/tmp/counter_{{1}}'\n{PROGRAM}"))
    assert (scratch.verdict, scratch.profile, scratch.line) == ("REVIEW", "strict", 1)
    home = only(ask(paths_inside.RULE, f"x = '/workspace/data/fineweb'\n{PROGRAM}"))
    assert (home.verdict, home.profile) == ("REVIEW", "both")
    for harmless in ("/", "/val", "a/b", "/dev/null", "~", "// a comment", "/=", "https://example.org/tmp"):
        assert only(ask(paths_inside.RULE, f"x = {harmless!r}\n{PROGRAM}")).verdict == "PASS", harmless


@pytest.mark.parametrize(
    "line",
    [
        "import requests",
        "from urllib.request import urlopen",
        "from huggingface_hub import hf_hub_download as h; h('a', 'b')",
        "import subprocess as s; s.run(['curl', 'x'])",
        "__import__('urllib.request').request.urlopen('x')",
        "import socket; socket.create_connection(('x', 1))",
        "from kernels import get_kernel; get_kernel('a/b')",
    ],
)
def test_connections_are_told(ask: Ask, line: str) -> None:
    found = ask(no_network.RULE, f"{line}\n{PROGRAM}")
    assert found and {one.verdict for one in found} == {"REVIEW"} and found[0].line == 1


def test_commands_that_nobody_mentions_are_told(ask: Ask) -> None:
    program = f"import subprocess\nsubprocess.run(['/usr/bin/lrzip', '-z'])\nsubprocess.run(['nvidia-smi'])\n{PROGRAM}"
    found = only(ask(commands_declared.RULE, program))
    assert (found.verdict, found.line) == ("REVIEW", 2) and "lrzip" in found.message
    assert only(ask(commands_declared.RULE, program, README__md="apt install lrzip\n")).verdict == "PASS"


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch.load('x')",
        "import pickle as p; p.loads(b'')",
        "import numpy; numpy.load('x', allow_pickle=True)",
    ],
)
def test_pickles_are_told(ask: Ask, line: str) -> None:
    found = only(ask(safe_loading.RULE, f"{line}\n{PROGRAM}"))
    assert (found.verdict, found.profile, found.line) == ("REVIEW", "strict", 1)
