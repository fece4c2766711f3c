"""The sampler process from its beginning to its end."""

import asyncio
import logging
import signal
import socket
import sys
from typing import Any

from luthier.serve.limits import Limits
from luthier.serve.service import GRACE_S, Service

BACKLOG = 2048

FAILED = 3
"""The exit code of a process that could not go on drawing."""


def serve(listener: socket.socket, limits: Limits) -> int:
    """Answer whoever connects to `listener` until SIGTERM or Ctrl-C. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return asyncio.run(_serve(listener, limits))


async def _serve(listener: socket.socket, limits: Limits) -> int:
    loop, asked_to_leave = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_leave.set)
    service = Service(limits)
    kept: Any = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}  # its path is the gateway's, who starts others on it
    server = await asyncio.start_unix_server(service.handle, sock=listener, backlog=BACKLOG, **kept)
    waits = [loop.create_task(event.wait()) for event in (asked_to_leave, service.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    server.close()
    if service.failed.is_set():
        return FAILED
    await service.drain(GRACE_S)
    service.close()
    return 0
