"""The input file of a batch: a request a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

MOST_REQUESTS = 50_000
MOST_LINE_BYTES = 8 * 2**20
MOST_ERRORS = 100
"""Faults of an input file that are told."""


@dataclass(frozen=True)
class Line:
    """A request of an input file. `number`: of its line, from 1."""

    number: int
    custom_id: str
    body: dict[str, Any]


def checked(lines: Iterable[tuple[int, bytes]], endpoint: str) -> tuple[list[dict[str, Any]], int, str | None]:
    """Faults of an input file, as OpenAI tells them, how many requests it has, and the model that the first asks."""
    faults: list[dict[str, Any]] = []
    seen: set[str] = set()
    model, total = None, 0
    for number, raw in lines:
        total += 1
        fault = "too_many_requests" if total > MOST_REQUESTS else None
        if fault is not None:
            faults.append(fault_of(fault, f"The file has more than {MOST_REQUESTS:,} requests.", number, None))
            break
        read = _read(raw, endpoint)
        if isinstance(read, tuple):
            faults.append(fault_of(*read[:2], number, read[2]))
        elif read["custom_id"] in seen:
            faults.append(fault_of("duplicate_custom_id", f"The custom_id {read['custom_id']!r} was used before.", number, "custom_id"))
        else:
            seen.add(read["custom_id"])
            model = model or read["body"].get("model")
        if len(faults) == MOST_ERRORS:
            break
    if not total:
        faults.append(fault_of("empty_file", "The file has no requests.", None, None))
    return faults, total, model if isinstance(model, str) else None


def _read(raw: bytes, endpoint: str) -> dict[str, Any] | tuple[str, str, str | None]:
    """A request; or (code, message, param) of what is wrong with it."""
    if len(raw) > MOST_LINE_BYTES:
        return "line_too_long", f"The line is longer than {MOST_LINE_BYTES:,} bytes.", None
    try:
        read = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    if not isinstance(read, dict):
        return "invalid_json_line", "This line is not a JSON object.", None
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if name not in read:
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        if not isinstance(read[name], kind):
            return "invalid_type", f"'{name}' should be {'text' if kind is str else 'an object'}.", name
    if read["method"] != "POST":
        return "invalid_method", "The method should be 'POST'.", "method"
    if read["url"] != endpoint:
        return "mismatched_url", f"The url should be {endpoint!r}, the endpoint of the batch.", "url"
    return read


def fault_of(code: str, message: str, line: int | None, param: str | None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}


def raw_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line), blank ones left out, without a mark of the byte order. One that is too long is cut behind its limit."""
    left, number = b"", 0
    for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n")
        for raw in whole:
            number += 1
            yield from _not_blank(number, raw)
        left = left[: MOST_LINE_BYTES + 1]
    yield from _not_blank(number + 1, left)


def _not_blank(number: int, raw: bytes) -> Iterator[tuple[int, bytes]]:
    raw = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
    if raw:
        yield number, raw


def lines_of(chunks: Iterable[bytes]) -> Iterator[Line]:
    for number, raw in raw_lines(chunks):
        read = msgspec.json.decode(raw)
        yield Line(number, read["custom_id"], read["body"])
