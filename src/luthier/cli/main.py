"""`luthier`: finds the commands as files beside this one, loads only the one that is called, and turns errors into sentences.

A command is one file in this folder. Its name is the file's name, with `-` for `_`; files that begin with `_` are not commands.

    '''Load an adapter into its base and write a plain model.'''       ← line 1 of the docstring: the summary in `luthier --help`
    SECTION = "After a run"                                            ← where it stands there; one of SECTIONS below

    from typing import Annotated
    import typer

    def command(
        run: Annotated[str, typer.Argument(help="A run folder.")],     ← typer's own way to declare what a command takes
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
    ) -> None:
        '''Load an adapter into its base and write a plain model.

        The long text of `luthier merge --help`.
        '''
        from luthier.recipes.merge import merge                        ← heavy imports stand inside: help stays quick

A command with commands of its own (`luthier runs list`) defines `app = typer.Typer(no_args_is_help=True)` instead of `command`.

What it owes the caller: results on stdout, everything else on stderr; with `--json`, one JSON value and nothing else on stdout;
mistakes of the user raised as a `UserError`. What main() makes of what it raises:

    UserError, OSError, KeyboardInterrupt…     one sentence in red on stderr, exit code 1 (130 when interrupted)
    a missing optional package                 the same, with the `pip install` that brings it
    wrong options and arguments                one sentence and where the help is, exit code 2
    anything else                              a fault of this program: the traceback, exit code 1
    any of them under --debug                  the traceback

An `int` that a command returns is its exit code.
"""

import ast
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from luthier.errors import SettingsError, UserError

SECTIONS = ("Start here", "Train", "After a run", "Platform", "More")
"""The order of the sections in `luthier --help`. A command that names none stands in the last."""

SEVERAL = ("train", "resume")
"""Commands that several processes may run together."""

_FOLDER = Path(__file__).resolve().parent


class CommandFile(NamedTuple):
    """What `--help` says about a command, read from its file without running it."""

    name: str
    module: str
    summary: str
    section: str


def command_files(folder: Path = _FOLDER) -> list[CommandFile]:
    """Every command in `folder`, by section, then by name."""
    files = [_read(path) for path in folder.glob("*.py") if not path.name.startswith("_") and path.stem != "main"]
    return sorted(files, key=lambda file: (SECTIONS.index(file.section), file.name))


def _read(path: Path) -> CommandFile:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    section = SECTIONS[-1]
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name):
            section = str(node.value.value) if node.targets[0].id == "SECTION" else section
    assert section in SECTIONS, f"{path}: SECTION is one of {SECTIONS}"
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return CommandFile(path.stem.replace("_", "-"), f"luthier.cli.{path.stem}", summary, section)


def build_app(called: str | None) -> typer.Typer:
    """The whole command line, in which only the command `called` is loaded; of the others just name and summary are there."""
    app = typer.Typer(name="luthier", add_completion=False, pretty_exceptions_enable=False)
    app.callback()(luthier)
    for file in command_files():
        panel = file.section
        if file.name != called:
            app.command(file.name, help=file.summary, rich_help_panel=panel)(_not_loaded)
            continue
        module = importlib.import_module(file.module)
        if hasattr(module, "app"):
            app.add_typer(module.app, name=file.name, help=file.summary, rich_help_panel=panel)
        else:
            app.command(file.name, rich_help_panel=panel)(module.command)
    return app


def _not_loaded() -> None:
    raise AssertionError("only the command that is called may run")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"luthier {version('luthier')}")
        raise typer.Exit


def luthier(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    """Fine-tune open language models on your own hardware."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name). Returns the exit code; errors are raised."""
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    if os.environ.get("WORLD_SIZE", "1") != "1" and called not in SEVERAL:
        raise SettingsError(f"`luthier {called}` works in one process: start it without torchrun. Several can {' and '.join(SEVERAL)}.")
    app = build_app(called)
    result: Any = app(args=list(arguments) or ["--help"], prog_name="luthier", standalone_mode=False)
    return result if isinstance(result, int) else 0


def main(arguments: Sequence[str] | None = None, run: Callable[[Sequence[str]], int] = run) -> None:
    """Entry point of the console script: runs `arguments` (default: the process's own) and exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = run([argument for argument in given if argument != "--debug"])
        sys.stdout.flush()  # here, where a reader that went away can still be handled
        sys.exit(code)
    except BrokenPipeError:  # `| head` has seen enough: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it flushes at exit
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        sentence, code = explain(error)
        if debug or sentence is None:
            raise
        if sentence:
            typer.secho(sentence, fg=None if os.environ.get("NO_COLOR") else typer.colors.RED, err=True)
        sys.exit(code)


def explain(error: BaseException) -> tuple[str | None, int]:
    """The sentence to print instead of a traceback (None: a fault of this program), and the exit code."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "Interrupted.", 130
    if isinstance(error, UserError):
        return str(error), 1
    if isinstance(error, typer.TyperException):  # from parsing the command line
        return _usage_sentence(error), error.exit_code
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error), 1
    if isinstance(error, OSError):
        return _system_sentence(error), 1
    return None, 1


def _usage_sentence(error: typer.TyperException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or not message:  # a group called without a command has printed its help already
        return message
    stop = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{stop} See `{context.command_path} --help`."


def _missing_package(error: ModuleNotFoundError) -> str | None:
    """Names the extra that brings the package; None for a package that no extra brings."""
    from importlib.metadata import PackageNotFoundError, requires

    package = (error.name or "").partition(".")[0]
    try:
        requirements = requires("luthier") or []
    except PackageNotFoundError:
        return None
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        if "extra ==" in marker and name.strip().lower().startswith(package.lower()):
            extra = marker.split("extra ==")[1].strip(" '\")")
            return f"This needs the package {package}, which is not installed. Install it with: pip install 'luthier[{extra}]'"
    return None


def _system_sentence(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    what = error.strerror or str(error) or type(error).__name__
    return f"{where}{what[0].lower() if where else what[0].upper()}{what[1:]}. Run again with --debug to see where."
