"""The command line as a test types it."""

from typing import Any

import pytest

from luthier.cli.main import main

Result = tuple[int, str, str]


@pytest.fixture
def luthier(capsys: pytest.CaptureFixture[str]):
    """Runs one command line; its exit code, stdout and stderr."""

    def run(*arguments: Any) -> Result:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run
