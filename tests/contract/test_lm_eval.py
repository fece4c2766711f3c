"""lm-eval asks the server what it asks a model in its own process, and measures the same: `make clients` installs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tests.conftest import ROOT
from tests.contract.conftest import Served, pointed_at
from tests.contract.programs import PROGRAMS, environment, last_line, out_of

import luthier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STARTER = Path(luthier.__file__).parent / "starter"
STORIES = Path(os.environ.get("LUTHIER_SHARED") or ROOT.parent / "shared") / "models" / "tinystories-instruct-3m-chat"
"""Of the shared folder, and of another family: GPT-Neo."""


def float32_starter(folder: Path) -> Path:
    """The starter model saved in float32, which is then what every machine computes it in."""
    shutil.copytree(STARTER, folder)
    weights = {name: weight.float() for name, weight in load_file(STARTER / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((STARTER / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What lm-eval measured of each task and model, all in one process of its own: its imports take longer than its questions."""
    python, folder = environment("lm-eval") / "bin" / "python", tmp_path_factory.mktemp("lm-eval")
    starter = float32_starter(folder / "starter-float32")
    wanted = {f"{what} starter": starter for what in ("choices bos", "choices bare", "answers bare")}
    if STORIES.is_dir():
        wanted["choices bare stories"] = STORIES
    for model in {*wanted.values()}:
        add = [sys.executable, "-m", "luthier.cli", "models", "add", str(model), "--home", str(served.home)]
        subprocess.run(add, check=True, capture_output=True)
    asked = json.dumps({what: (str(model), model.name) for what, model in wanted.items()})
    return last_line(out_of(python, PROGRAMS / "lm_eval_figures.py", asked, env=pointed_at(served, folder), cwd=PROGRAMS / "tasks"))


@pytest.mark.parametrize("what", ["choices bos starter", "choices bare starter", "choices bare stories"])
def test_endings_are_as_likely_as_in_process(measured: dict[str, Any], what: str):
    """`local-completions` reads log-probabilities out of the echo of prompt and ending: 20 questions, with BOS and without."""
    if what not in measured:
        pytest.skip(f"{STORIES} is missing; it is one of the models that the repository does not ship. Set LUTHIER_SHARED.")
    mine, served = measured[what]["in_process"], measured[what]["served"]
    assert served["figures"] == mine["figures"] and len(mine["rows"]) == 20
    for ours, theirs in zip(served["rows"], mine["rows"], strict=True):
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
        assert [one for one, _ in ours] == pytest.approx([other for other, _ in theirs], abs=1e-3)
    if "starter" in what:
        assert 0 < mine["figures"]["acc,none"] < 1 and any(greedy for row in mine["rows"] for _, greedy in row)


def test_chats_are_answered_as_in_process(measured: dict[str, Any]):
    """`local-chat-completions`: the server renders the chat, in-process the model's own template does."""
    mine, served = measured["answers bare starter"]["in_process"], measured["answers bare starter"]["served"]
    assert served == mine and len(mine["rows"]) == 12 and len({row[0] for row in mine["rows"]}) > 6
    assert 0 < mine["figures"]["exact_match,none"] < 1
