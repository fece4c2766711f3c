"""White space and control characters made visible, and tokens put together for the eye."""

from luthier.text.shown import Token
from luthier.text.visible import stretches, visible


def test_single_spaces_between_words_stay_and_others_are_dots() -> None:
    assert "".join(visible(" a b  c ")) == "·a b··c·"


def test_line_breaks_tabs_and_control_characters_are_seen() -> None:
    assert "".join(visible("a\n\tb\x1b[2J")) == "a↵\n⇥b␛[2J"


def test_what_hides_or_turns_text_round_is_named() -> None:
    assert "".join(visible("\ufeffa\u202eb\u00a0c\u200dd")) == "<U+FEFF>a<U+202E>b<U+00A0>c\u200dd"


def test_a_character_of_several_tokens_is_one_piece() -> None:
    (stretch,) = stretches([Token("", "context", 0, 1), Token("é", "context", 0, 2), Token("a", "context", 0, 3)])
    assert [(piece.text, piece.ids) for piece in stretch.pieces] == [("é", (1, 2)), ("a", (3,))]


def test_an_unusual_weight_is_said_once_where_it_ends() -> None:
    tokens = [Token("a", "trained", 0.5, 1), Token("<e>", "special", 0.5, 2), Token("b", "context", 0, 3), Token("c", "trained", 1, 4)]
    assert [stretch.factor for stretch in stretches(tokens)] == ["", "×0.5", "", ""]
