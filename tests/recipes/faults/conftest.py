"""A bench: a copy of the toy model, real rows, and a run file, into which a fault is put before the command line is asked."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.cli.main import main
from luthier.testing import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "src/luthier/recipes/demo_data/loan_support_train.jsonl"
FAST = {"train": {"max_steps": 1, "batch_size": 4, "dtype": "float32"}, "evaluation": {"prompts": []}}


class Found(dict[str, dict[str, Any]]):
    """Code → finding."""

    def __missing__(self, code: str) -> dict[str, Any]:
        pytest.fail(f"{code} is not named, but {[(each['code'], each['message']) for each in self.values()]}")


class Bench:
    """`model`, `data`: to be broken. `settings`: of the run file, over those of a quick run."""

    def __init__(self, folder: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capfd = folder, capfd
        self.model = Path(shutil.copytree(model, folder / "model"))
        self.data = folder / "rows.jsonl"
        self.rows = [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()[:40]]
        self.out = folder / "run"
        self.settings: dict[str, Any] = {}
        self.printed = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.read_text(encoding="utf-8").splitlines()]

    @rows.setter
    def rows(self, rows: Sequence[Any]) -> None:
        write_jsonl(self.data, rows)

    @property
    def template(self) -> str:
        return (self.model / "chat_template.jinja").read_text(encoding="utf-8")

    @template.setter
    def template(self, text: str) -> None:
        (self.model / "chat_template.jinja").write_text(text, encoding="utf-8")

    def change(self, file: str, **values: Any) -> None:
        """Values of one of the model's JSON files."""
        path = self.model / file
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")

    def set(self, key: str, value: Any) -> None:
        """A dotted setting of the run file."""
        group, _, name = key.rpartition(".")
        if group:
            self.settings.setdefault(group, {})[name] = value
        else:
            self.settings[name] = value

    @property
    def run_file(self) -> Path:
        path = self.folder / "run.yaml"
        settings: dict[str, Any] = {"model": {"path": str(self.model)}, "data": {"train": str(self.data)}, "out": str(self.out), **FAST}
        for group, values in self.settings.items():
            settings[group] = {**settings[group], **values} if isinstance(values, dict) and group in settings else values
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def luthier(self, *arguments: str) -> int:
        """The exit code of a command line in this process; what it printed is in `printed`."""
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        said = self.capfd.readouterr()
        self.printed = said.out + said.err
        return int(left.value.code or 0)

    def check(self) -> dict[str, dict[str, Any]]:
        """Code → finding, of `luthier check run.yaml`. Its exit code is 1 exactly where there is an error."""
        code = self.luthier("check", str(self.run_file), "--json")
        try:
            found = json.loads(self.printed)
        except ValueError:
            pytest.fail(f"no JSON: {self.printed}")
        severities = [finding["severity"] for finding in found["findings"]]
        assert code == int("error" in severities) == int(not found["ready"])
        return Found({finding["code"]: finding for finding in found["findings"]})

    def train(self) -> int:
        return self.luthier("train", str(self.run_file))


@pytest.fixture
def bench(roomy_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, roomy_folder, capfd)
