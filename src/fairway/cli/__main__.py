"""The list of verbs, and what a failure prints and returns.

Exit status: 0 done (or PASS), 1 a verdict of FAIL, 2 something the user can mend, 3 something we must.
A verb's module is imported when it is called: ``fairway check`` never loads torch.
"""

import importlib
import sys
import traceback

import typer

from fairway.errors import FairwayError

VERBS = {
    "recipe": "Show, resolve, compare and list recipes; forecast an artifact's size.",
    "run": "Run a recipe's whole pipeline, here or in a container.",
    "fetch": "Get a corpus and a tokenizer and write official shards.",
    "card": "Describe a folder of shards, and look for validation documents in training.",
    "bundle": "Write a recipe's program as one file, readable and self-extracting.",
    "train": "Train one seed of a recipe.",
    "calibrate": "Gather the Hessians that GPTQ rounds by, from training shards.",
    "rotate-gptq": "Rotate and round the weights.",
    "compress": "Pack the rounded weights into an artifact.",
    "evaluate": "Score an artifact on the validation shards.",
    "verify": "Judge the run of one seed.",
    "figures": "Draw the figures of a recipe's runs.",
    "record": "Assemble the records folder and judge it.",
    "attest": "State where a record comes from, signed where there is a key.",
    "probe": "Prove by running it that an evaluation is legal.",
    "check": "Judge records folders, one's own or a stranger's.",
    "reproduce": "Run a record again, one's own or a stranger's, and report what came out.",
    "doctor": "Tell whether this machine can reproduce a recipe.",
    "watch": "Run a command inside walls, and record its environment and its seconds.",
    "inspect": "Show what an artifact's bytes are spent on.",
}


def build_app(verb: str | None) -> typer.Typer:
    """The command line, with the module of ``verb`` imported and the others as names with a line of help."""
    app = typer.Typer(
        name="fairway",
        help="Train, quantize, compress, evaluate and judge size- and time-capped language models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, line in VERBS.items():
        if name != verb:
            app.command(name, help=line)(_never_called)
            continue
        module = importlib.import_module(f"fairway.cli.{name.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=line)
        else:
            app.command(name, help=line)(module.command)
    return app


def _never_called() -> None:
    raise AssertionError("a verb that was not on the command line was called")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = next((word for word in arguments if not word.startswith("-")), None)
    sys.exit(_status(arguments, verb))


def _status(arguments: list[str], verb: str | None) -> int:
    try:
        status = build_app(verb)(args=arguments, prog_name="fairway", standalone_mode=False)
    except FairwayError as error:
        return _complain(str(error), 2)
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except MemoryError:
        return _complain("out of memory", 2)
    except OSError as error:
        # Disks fill up and files vanish: the user's to mend, and the system's own words name the file.
        return _complain(str(error), 2)
    except Exception as error:  # noqa: BLE001 - the last line of defence turns a bug into exit status 3
        if hasattr(error, "format_message"):  # typer's usage errors share no public base class
            return _complain(error.format_message(), 2)
        traceback.print_exc()
        return _complain(f"internal error: {type(error).__name__}: {error}", 3)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    print(f"fairway: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - this is the command line
    return status


if __name__ == "__main__":
    main()
