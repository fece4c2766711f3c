"""A row's tokens in a terminal: by colour, or where there is none by brackets."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from luthier.text.shown import MEANINGS, Part, Shown, Token
from luthier.text.visible import LINE_BREAK, SPACE, TAB, Stretch, stretches

SHADES: dict[str, tuple[str, str]] = {
    "trained": ("#eafbe9 on #1a6b35", "#eafbe9 on #23824a"),
    "context": ("#d8d8d8 on #2f2f2f", "#d8d8d8 on #3d3d3d"),
    "special": ("#f0c674 on #2f2f2f", "#f0c674 on #3d3d3d"),
    "special, trained": ("bold #ffdd77 on #1a6b35", "bold #ffdd77 on #23824a"),
    "dropped": ("strike #ffb3b3 on #6b1a1a", "strike #ffb3b3 on #6b1a1a"),
    "cut": ("#d9c2ff on #4a2a70", "#d9c2ff on #5a3585"),
}
"""Text and background of each kind, in turns, so that tokens can be told apart on dark and light terminals alike."""

BRACKETS: dict[str, tuple[str, str]] = {"trained": ("{+", "+}"), "special": ("⟨", "⟩"), "dropped": ("[-", "-]"), "cut": ("[~", "~]")}
"""Around each kind where there are no colours; what is context stands bare."""

MOST_TOKENS = 3000
"""Of one part of a row that a terminal shows; beyond, its middle is left out."""


def draw(console: Console, rows: Sequence[Shown], model: str, max_length: int) -> None:
    """The rows, each under a heading, and one legend."""
    coloured = is_coloured(console)
    for row in rows:
        _heading(console, row, model, max_length)
        for part in row.parts:
            _part(console, part, coloured)
        for line in (*row.facts, *row.notes):
            console.print(Text(f"· {line}", style="dim"), soft_wrap=not console.is_terminal)
        console.print()
    console.print(legend(coloured), soft_wrap=not console.is_terminal)


def is_coloured(console: Console) -> bool:
    return console.is_terminal and not console.no_color and console.color_system is not None


def legend(coloured: bool) -> Text:
    """Each kind as it looks, and what it means."""
    line = Text()
    for kind, meaning in MEANINGS.items():
        line.append_text(Text(f" {kind} ", style=SHADES[kind][0]) if coloured else Text(_in_brackets(kind, kind)))
        line.append(f" {meaning}   ", style="dim")
    return line.append(f"\n{LINE_BREAK} line break   {SPACE} space at an edge   {TAB} tab", style="dim")


def _heading(console: Console, row: Shown, model: str, max_length: int) -> None:
    line = Text(str(row.origin), style="bold")
    counts = f"  {row.kind}: {row.num_tokens:,} tokens, {row.num_trained:,} learned. {model}, at most {max_length:,} a row"
    console.print(line.append(counts, style="not bold dim"), soft_wrap=True)


def _part(console: Console, part: Part, coloured: bool) -> None:
    if part.name:
        console.print(Text(part.name, style="bold italic"))
    for tokens in _shortened(part.tokens):
        if isinstance(tokens, str):
            console.print(Text(tokens, style="dim"))
        else:
            text = painted(tokens) if coloured else bracketed(tokens)
            console.print(text, soft_wrap=not console.is_terminal)


def _shortened(tokens: Sequence[Token]) -> Iterator[Sequence[Token] | str]:
    if len(tokens) <= MOST_TOKENS:
        yield tokens
        return
    begin, end = MOST_TOKENS * 2 // 3, MOST_TOKENS // 3
    yield tokens[:begin]
    yield f"… {len(tokens) - begin - end:,} tokens more; `--html` and `--json` show them all …"
    yield tokens[-end:]


def painted(tokens: Iterable[Token]) -> Text:
    """Each token in the colours of its kind, neighbours in different shades."""
    text, number = Text(), 0
    for stretch in stretches(tokens):
        shades = SHADES["special, trained" if stretch.kind == "special" and stretch.learned else stretch.kind]
        for piece in stretch.pieces:
            text.append(piece.text, style=shades[number % 2])
            number += 1
        text.append(stretch.factor)
    return text


def bracketed(tokens: Iterable[Token]) -> Text:
    """What is learned, dropped or cut in brackets, markers in brackets of their own within."""
    text = Text()
    for learned, group in groupby(stretches(tokens), key=lambda stretch: stretch.learned and stretch.weight):
        run = list(group)
        inner = "".join(_bracketed(stretch) for stretch in run)
        text.append(_in_brackets("trained", inner) + run[-1].factor if learned else inner)
    return text


def _bracketed(stretch: Stretch) -> str:
    if stretch.kind == "special":
        return "".join(_in_brackets("special", piece.text) for piece in stretch.pieces)
    inner = "".join(piece.text for piece in stretch.pieces)
    return inner if stretch.kind == "trained" else _in_brackets(stretch.kind, inner)


def _in_brackets(kind: str, text: str) -> str:
    opening, closing = BRACKETS.get(kind, ("", ""))
    return f"{opening}{text}{closing}"
