"""A run or model is opened as it was trained: base, adapter, template, type; anything else is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.engine.folder import RunFolder
from luthier.errors import ModelError, RunError, SettingsError, UserError
from luthier.recipes.assistant import Assistant, Sampling, open_assistant
from luthier.spec.rows import Message
from luthier.testing import CHAT_TEMPLATE, toy_model

QUESTION = [Message("user", "Count from 3.")]
SHORT = Sampling(temperature=1.0, max_new_tokens=12)


@pytest.fixture(scope="module")
def assistant(toy_run: Path) -> Assistant:
    return open_assistant(str(toy_run))


@pytest.fixture
def copied(toy_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be changed."""
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


def edit_record(run: Path, change: Callable[[dict], None]) -> None:
    file = RunFolder(run).record_file
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record)
    file.write_text(json.dumps(record), encoding="utf-8")


def set_in_run_file(run: Path, before: str, after: str) -> None:
    text = (run / "run.yaml").read_text(encoding="utf-8")
    assert before in text
    (run / "run.yaml").write_text(text.replace(before, after), encoding="utf-8")


def test_the_adapter_answers_and_the_base_answers_otherwise(assistant: Assistant, toy_run: Path, toy_folder: Path):
    base = open_assistant(str(toy_run), base=True)
    plain = open_assistant(str(toy_folder))
    answers = [a.answer(QUESTION, SHORT).text for a in (assistant, base, plain)]
    assert answers[0] != answers[1]
    assert plain.adapter is None
    assert base.prompt_ids(QUESTION).tolist() == assistant.prompt_ids(QUESTION).tolist()


def test_an_answer_is_the_text_that_came_in_stretches(assistant: Assistant):
    heard: list[str] = []
    answer = assistant.answer(QUESTION, SHORT, on_text=heard.append)
    assert "".join(heard).rstrip() == answer.text
    assert answer.num_tokens <= SHORT.max_new_tokens
    assert answer.finished == (answer.num_tokens < SHORT.max_new_tokens)


def test_the_same_address_draws_the_same_answer_and_another_another(assistant: Assistant):
    first, again, other = (assistant.answer(QUESTION, SHORT, address).text for address in ((1,), (1,), (2,)))
    assert first == again
    assert first != other


def test_it_computes_in_the_type_of_the_run(toy_full_run: Path):
    assistant = open_assistant(str(toy_full_run))
    assert assistant.root.model.dtype == torch.bfloat16
    assert assistant.adapter is None


def test_a_run_that_tuned_the_whole_model_needs_no_adapter(toy_full_run: Path):
    tuned, base = open_assistant(str(toy_full_run)), open_assistant(str(toy_full_run), base=True)
    mine, theirs = (dict(a.root.model.named_parameters()) for a in (tuned, base))
    assert mine.keys() == theirs.keys()
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_another_template_than_in_training_is_refused(copied: Path, tmp_path: Path):
    other = tmp_path / "other.jinja"
    other.write_text(CHAT_TEMPLATE.replace("<|user|>", "<|system|>").replace("tools: ", "tools available: "), encoding="utf-8")
    set_in_run_file(copied, "chat_template: null", f"chat_template: {other}")
    with pytest.raises(RunError, match=r"trained with another template than[^\n]*other\.jinja changed since"):
        open_assistant(str(copied))


def test_another_base_than_in_training_is_refused(copied: Path, toy_folder: Path, tmp_path: Path):
    """One weight of the base is another: the adapter would be added to what it was not trained on."""
    base = Path(shutil.copytree(toy_folder, tmp_path / "base"))
    set_in_run_file(copied, str(toy_folder), str(base))
    open_assistant(str(copied))
    weights = load_file(base / "model.safetensors")
    weights[next(iter(weights))].view(-1)[0] += 1
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"base is not the base model that .* was tuned from"):
        open_assistant(str(copied))


def test_a_paused_run_answers_with_its_newest_weights_and_says_so(copied: Path, assistant: Assistant):
    edit_record(copied, lambda record: record.update(status="paused"))
    shutil.rmtree(copied / "adapter")
    paused = open_assistant(str(copied))
    assert paused.notes == ("This run is paused: its weights are those of step 8.",)
    assert paused.answer(QUESTION, SHORT).text == assistant.answer(QUESTION, SHORT).text


def test_a_whole_model_is_read_from_a_checkpoint_too(toy_full_run: Path, tmp_path: Path):
    run = Path(shutil.copytree(toy_full_run, tmp_path / "run"))
    edit_record(run, lambda record: record.update(status="paused"))
    shutil.rmtree(run / "model")
    paused, done = open_assistant(str(run)), open_assistant(str(toy_full_run))
    theirs = dict(done.root.model.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in paused.root.model.named_parameters())


def test_a_killed_run_is_to_go_on_first(copied: Path):
    RunFolder(copied).record_file.unlink()
    with pytest.raises(RunError, match=rf"did not come to its end\. Go on with it first: luthier resume {copied}"):
        open_assistant(str(copied))


def test_a_run_that_is_training_is_to_be_waited_for(copied: Path):
    RunFolder(copied).record_file.unlink()
    with RunFolder(copied).locked(), pytest.raises(RunError, match="is training now"):
        open_assistant(str(copied))


def test_a_damaged_adapter_is_named(copied: Path):
    (copied / "adapter/adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match=r"adapter is damaged or incomplete .* `luthier verify`"):
        open_assistant(str(copied))


def test_a_conversation_that_fills_the_context_is_a_sentence(assistant: Assistant):
    with pytest.raises(SettingsError, match=r"has 1,004 tokens and the model's context is 512: there is no room"):
        assistant.answer([Message("user", "long " * 200)], SHORT)


def test_an_answer_ends_where_the_context_does(assistant: Assistant):
    prompt = assistant.prompt_ids(QUESTION)
    padded = [Message("user", "Count from 3." + "x" * (512 - len(prompt) - 5))]
    assert assistant.answer(padded, Sampling(temperature=1.0, max_new_tokens=50)).num_tokens <= 5


def test_without_a_template_text_goes_on(tmp_path: Path):
    """The prompt is BOS or nothing, and the text; no end token, after which nothing would follow."""
    assistant = open_assistant(str(toy_model(tmp_path / "bare", chat_template=None)))
    assert not assistant.converses
    ids = assistant.prompt_ids([Message("user", "Once")])
    assert [int(id) for id in ids][-4:] == list(b"Once")
    assert assistant.answer([Message("user", "Once")], Sampling(max_new_tokens=4)).num_tokens <= 4


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("{parent}/tou", r"There is no run or model .*/tou\. Did you mean `toy`\?"),
        ("{run}/adapter", r"is an adapter, .* Give the run's folder: .*/toy\."),
        ("./nowhere", r"There is no model folder nowhere"),
        ("{run}/run.yaml", r"is a file"),
    ],
)
def test_what_cannot_be_opened_is_a_sentence(name: str, sentence: str, toy_run: Path):
    with pytest.raises(UserError, match=sentence):
        open_assistant(name.format(run=toy_run, parent=toy_run.parent))


def test_base_is_for_runs(toy_folder: Path):
    with pytest.raises(SettingsError, match="`--base` is for a run"):
        open_assistant(str(toy_folder), base=True)


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 0}, {"seed": -1}])
def test_sampling_out_of_range_is_refused(settings: dict[str, float]):
    with pytest.raises(SettingsError, match=f"`{next(iter(settings))}` is "):
        Sampling(**settings)  # type: ignore[arg-type]


def test_a_setting_without_effect_is_refused():
    with pytest.raises(SettingsError, match="`top_p` has no effect at temperature 0"):
        Sampling(temperature=0, top_p=0.9)
