"""A form is read as it comes in: the same however it is cut, bounded, and with no more of its file in memory than is being written."""

import threading
from collections.abc import Iterator

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message

from luthier.api.errors import ApiError
from luthier.api.multipart import MOST_FIELD_BYTES, MOST_FIELDS, WRITTEN_AT_ONCE, Form, read_form

BOUNDARY = b"xYzZY"
PLAIN = f"multipart/form-data; boundary={BOUNDARY.decode()}"


def part(name: str, content: bytes, filename: str | None = None, more: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--{BOUNDARY.decode()}\r\nContent-Disposition: form-data; name="{name}"{named}{more}\r\n\r\n'.encode() + content + b"\r\n"


def form_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(body: bytes, size: int = 1000, kind: str = PLAIN, limit: int = 10**9, cut: bool = False) -> tuple[Form, list[bytes]]:
    """The form, and what was written of its file; the body comes in pieces of `size` bytes. `cut`: the client leaves before the end."""
    pieces = [body[at : at + size] for at in range(0, max(len(body), 1), size)]

    def messages() -> Iterator[Message]:
        for number, piece in enumerate(pieces):
            yield {"type": "http.request", "body": piece, "more_body": cut or number + 1 < len(pieces)}
        yield {"type": "http.disconnect"}

    given = messages()

    async def receive() -> Message:
        return next(given)

    headers = [(b"content-type", kind.encode())] + ([] if cut else [(b"content-length", str(len(body)).encode())])
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    written: list[bytes] = []
    return anyio.run(read_form, request, "file", written.append, limit), written


TRICKY = b"\r\n--xYzZ\r\n--xYz\r\n\r\n--\r--xYzZY \n" + bytes(range(256)) * 5
"""What looks like a boundary but is none."""


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
@pytest.mark.parametrize("purpose_first", [True, False])
def test_a_form_is_the_same_however_it_is_cut(size: int, purpose_first: bool):
    parts = [part("purpose", b"fine-tune"), part("file", TRICKY, "train.jsonl")]
    form, written = read(form_of(*(parts if purpose_first else reversed(parts))), size)
    assert form == Form({"purpose": "fine-tune"}, "train.jsonl", True)
    assert b"".join(written) == TRICKY


def test_brackets_are_part_of_a_name():
    form, _ = read(form_of(part("expires_after[anchor]", b"created_at"), part("expires_after[seconds]", b"3600")))
    assert form == Form({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}, None, False)


@pytest.mark.parametrize(
    "filename, more, told",
    [
        ("train.jsonl", "", "train.jsonl"),
        ("größe 漢字.jsonl", "", "größe 漢字.jsonl"),
        ("a%22b%0D%0Ac.jsonl", "", 'a"b\r\nc.jsonl'),
        (r"a\"b.jsonl", "", 'a"b.jsonl'),
        ("100%.jsonl", "", "100%.jsonl"),
        ("", "", ""),
        (None, "", None),
        (None, "; filename*=utf-8''gr%C3%B6%C3%9Fe.jsonl", "größe.jsonl"),
    ],
)
def test_a_files_name_is_as_it_was_told(filename: str | None, more: str, told: str | None):
    form, written = read(form_of(part("file", b"a", filename, more)))
    assert (form.filename, form.has_file, written) == (told, True, [b"a"])


def test_an_empty_file_is_one():
    form, written = read(form_of(part("file", b"", "a.txt")))
    assert form.has_file and written == []


def test_only_what_is_being_written_is_held():
    """10 MB in pieces of 64 KiB: each write takes at most a piece more than 1 MiB."""
    content = bytes(10**7)
    _, written = read(form_of(part("file", content, "a.txt")), 2**16)
    assert b"".join(written) == content
    assert max(map(len, written)) < WRITTEN_AT_ONCE + 2**16


def test_others_are_served_while_a_disk_is_slow():
    """A write that waits for something else to happen on the same loop would otherwise never end."""
    elsewhere = threading.Event()

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload)
            await anyio.sleep(0.05)
            elsewhere.set()

    async def upload() -> None:
        body = form_of(part("file", b"a", "a.txt"))

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", PLAIN.encode())]}, receive)
        await read_form(request, "file", lambda data: done.append(elsewhere.wait(5)), 100)

    done: list[bool] = []
    anyio.run(both)
    assert done == [True]


@pytest.mark.parametrize(
    "body, says",
    [
        (b"hello", r"Expected boundary character"),
        (form_of(part("file", b"a", "a.txt"))[:-10], r"it ends before its last boundary"),
        (form_of(b"--xYzZY\r\nContent-Type: text/plain\r\n\r\na\r\n"), r"a part of it has no name"),
        (form_of(part("purpose", b"\xff\xfe")), r"text that is not UTF-8"),
        (form_of(*(part(f"f{number}", b"") for number in range(MOST_FIELDS + 1))), r"more than 16 fields"),
        (form_of(b"--xYzZY\r\nContent-Disposition: " + b"a" * 10_000), r"Maximum header size exceeded"),
        (b"", r"it ends before its last boundary"),
    ],
)
def test_what_is_no_form_is_told(body: bytes, says: str):
    with pytest.raises(ApiError, match=says) as refused:
        read(body)
    assert refused.value.status == 400
    assert str(refused.value).startswith("We could not read the form of your request: ")


@pytest.mark.parametrize(
    "parts, param",
    [
        ([part("purpose", b"a"), part("purpose", b"b")], "purpose"),
        ([part("file", b"a", "a"), part("file", b"b", "b")], "file"),
        ([part("purpose", b"a" * (MOST_FIELD_BYTES + 1))], "purpose"),
    ],
)
def test_what_comes_twice_or_is_too_long_is_named(parts: list[bytes], param: str):
    with pytest.raises(ApiError, match=f"`{param}`") as refused:
        read(form_of(*parts))
    assert refused.value.param == param


@pytest.mark.parametrize(
    "kind, says",
    [
        ("application/json", r"its content type is 'application/json'"),
        ("", r"its content type is 'missing'"),
        ("multipart/form-data", r"names no boundary"),
        ("multipart/form-data; boundary=", r"names no boundary"),
        (f"multipart/form-data; boundary={'a' * 300}", r"its boundary is too long"),
    ],
)
def test_another_kind_of_body_is_told(kind: str, says: str):
    with pytest.raises(ApiError, match=says):
        read(form_of(), kind=kind)


def test_what_says_it_is_too_large_is_not_read():
    with pytest.raises(ApiError, match="larger than 1,000 bytes") as refused:
        read(form_of(part("file", bytes(100_000), "a.txt")), limit=1000)
    assert refused.value.status == 413


def test_a_client_that_leaves_is_no_fault_of_ours():
    with pytest.raises(ApiError, match="was cut off"):
        read(form_of(part("file", bytes(100_000), "a.txt"))[:50_000], cut=True)
