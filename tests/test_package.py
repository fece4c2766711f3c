"""The wheel, built and installed into a clean environment: what comes with `luthier`, and what with `luthier[train]`."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def sh(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the working tree, with the build backend that requirements.lock pins."""
    folder = tmp_path_factory.mktemp("dist")
    done(sh(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT))
    (built,) = folder.glob("luthier-*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which `pip install luthier` is all that was done."""
    folder = tmp_path_factory.mktemp("clean")
    probe = sh(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "probe", "annotated-types")
    if probe.returncode != 0:
        pytest.skip("no package registry can be reached, so there is nothing to install from")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    done(sh(python, "-m", "pip", "install", "--quiet", wheel))
    return python


def installed(python: Path) -> set[str]:
    return {item["name"].lower() for item in json.loads(done(sh(python, "-m", "pip", "list", "--format", "json")))}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"luthier", f"{wheel.name.split('-py3')[0]}.dist-info"}
    tracked = done(sh("git", "ls-files", "--cached", "--others", "--exclude-standard", "src", cwd=ROOT)).split()
    expected = {Path(name).relative_to("src").as_posix() for name in tracked if (ROOT / name).is_file()}
    assert {name for name in names if name.startswith("luthier/")} == expected


def test_the_wheel_says_what_it_is(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(path).decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: torch==2.13.0; extra == 'train'\n" in metadata


def test_plain_install_brings_no_torch(clean: Path):
    assert not installed(clean) & {"torch", "transformers", "peft", "accelerate", "matplotlib"}


def test_plain_install_answers(clean: Path, tmp_path: Path):
    luthier = clean.with_name("luthier")
    assert "doctor" in done(sh(luthier, "--help", cwd=tmp_path))
    assert "pip install 'luthier[train]'" in done(sh(luthier, "doctor", cwd=tmp_path))


def test_ground_floor_and_platform_wing_import_without_torch(clean: Path, tmp_path: Path):
    """Every module of them, found as files, and every command. Migrations are programs of Alembic's, which runs them."""
    program = (
        "import importlib, pathlib, luthier\n"
        "root = pathlib.Path(luthier.__file__).parent\n"
        "rooms = 'errors spec data text graders store jobs feedback api web cli'.split()\n"
        "files = [f for room in rooms for f in [root / f'{room}.py', *(root / room).rglob('*.py')] if f.is_file()]\n"
        "files = [f for f in files if 'migrations' not in f.parts]\n"
        "for file in files: importlib.import_module('luthier.' + '.'.join(file.relative_to(root).with_suffix('').parts))\n"
        "print(len(files))"
    )
    assert int(done(sh(clean, "-c", program, cwd=tmp_path))) > 10


def test_a_training_command_says_what_to_install(clean: Path, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    result = sh(clean.with_name("luthier"), "train", "sft", "--data", "rows.jsonl", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.endswith("pip install 'luthier[train]'\n")


def test_the_train_extra_brings_torch(wheel: Path, clean: Path, tmp_path: Path):
    """The last of the file: from here on the environment is no longer a plain one."""
    done(sh(clean, "-m", "pip", "install", "--quiet", f"{wheel}[train]"))
    packages = json.loads(done(sh(clean.with_name("luthier"), "doctor", "--json", cwd=tmp_path)))["packages"]
    assert packages["torch"].split("+")[0] == "2.13.0"
    assert packages["transformers"].startswith("5.23.")
    assert None not in (packages["safetensors"], packages["matplotlib"], packages["codecarbon"])
