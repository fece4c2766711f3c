"""A gateway of the tests' own: its platform in a folder, keys for it, and a server on loopback for clients that need one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from luthier.accounts.keys import Wanted
from luthier.api.platform import Platform, open_platform
from luthier.api.server import listen
from luthier.store.home import Home


class NoModels:
    """A backend for tests that ask no model."""

    def start(self) -> None:
        pass

    def answer(self, ask: Any) -> Any:
        raise AssertionError("a model is asked")

    async def embed(self, embed: Any) -> Any:
        raise AssertionError("a model is asked")

    async def state(self) -> None:
        return None

    async def load(self, base: str, adapter: str | None = None) -> Any:
        raise AssertionError("a model is loaded")

    async def unload(self, base: str, adapter: str | None = None) -> Any:
        raise AssertionError("a model is unloaded")

    async def close(self) -> None:
        pass


def platform_in(folder: Path, database: str | None = None) -> Platform:
    return open_platform(Home(str(folder), database), NoModels())  # type: ignore[arg-type]


def key_for(platform: Platform, project: str = "default", role: str = "member") -> str:
    """A new key; its project is made where it is not there."""
    if project not in (known := {found.name: found.id for found in platform.accounts.projects.all()}):
        known[project] = platform.accounts.projects.create(project).id
    return platform.accounts.keys.create(Wanted(known[project], role))[1]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of a server that answers from a thread of this process."""
    opened = listen("127.0.0.1", 8421)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        opened.close()
