"""The page of the interface, `/docs`: every route and type, by the OpenAPI description, in one file that fetches nothing."""

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

REFERRED = "#/components/schemas/"

NOT_SHOWN = {"HTTPValidationError", "ValidationError"}
"""Of FastAPI; faults are told in OpenAI's form here."""

HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 65%, transparent) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1.2rem }
h1 { font-size: 1.7rem; margin-bottom: 0 } h2 { margin: 2.2rem 0 .4rem; font-size: 1.2rem }
nav a { margin-right: .9rem; white-space: nowrap } a { color: inherit } .soft { color: var(--soft) }
details { border-top: 1px solid var(--line); padding: .35rem 0 } h2 + details { border-top-width: 2px }
details > :not(summary) { margin-left: 5.2rem }
summary { cursor: pointer; list-style: none; display: grid; grid-template-columns: 4.6rem minmax(0, 3fr) minmax(0, 4fr); gap: .6rem }
summary .method { font: 600 12px/1.9 ui-monospace, monospace; color: var(--soft) } summary .what { color: var(--soft) }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: calc(100% - 5.2rem); margin-bottom: .6rem }
td { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; vertical-align: top }
td:first-child { width: 13rem } td:nth-child(2) { width: 15rem; color: var(--soft) }
@media (max-width: 44rem) {
  summary { grid-template-columns: 4.6rem 1fr } summary .what { grid-column: 2 } details > :not(summary) { margin-left: 0 }
  table { width: 100% } td, td:first-child, td:nth-child(2) { display: block; width: auto }
}
"""


async def docs(request: Request) -> HTMLResponse:
    """The page, for whoever can reach the gateway: it tells what every copy of Luthier tells."""
    return HTMLResponse(page(request.app.openapi()), headers=HEADERS)


def page(description: Mapping[str, Any]) -> str:
    """HTML. `description`: as of OpenAPI 3.1."""
    about, by_tag = description["info"], _by_tag(description["paths"])
    types = {name: schema for name, schema in description["components"]["schemas"].items() if name not in NOT_SHOWN}
    parts = [
        f"<title>{escape(about['title'])} {escape(about['version'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(about['title'])}</h1><p class=soft>{escape(about['summary'])} Version {escape(about['version'])}; "
        "<a href=/openapi.json>openapi.json</a> is the same for programs.</p>",
        "<nav>" + "\n".join(f"<a href='#{_anchor(tag)}'>{escape(tag)}</a>" for tag in [*by_tag, "Types"]) + "</nav>",
    ]
    for tag, routes in by_tag.items():
        parts.append(f"<h2 id='{_anchor(tag)}'>{escape(tag)}</h2>" + "".join(_route(*route) for route in routes))
    parts.append("<h2 id=types>Types</h2>" + "".join(_type(name, schema) for name, schema in sorted(types.items())))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>" + "\n".join(parts) + "</html>"
    )


Route = tuple[str, str, Mapping[str, Any]]
"""Method, path, and what is said of it."""

Field = tuple[str, Mapping[str, Any], bool, str]
"""Name, schema, whether it must be there, and what it means."""


def _by_tag(paths: Mapping[str, Any]) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for path, methods in paths.items():
        for method, told in methods.items():
            found.setdefault((told.get("tags") or ["Others"])[0], []).append((method.upper(), path, told))
    return found


def _route(method: str, path: str, told: Mapping[str, Any]) -> str:
    first, _, rest = told.get("description", "").partition("\n")
    head = f"<span class=method>{method}</span><code>{escape(path)}</code><span class=what>{_marked(first or told['summary'])}</span>"
    rows = [(one["name"], one["schema"], one["required"], one.get("description", "")) for one in told.get("parameters", ())]
    body = [(kind, one["schema"]) for kind, one in told.get("requestBody", {}).get("content", {}).items()]
    answers = told.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}).get("schema")
    parts = [f"<p>{_marked(rest.strip())}</p>" if rest.strip() else "", _table(rows)]
    for kind, schema in body:
        parts.append(f"<p>Body, <code>{escape(kind)}</code>: {_words(schema)}</p>{_table(_fields(schema))}")
    if answers:
        parts.append(f"<p>Answers {_words(answers)}</p>")
    return f"<details><summary>{head}</summary>{''.join(parts)}</details>"


def _type(name: str, schema: Mapping[str, Any]) -> str:
    about = schema.get("description", "").partition("\n")[0]
    head = f"<span class=method></span><code>{escape(name)}</code><span class=what>{_marked(about)}</span>"
    rows = list(_fields(schema))
    return f"<details id='type-{escape(name)}'><summary>{head}</summary>{_table(rows) if rows else f'<p>{_words(schema)}</p>'}</details>"


def _fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Those of an object."""
    for name, field in schema.get("properties", {}).items():
        yield name, field, name in schema.get("required", ()), field.get("description", "")


def _table(rows: Iterable[Field]) -> str:
    lines = [
        f"<tr><td><code>{escape(name)}</code>{'' if required else ' <span class=soft>optional</span>'}"
        f"<td>{_words(schema)}<td>{_marked(meaning)}"
        for name, schema, required, meaning in rows
    ]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def _words(schema: Mapping[str, Any]) -> str:
    """A type as one reads it: `integer, 1 to 100, else 20`."""
    if reference := schema.get("$ref"):
        name = escape(reference.removeprefix(REFERRED))
        return f"<a href='#type-{name}'><code>{name}</code></a>"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            told = [_words(one) for one in schema[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(told)) + _limits(schema)
    if "enum" in schema or "const" in schema:
        return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema.get("enum", [schema.get("const")])) + _limits(schema)
    kind = schema.get("type", "anything")
    kinds = " or ".join(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)
    if kinds == "array":
        return f"list of {_words(schema.get('items', {}))}{_limits(schema)}"
    return f"{kinds}{_limits(schema)}"


def _limits(schema: Mapping[str, Any]) -> str:
    least, most = (next((schema[key] for key in keys if key in schema), None) for keys in (LEAST, MOST))
    span = f", {least:,} to {most:,}" if least is not None and most is not None else ""
    span = span or (f", at least {least:,}" if least is not None else f", at most {most:,}" if most is not None else "")
    default = schema.get("default")
    return span + (f", else <code>{escape(str(default))}</code>" if default not in (None, {}, []) else "")


LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def _marked(text: str) -> str:
    """Docstrings' backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _anchor(tag: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", tag.lower())
