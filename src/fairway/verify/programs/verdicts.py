"""What reading the programs of a submission answers with yes or no."""

from collections.abc import Iterator

from fairway.verify.programs.effects import Effect, effects
from fairway.verify.programs.imports import Import, imports, packages
from fairway.verify.programs.program import Program
from fairway.verify.submission import Submission

CODE_SUFFIXES = (
    ".py",
    ".c",
    ".cc",
    ".cpp",
    ".cxx",
    ".cu",
    ".cuh",
    ".h",
    ".hpp",
    ".rs",
    ".go",
    ".so",
    ".pyx",
    ".sh",
    ".asm",
)


def verdicts(submission: Submission) -> dict[str, bool | None]:
    """True, false, or None where the question does not arise or cannot be answered."""
    main = submission.programs.main
    if main is None:
        return dict.fromkeys(_NAMES)
    decoded = any(not layer.startswith("open ") for layer in main.layers)
    done = list(running_effects(submission))
    readable = main.tree is not None
    return {
        "script_compiles_py312": _compiles(main.outer_syntax, "3.12"),
        "payload_compiles_py311": _compiles(main.syntax, "3.11") if decoded else None,
        "payload_compiles_py312": _compiles(main.syntax, "3.12") if decoded else None,
        "all_code_in_train_gpt": not code_beside(submission) if readable else None,
        "imports_declared": not any(undeclared(submission)) if readable else None,
        "no_absolute_paths": not any(effect.kind == "absolute" for _, effect in done) if readable else None,
        "no_network": not any(effect.kind == "network" for _, effect in done) if readable else None,
    }


_NAMES = (
    "script_compiles_py312",
    "payload_compiles_py311",
    "payload_compiles_py312",
    "all_code_in_train_gpt",
    "imports_declared",
    "no_absolute_paths",
    "no_network",
)


def external_commands(submission: Submission) -> list[str]:
    """Commands that the running programs start and the image does not have, in alphabetical order."""
    commands = {effect.what for _, effect in running_effects(submission) if effect.kind == "command"}
    return sorted(commands - packages().commands)


def running(submission: Submission) -> tuple[Program, ...]:
    """The main program and what it reaches, as far as it can be read."""
    programs = submission.programs
    if programs.main is None:
        return ()
    reached = (helper for helper in programs.helpers if helper.file in programs.reached)
    return tuple(program for program in (programs.main, *reached) if program.tree is not None)


def running_effects(submission: Submission) -> Iterator[tuple[Program, Effect]]:
    """Every effect of the running programs."""
    for program in running(submission):
        assert program.tree is not None
        for effect in effects(program.tree):
            yield program, effect


def running_imports(submission: Submission) -> Iterator[Import]:
    """Every import of the running programs."""
    for program in running(submission):
        yield from imports(program, submission.tree, submission.requirements)


def undeclared(submission: Submission) -> Iterator[Import]:
    """Imports without which a program ends, and that neither folder, image nor requirements.txt has."""
    for one in running_imports(submission):
        if one.kind in ("missing", "customary") and not one.guarded:
            yield one


def code_beside(submission: Submission) -> tuple[str, ...]:
    """Files of code other than the main program that it imports, opens or executes."""
    main = submission.programs.main
    own = main.file if main is not None else ""
    return tuple(path for path in submission.programs.reached if path != own and path.endswith(CODE_SUFFIXES))


def _compiles(syntax: object, version: str) -> bool | None:
    if not isinstance(syntax, dict) or version not in syntax:
        return None
    return syntax[version] is None
