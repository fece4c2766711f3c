"""A run that began with relative paths and arguments of the chat template is used from another folder as it was trained."""

import json
import os
import signal
from pathlib import Path

import pytest

from luthier.engine.report import Silent
from luthier.errors import TemplateError
from luthier.recipes.assistant import open_assistant
from luthier.recipes.comparison import compare
from luthier.recipes.demo import QUESTIONS
from luthier.recipes.merge import merge
from luthier.recipes.page import write_page
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.recipes.verify import verify
from luthier.spec.load import load_run
from luthier.spec.rows import Message
from luthier.testing import CHAT_TEMPLATE, toy_conversations, toy_model, write_jsonl

THINKING = CHAT_TEMPLATE.replace(
    "{{ '<|assistant|>' }}{% endif -%}", "{{ '<|assistant|>' }}{% if quiet is defined and quiet %}{{ '(quiet)' }}{% endif %}{% endif -%}"
).replace("{{- '<|assistant|>' -}}", "{{- '<|assistant|>' -}}{%- if quiet is defined and quiet %}{{ '(quiet)' }}{% endif -%}")
QUESTION = [Message("user", "Count from 2.")]


@pytest.fixture(scope="module")
def begun_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained by relative paths from a folder that is not the current one any more."""
    home = tmp_path_factory.mktemp("home")
    toy_model(home / "toy", chat_template=THINKING)
    write_jsonl(home / "rows.jsonl", toy_conversations(8))
    (home / "mine.yaml").write_text("{model: {path: toy, template_arguments: {quiet: true}}, data: {train: rows.jsonl}, out: run}")
    before = Path.cwd()
    try:
        os.chdir(home)
        settings = ["train.dtype=float32", "train.max_steps=2", "evaluation.prompts=[]", "checkpoints.every=1"]
        return Run(train(load_run("mine.yaml", settings)).path.absolute())
    finally:
        os.chdir(before)


def test_its_settings_hold_from_anywhere(begun_elsewhere: Run):
    spec, home = load_run(str(begun_elsewhere.path / "run.yaml")), begun_elsewhere.path.parent
    assert (spec.model.path, spec.data.train[0].path, spec.out) == (f"{home}/toy", f"{home}/rows.jsonl", f"{home}/run")
    assert begun_elsewhere.record["model"]["path"] == f"{home}/toy"
    base = json.loads((begun_elsewhere.path / "adapter/adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == f"{home}/toy"


def test_it_is_verified_from_anywhere(begun_elsewhere: Run):
    checks = list(verify(begun_elsewhere.path))
    assert [check.what for check in checks if check.outcome != "same"] == []
    assert checks[-1].what == "replay"


def test_the_arguments_of_its_template_hold_for_run_and_merged_model(begun_elsewhere: Run, tmp_path: Path):
    merge(begun_elsewhere.path, tmp_path / "merged")
    for name in (str(begun_elsewhere.path), str(tmp_path / "merged")):
        assistant = open_assistant(name)
        prompt = assistant.renderer.tokenizer.decode(assistant.prompt_ids(QUESTION))
        assert prompt.endswith("<|assistant|>(quiet)"), name
    base = open_assistant(str(begun_elsewhere.path.parent / "toy"))
    assert base.renderer.tokenizer.decode(base.prompt_ids(QUESTION)).endswith("<|assistant|>")


def test_an_argument_that_the_template_does_not_read_is_refused_before_the_model_loads(begun_elsewhere: Run, tmp_path: Path):
    spec = load_run(str(begun_elsewhere.path / "run.yaml"), [f"out={tmp_path / 'new'}", "model.template_arguments.quite=true"])
    with pytest.raises(TemplateError, match=r"`model\.template_arguments\.quite` has no effect.*Did you mean `quiet`"):
        train(spec)


class _InterruptAt(Silent):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        if metrics["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_was_paused_has_its_answers_once_it_is_resumed(toy_folder: Path, tmp_path: Path):
    rows = write_jsonl(tmp_path / "rows.jsonl", toy_conversations(8))
    small = [f"model={toy_folder}", f"data.train=[{rows}]", "train.max_steps=3", "train.batch_size=4", "train.dtype=float32"]
    asked = ["evaluation.max_new_tokens=4", f"evaluation.compare={json.dumps(QUESTIONS)}", f"out={tmp_path / 'run'}"]
    paused = train(load_run(None, [*small, *asked], method="sft"), _InterruptAt(1))
    write_page(paused.path)
    assert paused.record["status"] == "paused"
    assert not (paused.path / "comparison.jsonl").exists()
    done = resume(paused.path)
    assert done.record["status"] == "succeeded"
    questions = [json.loads(line)["question"] for line in (done.path / "comparison.jsonl").read_text().splitlines()]
    assert questions == list(QUESTIONS)
    assert questions[0] in (done.path / "index.html").read_text()


def test_answers_that_a_kill_took_are_made_good(begun_elsewhere: Run):
    """A finished run whose comparison is missing gets it from `resume`; without questions there is none."""
    resume(begun_elsewhere.path)
    assert not (begun_elsewhere.path / "comparison.jsonl").exists()
    (line,) = compare(begun_elsewhere.path, ["Count from 3."])
    assert line["question"] == "Count from 3."
    assert line["base"] is not None and line["tuned"] is not None
    (begun_elsewhere.path / "comparison.jsonl").unlink()
