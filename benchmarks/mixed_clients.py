"""Clients of all kinds: those that behave, and those that read slowly, vanish, say nothing, or say what no server can understand."""

import asyncio
import contextlib
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

TOO_LARGE = 33 * 2**20
"""Bytes of a body: JSON may have 32 MiB."""
OVERLOADING = 12, 128
"""Requests at once, and answers to each: more than the 1,024 that may wait."""
HELD_S = 6.0
"""How long silent clients hold their connection, and slow ones draw out an answer."""
ODD = [
    (b"{", 400),
    (b'{"model": "starter", "messages": "hello"}', 400),
    (b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', 400),
    (b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400),
    (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404),
    (b"[" * 10_000 + b"]" * 10_000, 400),
    (b"\xff\xfe\x00", 400),
]
"""Bodies of a chat request, and what each is told."""
NO_HTTP = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n"]


@dataclass
class Seen:
    """What clients saw: `answers` by kind and status (0: the connection ended without one), and every answer that is no client's fault."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    crowded_until: float = 0.0

    def note(self, kind: str, status: int, expected: int, text: str = "", retry_after: str | None = None) -> None:
        """Refusing for want of room is right where it says when to come again."""
        self.answers[kind, status] += 1
        if status == expected or (status == 429 and expected == 200 and retry_after is not None):
            return
        self.faults.append(f"{kind}: {status} instead of {expected}: {text[:300]}")


@dataclass(frozen=True)
class Place:
    """Where to ask: `url` ends in /v1. `key`: of those that behave; `other_key`: of a crowd."""

    url: str
    key: str
    other_key: str
    models: tuple[str, ...]

    @property
    def address(self) -> tuple[str, int]:
        found = urlsplit(self.url)
        assert found.hostname is not None and found.port is not None
        return found.hostname, found.port

    def chat(self, draw: random.Random, **more: Any) -> dict[str, Any]:
        """The body of a chat request."""
        words = " ".join(draw.choice(["loan", "late", "rate", "card", "fee", "why", "help"]) for _ in range(draw.randint(1, 30)))
        return {"model": draw.choice(self.models), "messages": [{"role": "user", "content": words}], "max_tokens": 24, **more}

    def raw(self, path: str, body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
        """A request as it goes over the wire. `length`: what it says of its body, where that is not the truth."""
        head = f"POST /v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\ncontent-type: {kind}\r\n"
        return f"{head}content-length: {len(body) if length is None else length}\r\n\r\n".encode() + body


Client = Callable[[Place, httpx.AsyncClient, random.Random, Seen], Awaitable[None]]


async def chat(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """A chat: its answer whole."""
    await _asked("chat", "/chat/completions", place.chat(draw, n=draw.choice([1, 1, 2])), client, seen)


async def stream(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """A chat: its answer as a stream, to its end."""
    async with client.stream("POST", "/chat/completions", json=place.chat(draw, stream=True)) as answer:
        text = (await answer.aread()).decode()
    whole = answer.status_code != 200 or text.rstrip().endswith("[DONE]")
    seen.note("stream", answer.status_code if whole else 0, 200, text[-300:], answer.headers.get("retry-after"))


async def completion(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """Text that is gone on with; its log-probabilities."""
    body = {"model": draw.choice(place.models), "prompt": "The fee is", "max_tokens": 16, "logprobs": 2}
    await _asked("completion", "/completions", body, client, seen)


async def shaped(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """JSON by a schema."""
    wanted = {"name": "n", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    await _asked(
        "json", "/chat/completions", place.chat(draw, response_format={"type": "json_schema", "json_schema": wanted}), client, seen
    )


async def embedding(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    await _asked("embedding", "/embeddings", {"model": "starter", "input": ["late fee", "card"]}, client, seen)


async def models(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    answer = await client.get("/models")
    seen.note("models", answer.status_code, 200, answer.text)


async def files(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """A file comes, is read, and goes."""
    content = json.dumps({"messages": place.chat(draw)["messages"]}).encode() * draw.choice([1, 200])
    made = await client.post("/files", data={"purpose": "fine-tune"}, files={"file": ("train.jsonl", content)})
    seen.note("file", made.status_code, 200, made.text)
    if made.status_code == 200:
        read = await client.get(f"/files/{made.json()['id']}/content")
        seen.note("file", read.status_code if read.content == content else 0, 200, "other bytes than were sent")
        gone = await client.delete(f"/files/{made.json()['id']}")
        seen.note("file", gone.status_code, 200, gone.text)


async def crowd(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """More answers at once than the server lets wait, now and then: some of these, and of others meanwhile, are refused."""
    if time.monotonic() < seen.crowded_until:
        await asyncio.sleep(1.0)
        return
    seen.crowded_until = time.monotonic() + 45.0
    number, answers = OVERLOADING
    other = {"authorization": f"Bearer {place.other_key}"}
    bodies = [place.chat(draw, n=answers, max_tokens=4) for _ in range(number)]
    await asyncio.gather(*(_asked("crowd", "/chat/completions", body, client, seen, headers=other) for body in bodies))


async def slow(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """Reads a few bytes at a time, then the rest, or leaves."""
    reader, writer = await _connected(place, small=True)
    writer.write(place.raw("/chat/completions", json.dumps(place.chat(draw, stream=True, n=4, max_tokens=200, logprobs=True)).encode()))
    until, said = time.monotonic() + HELD_S, b""
    while time.monotonic() < until and (piece := await reader.read(64)):
        said += piece
        await asyncio.sleep(0.05)
    if draw.random() < 0.5:
        with contextlib.suppress(ConnectionError):
            while b"[DONE]" not in said[-64:] and (piece := await reader.read(65536)):
                said += piece
    _note_raw("slow", said, 200, seen)
    await _left(writer)


async def vanish(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """Asks for much, and hangs up: at once, before the first token, or in the middle; with a reset or without."""
    reader, writer = await _connected(place)
    body = place.chat(draw, stream=draw.random() < 0.7, n=draw.choice([1, 4]), max_tokens=400)
    writer.write(place.raw("/chat/completions", json.dumps(body).encode()))
    await writer.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(draw.choice([0.0, 0.05, 1.0])):
            await reader.read(2000)
    seen.answers["vanish", 0] += 1
    await _left(writer, reset=draw.random() < 0.5)


async def cut(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """Hangs up in the middle of what it sends: a chat, or a file."""
    _, writer = await _connected(place)
    if draw.random() < 0.5:
        writer.write(place.raw("/chat/completions", b'{"model": "starter", "mess', length=5_000))
    else:
        part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="t.jsonl"\r\n\r\n' + b"{}\n" * 100_000
        writer.write(place.raw("/files", part, "multipart/form-data; boundary=x", 2**30))
    await writer.drain()
    await asyncio.sleep(0.05)
    seen.answers["cut", 0] += 1
    await _left(writer, reset=draw.random() < 0.5)


async def malformed(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """What is no JSON, no chat, no key, no route, no HTTP."""
    body, status = draw.choice(ODD)
    answer = await client.post("/chat/completions", content=body, headers={"content-type": "application/json"})
    seen.note("malformed", answer.status_code, status, answer.text)
    answer = await client.get("/models", headers={"authorization": "Bearer lt-wrong"})
    seen.note("malformed", answer.status_code, 401, answer.text)
    answer = await client.post("/nowhere", json={})
    seen.note("malformed", answer.status_code, 404, answer.text)
    answer = await client.post("/files", content=b"no form", headers={"content-type": "multipart/form-data; boundary=x"})
    seen.note("malformed", answer.status_code, 400, answer.text)
    reader, writer = await _connected(place)
    writer.write(draw.choice(NO_HTTP))
    _note_raw("malformed", await reader.read(2000), 400, seen)
    await _left(writer)


async def large(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """A body that is too large, refused before it is read to its end, or after."""
    reader, writer = await _connected(place)
    writer.write(place.raw("/chat/completions", b"", length=TOO_LARGE))
    with contextlib.suppress(ConnectionError):
        for _ in range(TOO_LARGE // 2**20):
            writer.write(b" " * 2**20)
            await writer.drain()
            await asyncio.sleep(0)
        _note_raw("large", await reader.read(2000), 413, seen)
    await _left(writer)
    await asyncio.sleep(1.0)


async def silent(place: Place, client: httpx.AsyncClient, draw: random.Random, seen: Seen) -> None:
    """Opens a connection, and says nothing, or half of a request."""
    _, writer = await _connected(place)
    if draw.random() < 0.5:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-le")
    seen.answers["silent", 0] += 1
    await asyncio.sleep(draw.uniform(0.5, 2 * HELD_S))
    await _left(writer)


BEHAVED: dict[str, Client] = {f.__name__: f for f in (chat, stream, completion, shaped, embedding, models, files)}
OTHERS: dict[str, Client] = {f.__name__: f for f in (crowd, slow, vanish, cut, malformed, large, silent)}


async def _asked(kind: str, path: str, body: dict[str, Any], client: httpx.AsyncClient, seen: Seen, **more: Any) -> None:
    answer = await client.post(path, json=body, **more)
    seen.note(kind, answer.status_code, 200, answer.text, answer.headers.get("retry-after"))
    if answer.status_code == 429:
        await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), 2.0))


def _note_raw(kind: str, said: bytes, expected: int, seen: Seen) -> None:
    head, _, rest = said.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0
    seen.note(
        kind, status, expected, (head if status == 0 else rest).decode(errors="replace"), "1" if b"\r\nretry-after:" in head else None
    )


async def _connected(place: Place, small: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`small`: with little room for what has not been read."""
    opened = socket.socket()
    if small:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, place.address)
    return await asyncio.open_connection(sock=opened, limit=4096)


async def _left(writer: asyncio.StreamWriter, reset: bool = False) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
