"""Answers to a file of prompts: one line each, in order, into a file that was not there."""

import json
from pathlib import Path

import pytest

from luthier.data.prompts import read_prompts
from luthier.errors import RunError, SettingsError
from luthier.recipes.assistant import Assistant, Sampling, open_assistant
from luthier.recipes.generate import generate
from luthier.testing import write_jsonl

GREEDY = Sampling(temperature=0.0, max_new_tokens=6)


@pytest.fixture(scope="module")
def assistant(toy_run: Path) -> Assistant:
    return open_assistant(str(toy_run))


def test_each_prompt_gets_its_line(assistant: Assistant, toy_rows: Path, tmp_path: Path):
    prompts = read_prompts(str(toy_rows))
    seen: list[int] = []
    done = generate(assistant, prompts, tmp_path / "answers.jsonl", GREEDY, lambda number, answer: seen.append(number))
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert seen == list(range(1, len(prompts) + 1))
    assert [line["messages"][-1]["content"] for line in lines] == [prompt.messages[-1].content for prompt in prompts]
    assert [line["reference"] for line in lines] == [prompt.reference for prompt in prompts]
    assert lines[0]["answer"] == assistant.answer(prompts[0].messages, GREEDY).text
    assert (done.answers, done.tokens) == (len(lines), sum(line["tokens"] for line in lines))
    assert done.finished == sum(line["finished"] for line in lines)


def test_what_was_written_can_be_read_as_prompts_again(assistant: Assistant, toy_rows: Path, tmp_path: Path):
    prompts = read_prompts(str(toy_rows))[:2]
    generate(assistant, prompts, tmp_path / "answers.jsonl", GREEDY)
    assert [p.messages for p in read_prompts(str(tmp_path / "answers.jsonl"))] == [p.messages for p in prompts]


def test_nothing_is_written_over(assistant: Assistant, toy_rows: Path, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is there already, and nothing is written over"):
        generate(assistant, read_prompts(str(toy_rows)), out, GREEDY)
    assert out.read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_not_there_is_a_sentence(assistant: Assistant, toy_rows: Path, tmp_path: Path):
    with pytest.raises(RunError, match="cannot be written"):
        generate(assistant, read_prompts(str(toy_rows)), tmp_path / "no" / "answers.jsonl", GREEDY)


def test_a_prompt_too_long_is_named_and_the_answers_before_it_stay(assistant: Assistant, tmp_path: Path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "Hi"}, {"prompt": "long " * 200}])
    out = tmp_path / "answers.jsonl"
    with pytest.raises(SettingsError, match=r"rows\.jsonl:2: This has .* no room to answer.* holds the 1 answers before it"):
        generate(assistant, read_prompts(str(rows)), out, GREEDY)
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1
