"""`Patient`: a client's connection, which is let go when nothing comes that is owed, or nothing is taken that was asked for."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Patient(H11Protocol):
    """uvicorn's own gives up only on connections between two requests. Whoever opens one and says nothing, stops in the middle of a
    request, or never reads the answer, would hold it, and what serves it, for ever.

    `silent_s`: between two stretches of a request. `taken_s`: until a full buffer of an answer (64 KiB) has been read.
    """

    silent_s: float = 75.0
    taken_s: float = 300.0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._silence: asyncio.TimerHandle | None = None
        self._full: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._listen()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._listen()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel(self._silence, self._full)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._full = self.loop.call_later(self.taken_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel(self._full)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():  # closing waits until it is empty
            self._full = self.loop.call_later(self.taken_s, self.transport.abort)

    @property
    def _is_owed(self) -> bool:
        """Whether it is for the client to go on: with a request's beginning, or with its body."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _listen(self) -> None:
        self._cancel(self._silence)
        if self._is_owed and not self.transport.is_closing():
            self._silence = self.loop.call_later(self.silent_s, self._unheard)

    def _unheard(self) -> None:
        if not self._is_owed:
            return
        if self.flow.read_paused:  # it is we who do not listen
            self._listen()
        else:
            self.transport.abort()

    def _cancel(self, *timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()
