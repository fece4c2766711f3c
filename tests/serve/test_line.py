"""Who is next, and when to come back."""

import pytest

from luthier.serve.line import Line, Pace


def test_keys_take_turns_and_each_key_keeps_its_order() -> None:
    line: Line[str] = Line()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.put(item[0], item)
    assert len(line) == 6 and line.first == "a1"
    assert [line.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(line) == 0 and line.first is None


def test_who_has_gone_is_not_waited_for() -> None:
    line: Line[int] = Line()
    for number in range(4):
        line.put("even" if number % 2 == 0 else "odd", number)
    line.drop(lambda number: number in (0, 2))
    assert len(line) == 2 and [line.take(), line.take()] == [1, 3]


def test_the_pace_is_that_of_the_latest_answers() -> None:
    """Eleven answers within 20 s are one each 2 s: five take 10 s."""
    pace = Pace()
    assert pace.seconds_for(5) == 1.0
    for number in range(11):
        pace.ended(100.0 + 2 * number)
    assert pace.seconds_for(5) == pytest.approx(10.0)
    assert (pace.seconds_for(0), pace.seconds_for(1000)) == (1.0, 60.0)
