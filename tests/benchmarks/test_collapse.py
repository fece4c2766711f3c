"""One seed of the benchmark of the alarm, from demonstrations to the run that is stopped, and to the one that is not."""

from pathlib import Path

import pytest

from benchmarks import collapse


def found(lost: float, sound: bool, alarm: str) -> dict[str, object]:
    return {
        "reward": "sound" if sound else "loves length",
        "method": "grpo",
        "answers": 128,
        "learning_rate": 1e-4,
        "seed": 0,
        "correlation_in_first_lot": -0.3,
        "alarm": alarm,
        "lots": 5,
        "lost": lost,
        "answer_tokens": [50.0, 60.0],
    }


def test_the_table_says_who_was_stopped_in_time():
    """Of three that love length one is stopped in time, one too late, one not at all."""
    rows = [found(0.1, False, "it rises"), found(0.4, False, "it rises"), found(0.5, False, ""), found(-0.2, True, "")]
    assert collapse.summary(rows) == (
        "1 of 3 that love length were stopped before 0.25 of a deviation was lost (0.33 on average); 0 of 1 sound ones raised an alarm."
    )
    assert collapse.table(rows).splitlines()[2] == "| loves length | grpo | 128 | 0.0001 | 0 | -0.30 | 5 | +0.10 | 50 → 60 |"
    assert "none in 5" in collapse.table(rows)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_reward_model_that_loves_length_is_caught_and_a_sound_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Minutes: the bundled model is tuned, answers, two reward models learn from rankings of the answers, and the model from each."""
    monkeypatch.setattr(collapse, "CACHE", tmp_path)
    options = collapse.options_of(["--method", "grpo"])
    planted = collapse.measure("loves length", 0, options)
    assert planted["alarm"] and planted["lost"] < collapse.MOST_LOST
    assert not collapse.measure("sound", 0, options)["alarm"]
