"""`luthier backup` and `luthier restore`: what they say, and to programs."""

import json
from pathlib import Path

import pytest

from luthier.cli.main import run
from luthier.errors import UserError
from luthier.store.blobs import blobs_of
from luthier.store.files import Files
from luthier.store.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A platform with two files."""
    opened = Home(str(tmp_path / "home"))
    for content in (b"a" * 1500, b"b"):
        Files(opened.database, blobs_of(opened)).create("default", "a.txt", "user_data", [content])
    opened.database.close()
    return tmp_path / "home"


def test_there_and_back(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert not run(["backup", str(tmp_path / "b.tar"), "--home", str(home)])
    said = capsys.readouterr().out
    assert f"{tmp_path / 'b.tar'} holds 1 project, 2 files, as of 2" in said
    assert "2 contents of files and models (1.5 kB); every one with its hash" in said
    assert not run(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new")])
    assert f"{tmp_path / 'new'} holds again 1 project, 2 files, as of 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not empty"):
        run(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new")])


def test_for_a_program(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(["backup", str(tmp_path / "b.tar"), "--home", str(home), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["files"] == 2 and told["secret"] is True and told["bytes"] == (tmp_path / "b.tar").stat().st_size
    run(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new"), "--json"])
    assert json.loads(capsys.readouterr().out)["rows"] == told["rows"]


def test_a_secret_from_the_environment_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LUTHIER_SECRET", "s" * 32)
    run(["backup", str(tmp_path / "b.tar"), "--home", str(home)])
    assert "The secret is that of $LUTHIER_SECRET, which is not in it" in capsys.readouterr().out
    monkeypatch.delenv("LUTHIER_SECRET")
    run(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new")])
    assert "set $LUTHIER_SECRET to what it was" in capsys.readouterr().out
