"""`Backend`: whoever draws answers for the gateway. Here without a model, a tensor or a device."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from luthier.spec.serving import Ask, Done, Embed, Embedded, Fault, Piece, State

if TYPE_CHECKING:
    from luthier.store.home import Home


class Backend(Protocol):
    """Nothing here raises for what can go wrong with a request, a model or the process behind it: replies say it in their `error`."""

    def start(self) -> None:
        """Begin to get ready, without waiting for it. Without it, the first request does."""
        ...

    def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        """The pieces of all answers as they come; the last one has `usage` or `error`. Closing the iterator early hangs up."""
        ...

    async def embed(self, embed: Embed) -> Embedded: ...

    async def state(self) -> State | None:
        """None where there is nobody to say yet."""
        ...

    async def load(self, base: str, adapter: str | None = None) -> Done:
        """Make a model ready for use."""
        ...

    async def unload(self, base: str, adapter: str | None = None) -> Done: ...

    async def close(self) -> None:
        """End what was started."""
        ...


def internal(message: str) -> Fault:
    """A fault that is nobody's who asked."""
    return Fault(kind="internal", message=message)


def backend_of(home: "Home", vllm: str | None = None, key: str | None = None) -> Backend:
    """An external vLLM at a URL, with its key where it wants one; or a process of this machine."""
    if vllm is not None:
        from luthier.api.backend_vllm import VllmBackend

        return VllmBackend(vllm, key)
    from luthier.api.backend_embedded import EmbeddedBackend

    return EmbeddedBackend(home.folder / "sampler.log")
