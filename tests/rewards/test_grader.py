"""OpenAI graders as rewards: what an answer's own fault is, and what stops the run."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import GradingError, SettingsError
from luthier.graders import sandbox
from luthier.graders.judge import Question, Reply, SamplingParams
from luthier.rewards.base import Judged
from luthier.rewards.grader import GraderReward
from luthier.rewards.judging import Embedding, LocalJudges
from luthier.rewards.load import reward
from luthier.spec.base import Component

EXACT = {"type": "string_check", "name": "exact", "operation": "eq", "input": "{{sample.output_json.n}}", "reference": "{{item.n}}"}


@contextmanager
def rewarding(grader: dict[str, Any], **settings: Any) -> Iterator[GraderReward]:
    one = reward(Component.model_validate({"name": "grader", "grader": grader, **settings}))
    assert isinstance(one, GraderReward)
    yield one
    one.close()


def python(source: str) -> dict[str, Any]:
    try:
        sandbox.found()
    except GradingError as error:
        pytest.skip(str(error))
    return {"type": "python", "source": source}


def judged(*answers: str, **item: Any) -> list[Judged]:
    return [Judged((), answer, item) for answer in answers]


def test_answers_that_are_no_json_or_lack_a_field_score_nothing():
    with rewarding(EXACT) as one:
        assert one.score(judged('{"n": 7}', '{"n": 8}', "seven", "{}", n=7)).tolist() == [1, 0, 0, 0]
        assert [grading.errors.raised for grading in one.last] == [(), (), ("sample_parse_error",), ("invalid_variable_error",)]


def test_a_field_that_the_rows_do_not_have_stops_the_run():
    with (
        rewarding(EXACT) as one,
        pytest.raises(SettingsError, match=r"`item` has no `n`; it has `m`\. A template names a field that the rows do not have: 2 of 2"),
    ):
        one.score(judged('{"n": 7}', '{"n": 8}', m=7))


def test_a_tool_call_can_be_graded():
    call = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    with rewarding({**EXACT, "input": "{{sample.output_tools[0].function.name}}", "reference": "pay"}) as one:
        assert one.score([Judged((), "", {}, tool_calls=(call,)), Judged((), "", {})]).tolist() == [1, 0]


def test_a_few_failures_score_nothing_and_many_stop_the_run():
    source = "def grade(sample, item): return 1 / int(sample['output_text'])"
    with rewarding(python(source)) as one:
        assert one.score(judged("1", "2", "0")).tolist() == [1, 0.5, 0]
        with pytest.raises(
            GradingError, match=r"2 of 3 answers could not be graded\. The first: The Python grader `python` failed: it raised ZeroD"
        ):
            one.score(judged("1", "0", "0"))
    with rewarding(python(source), most_failures=1) as one:
        assert one.score(judged("0", "0")).tolist() == [0, 0]


def test_limits_are_the_python_graders(tmp_path: Path):
    with rewarding(python("def grade(sample, item):\n    while True: pass"), limits={"time_limit_s": 0.3}, most_failures=1) as one:
        assert one.score(judged("a")).tolist() == [0]
        assert "took longer than 0.3 s" in one.last[0].why


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"grader": {"type": "string_chek"}}, "Did you mean `string_check`"),
        ({"grader": {**EXACT, "operation": "is"}}, '`grader.operation` is "is"'),
        ({"grader": EXACT, "judge_url": {"base_url": "http://127.0.0.1/v1"}}, "`judge_url` has no effect: this grader asks no model"),
        ({"grader": EXACT, "embedding_model": "starter"}, "`embedding_model` has no effect"),
        ({}, r"`reward\.grader` is missing"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], said: str):
    with pytest.raises(SettingsError, match=said):
        reward(Component.model_validate({"name": "grader", **settings}))


def test_cosine_needs_a_model():
    likeness = {"type": "text_similarity", "name": "s", "input": "a", "reference": "b", "evaluation_metric": "cosine"}
    with pytest.raises(SettingsError, match="Name the model that makes them in `embedding_model`"):
        reward(Component.model_validate({"name": "grader", "grader": likeness}))


class TestLocalModels:
    def test_cosine_of_mean_pooled_hidden_states(self, toy_folder: Path):
        """Each text's own mean over the model's last hidden states, computed here once more by transformers alone."""
        import torch
        from transformers import AutoModelForCausalLM

        from luthier.text.tokenizer import Tokenizer

        texts = ["Count from 2.", "2 3 4", "the quick brown fox"]
        found = Embedding(str(toy_folder))(texts)
        model, tokenizer = AutoModelForCausalLM.from_pretrained(toy_folder), Tokenizer.load(toy_folder)
        with torch.no_grad():
            for vector, text in zip(found, texts, strict=True):
                ids = torch.from_numpy(np.asarray(tokenizer.encode(text), dtype=np.int64))[None]
                hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
                assert vector == pytest.approx(hidden.mean(0).numpy(), abs=1e-5)

    def test_texts_without_tokens_and_very_long_ones(self, toy_folder: Path):
        found = Embedding(str(toy_folder))(["", "x" * 5000])
        assert found.shape[0] == 2 and np.isfinite(found).all()

    def test_cosine_as_a_reward(self, toy_folder: Path):
        likeness = {
            "type": "text_similarity",
            "name": "s",
            "input": "{{sample.output_text}}",
            "reference": "{{item.a}}",
            "evaluation_metric": "cosine",
        }
        with rewarding(likeness, embedding_model=str(toy_folder)) as one:
            same, other = one.score(judged("Count from 2.", "zzz", a="Count from 2."))
        assert same == pytest.approx(1) and 0 <= other < same

    def test_a_local_judge_answers_or_says_why_not(self, toy_folder: Path):
        """A question that fills its context is refused, and so is a picture."""
        judge = LocalJudges()
        short, long = (
            Question(
                str(toy_folder), [{"role": "user", "content": text}], "s", {"type": "object"}, SamplingParams(max_completions_tokens=16)
            )
            for text in ("Good?", "x" * 9000)
        )
        picture = Question(str(toy_folder), [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "s", {})
        replies = judge([short, long, picture])
        assert replies[0].tokens > 0 and not replies[0].fault
        assert "and the context of" in replies[1].fault
        assert "parts that are not text" in replies[2].fault
        assert [reply.text for reply in judge([short])] == [replies[0].text]

    def test_a_template_without_a_place_for_the_system_is_told_in_the_first_question(self, toy_folder: Path):
        from dataclasses import replace

        from luthier.rewards.local_model import LocalJudge, LocalModel
        from luthier.text.renderer import Renderer

        template = (
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
            "{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
        )
        model = LocalModel.load(str(toy_folder))
        judge = LocalJudge(replace(model, renderer=Renderer(model.renderer.tokenizer, template)))
        told = [
            {"role": "developer", "content": "Be strict."},
            {"role": "user", "content": "Good?"},
            {"role": "system", "content": "JSON."},
        ]
        (reply,) = judge([Question("x", told, "s", {}, SamplingParams(max_completions_tokens=4))])
        expected = model.renderer.tokenizer.encode("user: Be strict.\n\nJSON.\n\nGood?\nassistant: ")
        assert not reply.fault and len(expected) < reply.tokens <= len(expected) + 4

    def test_a_weak_judge_keeps_to_the_form(self, toy_folder: Path):
        """Held to the schema, weights that were never trained give a label, and the bundled model a score."""
        pytest.importorskip("llguidance")
        told = [{"role": "user", "content": "{{sample.output_text}}"}]
        score = {"type": "score_model", "name": "s", "model": "starter", "input": told, "range": [0, 5]}
        label = {"type": "label_model", "name": "l", "model": str(toy_folder), "input": told, "labels": ["good", "bad"]}
        for grader in (score, {**label, "passing_labels": ["good"]}):
            with rewarding(grader) as one:
                scores = one.score(judged("a", "b"))
                assert [grading.why for grading in one.last] == ["", ""]
                assert ((scores >= 0) & (scores <= 5)).all()

    def test_a_judgement_comes_to_its_end(self):
        """Lists, texts and numbers are bounded so that the result, which comes last, has room within the limit."""
        from luthier.graders.score_model import STEP
        from luthier.rewards.local_model import bounded

        schema = {"type": "object", "properties": {"steps": {"type": "array", "items": STEP}, "result": {"type": "number"}}}
        found = bounded(schema, 512)["properties"]
        assert (found["steps"]["maxItems"], found["steps"]["items"]["properties"]["conclusion"]["maxLength"]) == (2, 64)
        assert found["result"]["multipleOf"] == 0.001
        labels = {"type": "string", "enum": ["a very long label that is one of those there are"]}
        assert bounded(labels, 16) == labels

    def test_without_grammars_a_judge_is_asked_in_words_and_that_is_said_once(
        self, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        monkeypatch.setitem(sys.modules, "llguidance", None)
        judges = LocalJudges()
        few = SamplingParams(max_completions_tokens=8)
        question = Question(str(toy_folder), [{"role": "user", "content": "Good?"}], "s", {"type": "object"}, few)
        first, second = judges([question]), judges([question])
        assert first == second and not first[0].fault
        said = capsys.readouterr().err
        assert said.count("is asked for JSON in words alone") == 1
        assert "pip install 'luthier[grammar]'" in said

    def test_a_judge_that_cannot_be_read_stops_the_run(self, toy_folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "llguidance", None)
        judging = {
            "type": "score_model",
            "name": "s",
            "model": str(toy_folder),
            "input": [{"role": "user", "content": "{{sample.output_text}}"}],
        }
        with rewarding(judging) as one, pytest.raises(GradingError, match="2 of 2 answers could not be graded"):
            one.score(judged("a", "b"))

    def test_each_question_goes_to_the_model_it_names(self):
        class Named:
            def __init__(self, name: str) -> None:
                self.name = name

            def __call__(self, questions: list[Question]) -> list[Reply]:
                return [Reply(f"{self.name} {question.name}") for question in questions]

        judges = LocalJudges()
        judges._judges = {name: Named(name) for name in "ab"}
        asked = [Question(model, [], str(n), {}) for n, model in enumerate("abba")]
        assert [reply.text for reply in judges(asked)] == ["a 0", "b 1", "b 2", "a 3"]


def test_rewards_without_a_model_start_without_torch():
    import subprocess
    import sys

    program = (
        "import json, sys\n"
        "from luthier.rewards.load import reward\n"
        "from luthier.spec.base import Component\n"
        f"reward(Component.model_validate(json.loads({json.dumps({'name': 'grader', 'grader': EXACT})!r})))\n"
        "for settings in ({'name': 'length', 'target': 3}, {'name': 'pattern', 'pattern': 'a'}, {'name': 'json_schema'}):\n"
        "    reward(Component.model_validate(settings))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
