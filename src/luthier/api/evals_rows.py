"""The rows of a run: from its request, from a file, or from answers that were kept. One that cannot be used is an item that says why."""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from luthier.api import stored
from luthier.api.evals_request import FileContent, FileId, KeptResponses, Source, StoredCompletions
from luthier.api.evals_schema import checked_by
from luthier.api.evals_wire import sample_wire, usage_counts
from luthier.api.platform import Platform
from luthier.api.responses import KIND as RESPONSE
from luthier.errors import DataError
from luthier.store.eval_work import Graded, NewItem
from luthier.store.evals import Eval
from luthier.store.stored import Kept

MOST_ROWS = 100_000
LONGEST_LINE = 8 * 2**20
"""Bytes of a line of a file."""
A_PAGE = 200
"""Answers that were kept, read at a time."""

Keep = Callable[[Kept], bool]


def rows(here: Platform, of: Eval, source: Source) -> Iterator[NewItem]:
    """The rows, each checked.

    Raises:
        DataError: there are too many, or none. UserError: the file is gone, or cannot be read.
    """
    config = of.data_source_config
    check = checked_by(config["item_schema"]) if config["type"] == "custom" else _nothing
    found = _found(here, of, source)
    number = 0
    for number, row in enumerate(found, 1):
        if number > MOST_ROWS:
            raise DataError(f"The source has more than {MOST_ROWS:,} rows. Split it into several runs.")
        yield row if row.graded is not None or (why := check(row.item)) is None else refused(of, f"The item does not fit: {why}.", row.item)
    if not number:
        raise DataError("The source has no rows.")


def refused(of: Eval, why: str, item: Mapping[str, Any] | None = None) -> NewItem:
    """A row that cannot be used."""
    sample = sample_wire(error={"code": "invalid_item", "message": why})
    return NewItem(item or {}, None, Graded("error", [], sample, [None] * len(of.testing_criteria)))


def _nothing(item: Any) -> None:
    return None


def _found(here: Platform, of: Eval, source: Source) -> Iterable[NewItem]:
    match source:
        case FileContent():
            return (NewItem(row.item, row.sample) for row in source.content)
        case FileId():
            return _of_file(here, of, source.id)
        case StoredCompletions():
            return map(_of_completion, _kept(here, of, source, stored.KIND))
        case KeptResponses():
            return map(_of_response, _kept(here, of, source, RESPONSE, lambda kept: _is_wanted(kept, source)))


def _of_file(here: Platform, of: Eval, file: str) -> Iterator[NewItem]:
    chunks = here.files.open(of.project, file)
    try:
        for number, line in enumerate(_lines(chunks), 1):
            if line is None:
                yield refused(of, f"Line {number} is longer than {LONGEST_LINE:,} bytes.")
            elif line.strip():
                yield _of_line(of, number, line)
    finally:
        chunks.close()


def _of_line(of: Eval, number: int, line: bytes) -> NewItem:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return refused(of, f"Line {number} is no JSON: {error}.")
    except RecursionError:
        return refused(of, f"Line {number} is nested too deeply.")
    if not isinstance(row, dict) or not isinstance(row.get("item"), dict):
        return refused(of, f'Line {number} has no `item`. A line is a JSON object such as {{"item": {{"question": "…"}}}}.')
    if not isinstance(row.get("sample"), dict | None):
        return refused(of, f"The `sample` of line {number} is no object.", row["item"])
    return NewItem(row["item"], row.get("sample"))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines without their ends, at most `LONGEST_LINE` of one in memory; None for a longer one."""
    rest, too_long, first = b"", False, True
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield None if too_long or len(line) > LONGEST_LINE else line.removeprefix(codecs.BOM_UTF8) if first else line
            too_long = first = False
        if len(rest) > LONGEST_LINE:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest.removeprefix(codecs.BOM_UTF8) if first else rest


def _kept(here: Platform, of: Eval, source: StoredCompletions | KeptResponses, kind: str, wanted: Keep | None = None) -> Iterator[Kept]:
    """Answers that were kept, the newest first: those of the eval's metadata and of the run's."""
    metadata = {**(of.data_source_config.get("metadata") or {}), **(source.metadata or {})}
    earliest, latest = source.created_after, source.created_before

    def all_of_them() -> Iterator[Kept]:
        after: str | None = None
        while page := here.stored.list(of.project, kind, A_PAGE, after, False, source.model, metadata):
            yield from page
            after = page[-1].id

    found = (
        kept
        for kept in all_of_them()
        if (earliest is None or kept.created_at >= earliest)
        and (latest is None or kept.created_at < latest + 1)
        and (wanted is None or wanted(kept))
    )
    return islice(found, source.limit)


def _is_wanted(kept: Kept, source: KeptResponses) -> bool:
    body = kept.body
    names = {tool.get("name") for tool in body.get("tools") or []}
    return (
        (source.instructions_search is None or source.instructions_search in (body.get("instructions") or ""))
        and (source.temperature is None or body.get("temperature") == source.temperature)
        and (source.top_p is None or body.get("top_p") == source.top_p)
        and (not source.tools or names.issuperset(source.tools))
        and (not source.users or body.get("user") in source.users)
        and (source.reasoning_effort is None or (body.get("reasoning") or {}).get("effort") == source.reasoning_effort)
    )


def _of_completion(kept: Kept) -> NewItem:
    asked, choices = kept.request, kept.body.get("choices") or [{}]
    message = choices[0].get("message") or {}
    drawn = {name: asked.get(name) for name in ("temperature", "top_p", "seed", "max_completion_tokens")}
    given = {
        "output_text": message.get("content") or "",
        "output_tools": message.get("tool_calls") or [],
        "finish_reason": choices[0].get("finish_reason") or "",
        "usage": usage_counts(kept.body.get("usage") or {}),
        **drawn,
    }
    item = {"input": asked.get("messages") or [], "output": [message], "tools": asked.get("tools") or []}
    return NewItem({**_head(kept), **item}, {**given, "model": kept.model})


def _of_response(kept: Kept) -> NewItem:
    body, said = kept.body, (kept.request.get("answer") or [{}])[0]
    used = body.get("usage") or {}
    given = {
        "output_text": said.get("content") or "",
        "output_tools": said.get("tool_calls") or [],
        "finish_reason": "length" if body.get("status") == "incomplete" else "tool_calls" if said.get("tool_calls") else "stop",
        "usage": usage_counts(used, "input_tokens", "output_tokens"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "max_completion_tokens": body.get("max_output_tokens"),
    }
    instructions = body.get("instructions")
    first = [{"role": "developer", "content": instructions}] if instructions else []
    item = {"input": [*first, *(kept.request.get("turns") or [])], "output": body.get("output") or [], "tools": body.get("tools") or []}
    return NewItem({**_head(kept), "instructions": instructions, **item}, {**given, "model": kept.model})


def _head(kept: Kept) -> dict[str, Any]:
    return {"id": kept.id, "created_at": int(kept.created_at), "model": kept.model, "metadata": dict(kept.metadata or {})}
