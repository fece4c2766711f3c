"""The gateway as a process: where it listens, who works for it, and how it leaves."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from luthier.api.connections import Patient
from luthier.errors import UserError

TRIED = 50
"""Ports from the wanted one on that are tried where it is taken."""

BACKLOG = 2048
"""Connections that wait to be taken."""

DRAIN_S = 30
"""How long requests under way may take after SIGTERM."""

PERIOD_S, LONGEST_PERIOD_S = 0.5, 30.0
"""Before a worker that ended is started again: at first, and where it ends again and again."""


class ListenError(UserError):
    """An address on which the gateway cannot listen, or must not."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `port`, or on the next free one.

    Raises:
        ListenError: no such address here, or no free port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in range(port, port + TRIED):
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: only then asyncio sends each answer at once
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, number))
            opened.listen(BACKLOG)  # from now on whoever connects waits, and nobody else gets the port
        except OverflowError as error:
            opened.close()
            raise ListenError(f"{number} is no port; give one from 1 to 65535 with --port.") from error
        except OSError as error:
            opened.close()
            if error.errno not in (98, 48, 13):  # taken, on Linux and macOS; or not ours to take
                raise ListenError(f"Cannot listen on {host}: {error.strerror}. Give an address of this machine with --host.") from error
            continue
        opened.set_inheritable(True)
        return opened
    raise ListenError(f"The ports {port} to {port + TRIED - 1} of {host} are all taken. Give another one with --port.")


def serve(app: FastAPI, opened: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; those under way are answered first. Returns after SIGTERM; for the main thread."""
    config = uvicorn.Config(
        app,
        http=Patient,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
    )
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again at its end: this process has a worker to wait for
    try:
        uvicorn.Server(config).run(sockets=[opened])
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def kept_running(command: Sequence[str], told: Mapping[str, str]) -> Iterator[None]:
    """A process beside this one, started again where it ends; asked to leave at the end, and waited for.

    Args:
        told: variables of its environment, which nobody else can read as they could its command line.
    """
    leaving = threading.Event()
    started: list[subprocess.Popen[bytes]] = []

    def keep() -> None:
        wait = PERIOD_S
        while not leaving.is_set():
            began = time.monotonic()
            line = [*command, "--parent", str(os.getpid())]
            started.append(subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **told}))
            started[-1].wait()
            wait = PERIOD_S if time.monotonic() - began > LONGEST_PERIOD_S else min(2 * wait, LONGEST_PERIOD_S)
            leaving.wait(wait)

    thread = threading.Thread(target=keep, name="worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        if started and started[-1].poll() is None:
            started[-1].terminate()
        thread.join(DRAIN_S)
        if started and started[-1].poll() is None:
            started[-1].kill()
