"""Curves in a terminal stand where they should."""

from rich.console import Console

from luthier.cli._plot import Line, plot


def drawn(*lines: Line, width: int = 10, height: int = 4) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(plot(lines, width, height))
    rows = capture.get().splitlines()
    margin = min(len(row) - len(row.lstrip()) for row in rows)
    return [row[margin:] for row in rows]


def test_a_falling_line_goes_from_the_upper_left_to_the_lower_right():
    rows = drawn(Line("loss", [(0, 4.0), (10, 1.0)], "blue"))
    curve = [row.partition("┤")[2] or row.partition("│")[2] for row in rows[:4]]
    starts = [len(row) - len(row.lstrip()) for row in curve]
    assert starts == sorted(starts)
    assert (starts[0], len(curve[3])) == (0, 10)


def test_axes_are_labelled_with_the_ends():
    rows = drawn(Line("loss", [(0, 4.0), (10, 1.0)], "blue"))
    assert rows[0].split("┤")[0].strip() == "4"
    assert rows[3].split("┤")[0].strip() == "1"
    assert rows[4].split() == ["0", "10", "step"]
    assert rows[5].split() == ["⠒⠒", "loss"]


def test_two_lines_share_the_axes():
    rows = drawn(Line("a", [(0, 2.0), (4, 2.0)], "blue", dotted=True), Line("b", [(4, 0.0), (8, 0.0)], "red"))
    assert rows[0].split("┤")[0].strip() == "2"
    assert rows[3].split("┤")[0].strip() == "0"
    assert rows[5].split() == ["⠂⠂", "a", "⠒⠒", "b"]


def test_one_point_and_a_flat_line_and_infinity_are_drawn_too():
    assert drawn(Line("a", [(3, 1.0)], "blue"))[0].startswith("1 ┤⠁")
    assert drawn(Line("a", [(0, 1.0), (1, 1.0)], "blue"))[0].startswith("1 ┤⠉")
    assert drawn(Line("a", [(0, 1.0), (1, float("inf"))], "blue"))[0].startswith("1 ┤⠁")
