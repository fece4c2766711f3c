"""An evaluation's table in words and figures, the same in the terminal, on the page and in Markdown."""

from typing import Any

INTERVAL = "95 % interval"
"""What so many rows allow to say of the line above."""


def lines(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(name, one value a column) of each line of the table."""
    columns = found["columns"]
    if found["kind"] == "answers":
        return [
            ("the same answer", [_share(c["exact_match"]) for c in columns]),
            (INTERVAL, [_interval(c["exact_match_low"], c["exact_match_high"]) for c in columns]),
            ("F1 of its words", [f"{c['token_f1']:.3f}" for c in columns]),
        ]
    scores = [column["scores"] for column in columns]
    found_lines = [("accuracy", [_share(s["accuracy"]) for s in scores])]
    found_lines.append((INTERVAL, [_interval(s["accuracy_low"], s["accuracy_high"]) for s in scores]))
    found_lines += [(f"{name} (macro)", [f"{s[key]:.3f}" for s in scores]) for name, key in _MACRO]
    if found["out_of_scope"] is not None:
        found_lines += _outside(columns)
    return found_lines


_MACRO = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))


def _outside(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    scopes = [column["out_of_scope"] for column in columns]

    def of(key: str, as_share: bool) -> list[str]:
        values = [None if scope is None else scope[key] for scope in scopes]
        return ["–" if value is None else _share(value) if as_share else f"{value:.3f}" for value in values]

    found = [
        ("accuracy within scope", of("in_scope_accuracy", True)),
        ("out of scope: recall", of("recall", True)),
        ("out of scope: precision", of("precision", True)),
        ("out of scope: area under ROC", of("area", False)),
    ]
    if any(column["threshold"] is not None for column in columns):
        found.append(("called so below", ["–" if c["threshold"] is None else f"{c['threshold']:.3f}" for c in columns]))
    return found


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"


def _interval(low: float, high: float) -> str:
    return f"{low * 100:.1f}–{high * 100:.1f} %"
