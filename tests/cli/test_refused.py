"""What cannot be learned from judgements or rewards, typed as a person types it, is refused in a sentence that says what to do."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.testing import toy_conversations, toy_model, write_jsonl

REWARDS = """
import time

def good(prompt, answer, item):
    return len(answer) / 10

def nan(prompt, answer, item):
    return float("nan")

def broken(prompt, answer, item):
    return {}["missing"]

def hangs(prompt, answer, item):
    time.sleep(60)

def one(prompts, answers, items):
    return [1.0]

def text(prompt, answer, item):
    return "good"

def prints(prompt, answer, item):
    print("PRINTED")
    return len(answer) / 10
"""

PAIR = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
ROWS: dict[str, list[Any]] = {
    "prompts": [{"prompt": f"Count from {k}."} for k in range(8)],
    "chat": toy_conversations(4),
    "pairs": [{**PAIR, "prompt": f"Hi {k}"} for k in range(24)],
    "ups": [{"prompt": f"Hi {k}", "completion": f"Hello {k}", "label": True} for k in range(4)],
    "downs": [{"prompt": f"Hi {k}", "completion": f"Hello {k}", "label": False} for k in range(4)],
    "thumbs": [{"prompt": f"Hi {k}", "completion": f"Hello {k}", "label": k % 2 == 0} for k in range(4)],
    "long": [{"prompt": "short"}, {"prompt": "x " * 500}],
    "more-ranks": [{"prompt": "Hi", "answers": ["a", "b"], "ranks": [1, 2]}, {"prompt": "Hi", "answers": ["a", "b"], "ranks": [1, 2, 3]}],
    "names": [{"prompt": "Hi", "answers": ["a", "b"], "ranks": ["b", "c"]}],
    "nought": [{"prompt": "Hi", "answers": ["a", "b"], "ranks": [0, 1]}],
}
TINY = ("train.max_steps=2", "train.batch_size=4", "train.dtype=float32", "optimizer.learning_rate=0.01", "evaluation.prompts=[]")
DRAWS = ("method.rollout.prompts=4", "method.rollout.max_new_tokens=8")

Luthier = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rows, rewards and a model."""
    monkeypatch.chdir(tmp_path)
    for name, rows in ROWS.items():
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    (tmp_path / "mine.py").write_text(REWARDS, encoding="utf-8")
    (tmp_path / "toy").symlink_to(toy_folder)
    return tmp_path


REFUSED = {
    "rankings with a place too many": ("reward_model more-ranks", r"more-ranks\.jsonl:2: there are 2 answers and 3 ranks\. Give each"),
    "rankings that name answers": ("reward_model names", r"names\.jsonl:1: `ranks` is a list of 2; it must be a list of whole numbers"),
    "a place before the first": ("dpo nought", r"nought\.jsonl:1: rank 0 is below 1\. 1 is the best answer"),
    "thumbs up alone": ("kto ups", r"All 4 answers have a thumb up: .* Add some with a thumb down, or imitate them with `method: sft`"),
    "thumbs down alone": ("kto downs", r"All 4 answers have a thumb down: .* or use pairs with `method: dpo`"),
    "beta of dpo": ("dpo pairs method.beta=0", r"`method\.beta` is 0\. It must be a number above 0"),
    "beta of kto": ("kto thumbs method.beta=0", r"`method\.beta` is 0\. It must be a number above 0"),
    "one answer to a prompt": ("grpo prompts method.group=1 reward=./mine.py:good", r"`method\.group` is 1\. .* at least 2"),
    "no reward": ("ppo prompts", r"`ppo` learns from a reward, and none is given\. Name one"),
    "half a reward": ("grpo prompts reward=length", r"give either `target` or `price`"),
    "prompts to imitate": (
        "sft prompts",
        r"prompts\.jsonl:1: this is a prompt without an answer, but `sft` .* draw them with `luthier gen",
    ),
    "conversations as pairs": ("dpo chat", r"chat\.jsonl:1: this is a conversation, but `dpo` .* `chosen` and `rejected`\. .* take `sft`"),
    "a prompt that fills the context": (
        "grpo long reward=./mine.py:good",
        r"long\.jsonl:2: this row has 1\d\d\d tokens, the limit is 504, so",
    ),
    "a check that is the reward": (
        "grpo prompts reward=./mine.py:good check=./mine.py:good",
        r"`check` is the same as `reward` \(`\./mine\.py:good`\)",
    ),
    "a run that is no reward model": (
        "grpo prompts 'reward={name: reward_model, path: toy}'",
        r"toy is no finished run\. Give the folder of a",
    ),
    "nan": ("grpo prompts reward=./mine.py:nan", r"mine\.py:nan` is nan for 32 of 32 answers"),
    "an exception": ("grpo prompts reward=./mine.py:broken", r"mine\.py:broken` raised KeyError: 'missing' \(.*mine\.py:11\)"),
    "a number too few": ("grpo prompts reward=./mine.py:one", r"mine\.py:one` returned 1 number for 32 answers"),
    "a text": ("grpo prompts reward=./mine.py:text", r"mine\.py:text` returned str 'good' where a number is expected"),
    "a reward that hangs": ("grpo prompts 'reward={name: ./mine.py:hangs, time_limit_s: 0.3}'", r"mine\.py:hangs` took longer than 0\.3 s"),
    "a function that is not there": ("grpo prompts reward=./mine.py:goood", r"mine\.py has no function `goood`\. Did you mean `good`"),
}


@pytest.mark.parametrize(("typed", "said"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_a_sentence(typed: str, said: str, luthier: Luthier, place: Path):
    method, rows, *settings = shlex.split(typed)
    draws = DRAWS if method in ("ppo", "grpo") else ()
    code, _, err = luthier("train", method, "--model", "toy", "--data", f"{rows}.jsonl", "--out", "out", *TINY, *draws, *settings)
    assert code == 1
    assert re.search(said, " ".join(err.split())), err
    assert "Traceback" not in err
    assert not Path("out/record.json").exists() or json.loads(Path("out/record.json").read_text(encoding="utf-8"))["status"] == "failed"


def trained(luthier: Luthier, method: str, rows: str, out: str) -> None:
    assert luthier("train", method, "--model", "toy", "--data", f"{rows}.jsonl", "--out", out, *TINY)[0] == 0


def test_a_reward_model_that_nobody_should_trust(luthier: Luthier, place: Path):
    """Of another method, never measured, of another tokenizer: each is another sentence."""
    trained(luthier, "sft", "chat", "sft")
    trained(luthier, "reward_model", "pairs", "rm")

    def asked(model: str, reward: str) -> str:
        code, _, err = luthier(
            "train", "grpo", "--model", model, "--data", "prompts.jsonl", "--out", "out", *TINY, *DRAWS, f"reward={reward}"
        )
        assert code == 1
        return " ".join(err.split())

    assert "is a run of `sft`, which is no reward model" in asked("toy", "{name: reward_model, path: sft}")
    untested = asked("toy", "{name: reward_model, path: rm}")
    assert "is not to be trusted: It was measured on 0 held-out comparisons" in untested
    assert "`accept: true` uses it all the same, and stands in the record" in untested
    assert "with another tokenizer or chat template" in asked("starter", "{name: reward_model, path: rm, accept: true}")


@pytest.mark.parametrize("head", ["BertForMaskedLM", "LlamaForSequenceClassification"])
def test_a_model_that_writes_no_text(head: str, luthier: Luthier, place: Path):
    """An encoder, and a model with a head for rewards: transformers would load the first without a word."""
    folder = toy_model(place / "other")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [head]}), encoding="utf-8")
    settings = (*TINY, *DRAWS, "reward=./mine.py:good")
    code, _, err = luthier("train", "ppo", "--model", str(folder), "--data", "prompts.jsonl", "--out", "out", *settings)
    assert code == 1
    assert f"is a {head}, which does not write text one token after another" in " ".join(err.split())


def test_what_a_reward_prints_is_not_what_a_command_says(luthier: Luthier, place: Path):
    """`--json` is for a program: it prints one value, and the reward's own words go where messages go."""
    settings = (*TINY, *DRAWS, "reward=./mine.py:prints", "--json")
    code, out, err = luthier("train", "grpo", "--model", "toy", "--data", "prompts.jsonl", "--out", "out", *settings)
    assert code == 0
    assert json.loads(out)["status"] == "succeeded"
    assert "PRINTED" in err
