"""A form as it comes in: its file goes to the store while it arrives, its fields are few and short. Nothing is held whole."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from luthier.api.errors import ApiError

MOST_FIELDS = 16
MOST_FIELD_BYTES = 16 * 2**10
WRITTEN_AT_ONCE = 2**20
"""Bytes that are gathered before a thread writes them."""
BESIDE_THE_FILE = 64 * 2**10
"""Bytes of a form that are not its file's, at most."""

BAD_FORM = "We could not read the form of your request: {reason}. It should be multipart/form-data, as HTTP libraries write it."


@dataclass(frozen=True)
class Form:
    """`fields`: by name. `filename`: of its file, as the client told it; None where it told none, or there is no file (`has_file`)."""

    fields: dict[str, str]
    filename: str | None
    has_file: bool


async def read_form(request: Request, file_field: str, write: Callable[[bytes], object], limit: int) -> Form:
    """Read the whole request. The bytes of the part named `file_field` go to `write`, in threads, in order.

    Raises:
        ApiError: it is no form, or has more than a form should; it was cut off; its file has more than `limit` bytes, as far as the
            request itself tells.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit + BESIDE_THE_FILE:
        raise too_large(limit)
    reader = _Reader(_boundary(request), file_field)
    try:
        async for chunk in request.stream():
            reader.feed(chunk)
            if reader.waiting_bytes >= WRITTEN_AT_ONCE:
                await run_in_threadpool(write, reader.take())
    except ClientDisconnect as error:
        raise ApiError(400, "The request was cut off. Nothing of it was kept.") from error
    if not reader.ended:
        raise _bad("it ends before its last boundary")
    if reader.waiting_bytes:
        await run_in_threadpool(write, reader.take())
    return Form(reader.fields, reader.filename, reader.has_file)


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"The file is larger than {limit:,} bytes, the most that is taken in one request. Send it in parts: /v1/uploads.")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise _bad(f"its content type is {kind.decode('latin-1') or 'missing'!r}")
    if not options.get(b"boundary"):
        raise _bad("its content type names no boundary")
    return options[b"boundary"]


def _bad(reason: str) -> ApiError:
    return ApiError(400, BAD_FORM.format(reason=reason))


@dataclass
class _Part:
    name: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: bytes = b""
    value: bytes = b""
    content: bytearray = field(default_factory=bytearray)


class _Reader:
    """Told by the parser what it finds."""

    def __init__(self, boundary: bytes, file_field: str) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.has_file = self.ended = False
        self.waiting_bytes = 0
        self._file_field, self._part, self._waiting = file_field, _Part(), list[bytes]()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._all,
                },
            )
        except FormParserError as error:
            raise _bad("its boundary is too long") from error

    def feed(self, chunk: bytes) -> None:
        """Raises `ApiError`."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _bad(str(error)) from error

    def take(self) -> bytes:
        """The file's bytes that wait to be written."""
        waiting = b"".join(self._waiting)
        self._waiting, self.waiting_bytes = [], 0
        return waiting

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header.lower()] = part.value
        part.header = part.value = b""

    def _headers_end(self) -> None:
        disposition = self._part.headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise _bad("a part of it has no name")
        name = self._part.name = _text(options[b"name"])
        if name in self.fields or (name == self._file_field and self.has_file):
            raise ApiError(400, f"`{name}` was given twice.", name)
        if name == self._file_field:
            self.has_file, self.filename = True, _filename(disposition, options)
        elif len(self.fields) == MOST_FIELDS:
            raise _bad(f"it has more than {MOST_FIELDS} fields")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == self._file_field:
            self._waiting.append(data[start:end])
            self.waiting_bytes += end - start
            return
        self._part.content += data[start:end]
        if len(self._part.content) > MOST_FIELD_BYTES:
            raise ApiError(400, f"`{self._part.name}` is longer than {MOST_FIELD_BYTES:,} bytes.", self._part.name)

    def _end(self) -> None:
        if self._part.name != self._file_field:
            self.fields[self._part.name] = _text(bytes(self._part.content))

    def _all(self) -> None:
        self.ended = True


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _bad("it holds text that is not UTF-8") from error


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """Browsers and most clients write it as UTF-8 with quotes as %22; some, where it is not ASCII, as `filename*=utf-8''…`."""
    if b"filename" in options:
        name = _text(options[b"filename"])
        return re.sub("%(22|0D|0A)", lambda code: chr(int(code[1], 16)), name)
    extended = re.search(rb"filename\*=utf-8''([^;\s]+)", disposition, re.IGNORECASE)
    return unquote(extended[1].decode("latin-1"), errors="replace") if extended else None
