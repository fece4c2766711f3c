"""Where the gateway listens."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import uvicorn

from luthier.api.connections import Patient
from luthier.api.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_leave_at_once(host: str):
    """asyncio turns Nagle's algorithm off only where a socket names its protocol; with it, an answer on a kept connection took 48 ms."""
    with closing(listen(host, 8521)) as opened:
        assert opened.proto == socket.IPPROTO_TCP


class Hasty(Patient):
    silent_s = 0.2
    taken_s = 0.2


LARGE = 64 * 2**20


class App:
    """Answers with what was sent, or, at /large, with much. `ended`: why each of its answers came to an end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.append("left")
                return
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(LARGE // 2**20 if scope["path"] == "/large" else 0):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
        await send({"type": "http.response.body", "body": body})
        self.ended.append("answered")


@contextlib.asynccontextmanager
async def hasty(app: App) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    with closing(listen("127.0.0.1", 8531)) as opened:
        server = uvicorn.Server(uvicorn.Config(app, http=Hasty, lifespan="off", log_config=None, access_log=False))
        running = asyncio.create_task(server.serve(sockets=[opened]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield server, opened.getsockname()[1]
        server.should_exit = True
        await running


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "ended"),
    [(b"", []), (b"POST / HTTP/1.1\r\nhost", []), (HEAD + b"abc", ["left"]), (HEAD + b"abcde|" + HEAD[:9], ["answered"])],
    ids=["nothing", "half a head", "half a body", "half of a second request"],
)
def test_who_stops_in_the_middle_is_let_go(said: bytes, ended: list[str]):
    app = App()

    async def told() -> int:
        async with hasty(app) as (server, port), asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for stretch in said.split(b"|"):
                writer.write(stretch)
                await asyncio.sleep(0.05)
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(1000):
                    pass
            writer.close()
            await asyncio.sleep(0.02)
            return len(server.server_state.connections)

    assert asyncio.run(told()) == 0
    assert app.ended == ended


def test_who_never_reads_an_answer_is_let_go():
    app = App()

    async def told() -> None:
        async with hasty(app) as (server, port), asyncio.timeout(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.1)
            assert len(server.server_state.connections) == 1 and not app.ended
            while server.server_state.connections or not app.ended:
                await asyncio.sleep(0.02)
            writer.close()

    asyncio.run(told())


def test_a_slow_client_that_goes_on_is_answered():
    """Longer than is waited for silence, a byte at a time."""
    app = App()

    async def told() -> bytes:
        async with hasty(app) as (_, port), asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            for byte in b"abcde":
                await asyncio.sleep(0.08)
                writer.write(bytes([byte]))
            answer = await reader.readuntil(b"abcde")
            writer.close()
            return answer

    assert asyncio.run(told()).startswith(b"HTTP/1.1 200")


STREAMS = """
import asyncio, sys
from luthier.api.server import listen, serve

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.to_thread(sys.stdin.readline)
    await send({"type": "http.response.body", "body": b"last"})

opened = listen("127.0.0.1", 8541)
print(opened.getsockname()[1], flush=True)
serve(app, opened)
print("left", flush=True)
"""
"""Goes on with an answer when it is told a line."""


def test_who_is_being_answered_at_sigterm_hears_the_end():
    """Nobody new is let in meanwhile, and what comes after `serve` is done: a worker is told to leave there."""
    with subprocess.Popen([sys.executable, "-c", STREAMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        with httpx.stream("GET", f"http://127.0.0.1:{port}/", timeout=20) as answer:
            told = answer.iter_text()
            assert next(told) == "first"
            process.send_signal(signal.SIGTERM)
            while is_open(port):
                time.sleep(0.01)
            print(file=process.stdin, flush=True)
            assert list(told) == ["last"]
        assert process.stdout.read() == "left\n"
    assert process.returncode == 0


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True
