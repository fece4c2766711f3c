"""`docs/reference.md`: every setting, from schema.json. `python -m luthier.spec.reference` writes it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from luthier.spec.faults import found_value
from luthier.spec.schema import ROOMS, stored
from luthier.spec.settings import Setting, table

REFERENCE_FILE = Path(__file__).resolve().parents[3] / "docs" / "reference.md"

OPENING = """# Every setting

Generated from the sources by `make schema`; a test checks that it is fresh. A run file is YAML with the keys below; on the command line
`key=value` stands over it (`optimizer.learning_rate=1e-4`). A key that is unknown, out of range or without effect is refused."""


def text(schema: dict[str, Any] | None = None) -> str:
    """The page. Its order is that of the sources."""
    schema = schema or stored()
    parts = [OPENING, *_run(schema["run"])]
    for where, package in ROOMS.items():
        parts += _room(where, package.rsplit(".", 1)[-1], schema[package.rsplit(".", 1)[-1]])
    return "\n\n".join(parts) + "\n"


def _run(schema: dict[str, Any]) -> Iterator[str]:
    settings = table(schema)
    yield "## A run"
    yield _table(setting for setting in settings.values() if not setting.group and _group(setting.key) not in settings)
    for group in settings.values():
        members = [setting for setting in settings.values() if _group(setting.key) == group.key]
        if group.group:
            yield f"## `{group.key}`\n\n{group.help}"
            yield _table(members)


def _room(where: str, room: str, components: dict[str, Any]) -> Iterator[str]:
    setting = "data.train[].format" if where == "format" else where
    yield f"## {room.capitalize()}\n\nChosen by `{setting}`; a Python file of your own is named by its path."
    for name, component in components.items():
        settings = table(component["settings"], where) if "settings" in component else {}
        yield f"### `{name}`\n\n{component['summary']}"
        if settings:
            yield _table(settings.values())


def _group(key: str) -> str:
    """The group a key stands in; the elements of a list belong to the group of the list."""
    head = key.partition("[]")[0]
    return head.rpartition(".")[0]


def _table(settings: Iterable[Setting]) -> str:
    rows = [f"| `{setting.key}` | {_cell(setting.allowed)} | {_default(setting)} | {_cell(setting.help)} |" for setting in settings]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])


def _default(setting: Setting) -> str:
    return "required" if setting.required else f"`{_cell(found_value(setting.default, longest=200))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE_FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {REFERENCE_FILE}")
