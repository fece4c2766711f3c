"""A user's own function as a reward, right and wrong; and how every reward's numbers are checked."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import GradingError, SettingsError
from luthier.rewards.base import Judged, Reward
from luthier.rewards.deadline import TooLate, within
from luthier.rewards.load import reward
from luthier.rewards.scored import scores_of
from luthier.spec.base import Component
from luthier.spec.rows import Message

PROMPT = (Message("system", "Be brief."), Message("user", "2 + 2?"))
ANSWERS = [Judged(PROMPT, "4", {"answer": "4"}), Judged(PROMPT, "5", {"answer": "4"})]

Write = Callable[..., Reward[Any]]


@pytest.fixture
def mine(tmp_path: Path) -> Write:
    """Writes mine.py and loads a function of it."""

    def write(source: str, function: str = "score", **settings: Any) -> Reward[Any]:
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        return reward(Component.model_validate({"name": f"{tmp_path}/mine.py:{function}", **settings}))

    return write


def test_one_answer_at_a_time(mine: Write):
    own = mine("def score(prompt, answer, item): return float(answer == item['answer']) + (prompt[1]['content'] == '2 + 2?')")
    assert scores_of(own, ANSWERS, "mine").tolist() == [2, 1]


def test_all_at_once_with_settings(mine: Write):
    source = "def rate(prompts, answers, items, scale=1):\n    return [scale * len(a) + len(p) for p, a, _ in zip(prompts, answers, items)]"
    assert scores_of(mine(source, "rate", scale=10), ANSWERS, "mine").tolist() == [12, 12]


def test_numbers_of_any_kind(mine: Write):
    assert scores_of(mine("import numpy as np\ndef score(prompt, answer, item): return np.float32(0.5)"), ANSWERS, "m").dtype == np.float64
    assert scores_of(mine("def score(prompt, answer, item): return True"), ANSWERS, "m").tolist() == [1, 1]
    many = "import numpy as np\ndef score(prompts, answers, items): return np.arange(len(answers))"
    assert scores_of(mine(many), ANSWERS, "m").tolist() == [0, 1]


def test_it_cannot_change_the_row(mine: Write):
    own = mine("def score(prompt, answer, item):\n    item['answer'] = 'x'\n    return 0")
    scores_of(own, ANSWERS, "mine")
    assert ANSWERS[0].item == {"answer": "4"}


@pytest.mark.parametrize(
    "source, said",
    [
        ("def score(prompt, answer, item): return 1 / 0", r"raised ZeroDivisionError: division by zero \(.*mine.py:1\)"),
        ("def score(prompt, answer, item): return item['reference']", r"raised KeyError: 'reference' \(.*mine.py:1\)"),
        (
            "def score(prompt, answer, item): return float('nan')",
            "is nan for 2 of 2 answers, first for “4”. Give every answer a finite number",
        ),
        ("def score(prompt, answer, item): return float('-inf')", "is -inf for 2 of 2 answers"),
        ("def score(prompt, answer, item): return None", "returned None where a number is expected"),
        ("def score(prompt, answer, item): return 'good'", "returned str 'good' where a number is expected"),
        ("def score(prompt, answer, item): return [1, 2]", r"returned an array of shape \(2, 2\) for 2 answers"),
        ("def score(prompts, answers, items): return [1]", "returned 1 number for 2 answers. It must return one number for each"),
        ("def score(prompts, answers, items): return 1", "returned one number for 2 answers"),
        ("def score(prompts, answers, items): return [1, None]", "returned None where a number is expected"),
        ("def score(prompts, answers, items): return [1, [2, 3]]", "It must return one number for each"),
        ("def score(prompts, answers, items): return {1: 2}", "returned dict {1: 2} where a number is expected"),
    ],
)
def test_what_is_no_score_is_a_sentence(mine: Write, source: str, said: str):
    with pytest.raises(GradingError, match=said):
        scores_of(mine(source), ANSWERS, "mine")


@pytest.mark.parametrize("loop", ["while True: pass", "time.sleep(60)", "re.match('(a+)+$', 'a' * 40 + 'b')"])
def test_one_that_hangs_is_stopped(mine: Write, loop: str):
    own = mine(f"import re, time\ndef score(prompt, answer, item):\n    {loop}")
    began = time.monotonic()
    with pytest.raises(
        GradingError, match=r"`mine` took longer than 0\.2 s for 2 answers\. Make it faster, or allow it more with `time_limit_s`"
    ):
        scores_of(own, ANSWERS, "mine", time_limit_s=0.2)
    assert time.monotonic() - began < 30


def test_one_that_swallows_exceptions_is_stopped(mine: Write):
    own = mine(
        "def score(prompt, answer, item):\n    while True:\n        try:\n            while True: pass\n        except Exception: pass"
    )
    with pytest.raises(GradingError, match="took longer"):
        scores_of(own, ANSWERS, "mine", time_limit_s=0.2)


@pytest.mark.parametrize(
    "source, function, settings, said",
    [
        ("def scor(prompt, answer, item): return 1", "score", {}, "has no function `score`. Did you mean `scor`"),
        ("x = 1", "score", {}, "has no function `score`."),
        ("score = 1", "score", {}, "has no function `score`."),
        (
            "def score(completions, **kwargs): return 1",
            "score",
            {},
            r"takes \(completions, kwargs\). A reward takes \(prompt, answer, item\)",
        ),
        (
            "def score(prompt, answer, item): return 1",
            "score",
            {"strict": True},
            "`strict` is not a setting of .* whose further parameters are none",
        ),
        ("def score(prompt, answer, item, strict): return 1", "score", {}, "needs the setting `strict`"),
        ("def score(prompt answer)", "score", {}, "mine.py:1: this is not valid Python"),
        ("1 / 0", "score", {}, "could not be imported: ZeroDivisionError"),
    ],
)
def test_what_is_no_reward_is_refused_when_it_is_loaded(mine: Write, source: str, function: str, settings: dict[str, Any], said: str):
    with pytest.raises(SettingsError, match=said):
        mine(source, function, **settings)


def test_no_such_file():
    with pytest.raises(SettingsError, match=r"There is no file nowhere\.py"):
        reward(Component(name="./nowhere.py:score"))


def test_a_file_with_a_reward_of_ones_own(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from luthier.rewards.base import Reward\n"
        "from luthier.spec.base import Spec\n"
        "class Config(Spec):\n"
        "    size: int = 2\n"
        "    '''How large.'''\n"
        "class Mine(Reward[Config]):\n"
        "    def score(self, answers): return np.full(len(answers), self.config.size, dtype=float)\n",
        encoding="utf-8",
    )
    name = str(tmp_path / "mine.py")
    assert reward(Component.model_validate({"name": name, "size": 3})).score(ANSWERS).tolist() == [3, 3]
    with pytest.raises(SettingsError, match=r"`reward\.siz` is not a setting\. Did you mean `reward\.size`"):
        reward(Component.model_validate({"name": name, "siz": 3}))


def test_a_time_limit_in_a_thread():
    """Where signals do not reach: the call is left behind."""
    results: list[object] = []

    def run() -> None:
        results.append(within(5, lambda: 7))
        for call in (lambda: time.sleep(2), lambda: 1 / 0):
            try:
                within(0.05, call)
            except (TooLate, ZeroDivisionError) as error:
                results.append(type(error).__name__)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [7, "TooLate", "ZeroDivisionError"]


def test_a_time_limit_leaves_other_alarms_as_they_were():
    import signal

    before, left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]
    assert within(5, lambda: 7) == 7
    assert signal.getsignal(signal.SIGALRM) is before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) is (left > 0)
