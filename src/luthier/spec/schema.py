"""`spec/schema.json`: the JSON schema of a run and of every component's `Config`. `python -m luthier.spec.schema` writes it.

`--help`, forms, validation over HTTP and the reference page read the file and import no component. Writing it imports them all, the
training wing's too: the one place where this room reaches over its floor, inside a function, in a command that only developers run.
"""

import functools
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier.spec import folder
from luthier.spec.run import RunSpec
from luthier.spec.settings import Setting, table

SCHEMA_FILE = Path(__file__).with_name("schema.json")

ROOMS = {"method": "luthier.methods", "adapter": "luthier.adapters", "reward": "luthier.rewards", "format": "luthier.data.formats"}
"""The setting that names a component, and the room whose files it names."""


def build() -> dict[str, Any]:
    """The schema of everything, from the sources as they are now."""
    rooms = {package.rsplit(".", 1)[-1]: _room(package) for package in ROOMS.values()}
    return {"run": RunSpec.model_json_schema(), **rooms}


def text() -> str:
    """What schema.json should hold."""
    return json.dumps(build(), indent=1, sort_keys=False, ensure_ascii=False) + "\n"


@functools.cache
def stored() -> dict[str, Any]:
    """What schema.json holds."""
    return dict(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def component_settings(where: str, name: str) -> dict[str, Setting]:
    """The settings of a component by dotted key (`adapter.rank`), from schema.json; empty for a file of the user's own."""
    room = stored().get(ROOMS[where].rsplit(".", 1)[-1], {}) if where in ROOMS else {}
    return table(room[name]["settings"], where) if name in room else {}


def _room(package: str) -> dict[str, Any]:
    return {name: _component(folder.load(package, name)) for name in folder.names(package)}


def _component(module: ModuleType) -> dict[str, Any]:
    """A summary from the first line of the file, and the settings where it has any."""
    summary = (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")
    config = getattr(module, "Config", None)
    return {"summary": summary, **_of_method(module)} | ({"settings": config.model_json_schema()} if config else {})


def _of_method(module: ModuleType) -> dict[str, Any]:
    """Of a method the kinds of row it takes, which of their tokens are scored, and the roles it needs; empty for other components."""
    classes: list[Any] = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    own = (c for c in classes if hasattr(c, "learns"))
    return next(({"rows": list(c.rows), "learns": c.learns, "needs": sorted(c.needs)} for c in own), {})


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {SCHEMA_FILE}")
