"""The shell of the command line: commands are files, errors are sentences, nothing heavy is loaded for help."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from luthier.cli.main import SECTIONS, command_files, explain, main, run
from luthier.errors import DataError

EXECUTABLE = [sys.executable, "-c", "from luthier.cli.main import main; main()"]


def luthier(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EXECUTABLE, *arguments], capture_output=True, text=True, check=False, **options)


def exit_of(arguments: list[str], body) -> int:
    """The exit code of main() around a command that does `body`."""
    with pytest.raises(SystemExit) as left:
        main(arguments, run=body)
    return int(left.value.code or 0)


def raising(error: BaseException):
    def body(arguments):
        raise error

    return body


def test_help_names_every_command_and_loads_nothing_heavy():
    program = (
        "import sys\nfrom luthier.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as left: assert not left.code\n"
        "print('loaded', *({'torch', 'transformers', 'pydantic', 'numpy', 'tokenizers', 'pyarrow', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"
    shown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("│") and not line.startswith("│  ")]
    assert [file.name for file in command_files()] == [name for name in shown if not name.startswith("-")]


def test_every_command_file_has_a_summary_and_a_section():
    for file in command_files():
        assert file.summary.endswith("."), file
        assert len(file.summary) <= 100, file
        assert file.section in SECTIONS


@pytest.mark.parametrize("name", [file.name for file in command_files()])
def test_every_command_loads_and_explains_itself(name: str):
    assert run([name, "--help"]) == 0


def test_a_command_is_a_file(tmp_path: Path):
    (tmp_path / "tune_all.py").write_text('"""Tune everything.\n\nAt once."""\nSECTION = "Train"\n', encoding="utf-8")
    (tmp_path / "again.py").write_text('"""Do it again."""\n', encoding="utf-8")
    (tmp_path / "_parts.py").write_text('"""Not a command."""\n', encoding="utf-8")
    (tmp_path / "main.py").write_text('"""Not a command."""\n', encoding="utf-8")
    found = [(file.name, file.summary, file.section) for file in command_files(tmp_path)]
    assert found == [("tune-all", "Tune everything.", "Train"), ("again", "Do it again.", "More")]


def test_no_arguments_print_the_help():
    done = luthier()
    assert (done.returncode, done.stderr) == (0, "")
    assert "luthier [OPTIONS] COMMAND" in done.stdout


def test_version():
    assert luthier("--version").stdout == "luthier 0.1.0\n"


def test_an_unknown_command_gets_the_nearest_and_exit_code_2():
    done = luthier("docter")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "No such command 'docter'. Did you mean 'doctor'? See `luthier --help`.\n"


def test_an_unknown_option_names_the_help_of_its_command():
    done = luthier("doctor", "--jsn")
    assert done.returncode == 2
    assert done.stderr.startswith("No such option: --jsn")
    assert done.stderr.endswith("See `luthier doctor --help`.\n")


def test_a_mistake_of_the_user_is_one_sentence_and_exit_code_1(capsys: pytest.CaptureFixture[str]):
    assert exit_of(["train"], raising(DataError("a.jsonl:3: this row is empty. Leave it out."))) == 1
    assert capsys.readouterr() == ("", "a.jsonl:3: this row is empty. Leave it out.\n")


def test_debug_shows_the_traceback_wherever_it_stands():
    with pytest.raises(DataError, match=r"a\.jsonl"):
        main(["train", "--debug", "sft"], run=raising(DataError("a.jsonl:3: this row is empty.")))


def test_debug_is_kept_from_the_command():
    seen = []
    assert exit_of(["train", "--debug", "sft"], lambda arguments: seen.extend(arguments) or 0) == 0
    assert seen == ["train", "sft"]


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        main(["train"], run=raising(ZeroDivisionError("division by zero")))


def test_an_interrupt_exits_130(capsys: pytest.CaptureFixture[str]):
    assert exit_of(["train"], raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_number_that_a_command_returns_is_its_exit_code():
    assert exit_of(["verify"], lambda arguments: 3) == 3


@pytest.mark.parametrize(
    "error, sentence",
    [
        (OSError(28, "No space left on device", "runs/a/metrics.jsonl"), "runs/a/metrics.jsonl: no space left on device."),
        (PermissionError(13, "Permission denied", "/out"), "/out: permission denied."),
        (OSError("the disk is gone"), "The disk is gone."),
        (typer.Abort(), "Interrupted."),
    ],
)
def test_what_the_system_refuses_is_a_sentence(error: BaseException, sentence: str):
    assert str(explain(error)[0]).startswith(sentence)


@pytest.mark.parametrize("package, extra", [("torch", "train"), ("transformers.models", "train"), ("tensorboard", "report")])
def test_a_missing_optional_package_names_its_install_command(package: str, extra: str):
    sentence, code = explain(ModuleNotFoundError(f"No module named '{package}'", name=package))
    assert (str(sentence).endswith(f"pip install 'luthier[{extra}]'"), code) == (True, 1)


def test_a_missing_module_of_our_own_is_a_fault_of_the_program():
    assert explain(ModuleNotFoundError("No module named 'luthier.nowhere'", name="luthier.nowhere"))[0] is None


def test_a_reader_that_leaves_gets_no_complaint():
    """The pipe is closed before the first byte, as `| head -0` would."""
    process = subprocess.Popen([*EXECUTABLE, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), complaint) == (1, "")
