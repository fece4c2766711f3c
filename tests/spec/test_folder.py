"""The folder is the registry."""

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.errors import SettingsError
from luthier.spec.folder import load, names


def own_file(folder: Path, text: str, name: str = "mine.py") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_names_are_file_names() -> None:
    assert {"chat", "dialogue", "prompt_completion", "text"} <= set(names("luthier.data.formats"))


def test_files_that_are_no_components_are_left_out() -> None:
    assert "lora" in names("luthier.adapters")
    assert not {"__init__", "base", "routing"} & set(names("luthier.adapters"))


def test_a_room_that_is_not_built_yet_is_empty() -> None:
    assert names("luthier.no_such_room") == []


def test_names_are_found_without_importing_anything() -> None:
    code = "import sys; from luthier.spec.folder import names; names('luthier.adapters'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_loads_its_file() -> None:
    assert load("luthier.data.formats", "chat").__name__ == "luthier.data.formats.chat"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        SettingsError, match=r"There is no adapter `lroa`\. Did you mean `lora`\? Known are .*`lora`.*such as `\./lroa\.py`"
    ):
        load("luthier.adapters", "lroa")


def test_a_file_of_ones_own_is_a_component(tmp_path: Path) -> None:
    text = 'from luthier.spec.base import Spec\n\n\nclass Config(Spec):\n    rank: int = 3\n    """How wide."""\n'
    module = load("luthier.adapters", own_file(tmp_path, text))
    assert module.Config().rank == 3
    assert module.Config.model_fields["rank"].description == "How wide."


def test_two_files_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = load("luthier.adapters", own_file(tmp_path / "a", "Config = 1"))
    second = load("luthier.adapters", own_file(tmp_path / "b", "Config = 2"))
    assert (first.Config, second.Config) == (1, 2)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("x = 1", "declares no `Config` at module level"),
        ("def f(:", r":1: this is not valid Python"),
        ("import no_such_module_at_all", "could not be imported: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("1 / 0", "could not be imported: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_component_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load("luthier.adapters", own_file(tmp_path, text))


def test_a_missing_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    own_file(tmp_path, "Config = 1")
    with pytest.raises(SettingsError, match=r"There is no file .*mnie\.py\. Did you mean `.*mine\.py`\?"):
        load("luthier.adapters", str(tmp_path / "mnie.py"))


def test_a_path_that_is_no_python_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"its name must end in `\.py`"):
        load("luthier.adapters", own_file(tmp_path, "Config = 1", "mine.txt"))
