"""Line charts: round numbers at the axes, every point in its place."""

import re

import pytest

from luthier.recipes.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, line_chart, smooth, ticks


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0.45, 2.51, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 7.0, [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0]),
        (5.0, 5.0, [5.0, 6.0]),
    ],
)
def test_ticks_are_round_and_enclose_what_is_drawn(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


def test_steps_are_counted_in_whole_numbers():
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]


def test_smoothing_takes_the_mean_of_a_value_and_its_neighbours():
    """Window 3 of 1, 3, 8: (1 + 3) / 2, (1 + 3 + 8) / 3, (3 + 8) / 2."""
    assert smooth([1, 3, 8], 3) == [2, 4, 5.5]


def test_the_first_and_the_last_point_lie_in_the_corners():
    """From (0, 1) to (10, 0): from the top left to the bottom right of the axes."""
    chart = line_chart([Line("falling", ((0, 1), (10, 0)), "held-out")], "Loss", "step")
    assert f'points="{LEFT}.0,{TOP}.0 {WIDTH - RIGHT}.0,{HEIGHT - BOTTOM}.0"' in chart


def test_a_share_has_percent_at_its_axis():
    chart = line_chart([Line("held-out", ((0, 0.2), (10, 0.6)), "held-out", dots=True)], "Accuracy", "step", as_share=True)
    assert re.findall(r'text-anchor="end">([^<]+)<', chart) == ["20 %", "30 %", "40 %", "50 %", "60 %"]
    assert "held-out, step 10: 60.0 %" in chart


def test_a_chart_of_one_point_or_none():
    assert line_chart([Line("alone", ((0, 2.5),), "held-out", dots=True)], "Loss", "step").count("<circle") == 1
    assert line_chart([Line("nothing", (), "raw")], "Loss", "step") == ""
