"""`VllmBackend`: an external vLLM, or another server that speaks OpenAI's language, with adapters that it loads while it runs."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from luthier.api.backend import internal
from luthier.api.vllm_pieces import Reading, pieces_of_whole
from luthier.spec.serving import Ask, BaseState, Done, Embed, Embedded, Fault, Piece, State

CONNECT_S, READ_S = 5.0, 600.0
RETRY_S = 5.0
"""Until a server that is too busy may be asked again, where it does not say."""

NAMES: Mapping[int, str] = {400: "bad_request", 404: "not_found", 422: "bad_request", 429: "overloaded", 503: "overloaded"}


class Refusal(Exception):
    """The server's answer is an error."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class VllmBackend:
    """`url`: of the server, with or without `/v1`. It must see adapters under the same paths (VLLM_ALLOW_RUNTIME_LORA_UPDATING=True).

    Bases are told apart by the path that the server was started with (`root` in its `/v1/models`), or by the name it serves them under.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=httpx.Timeout(READ_S, connect=CONNECT_S))
        self._loaded: set[str] = set()

    def start(self) -> None:
        """It runs already, or somebody else starts it."""

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        try:
            name = await self._name_of(ask.base, ask.adapter)
            async with aclosing(self._whole(ask, name) if ask.echo else self._streamed(ask, name)) as pieces:
                async for piece in pieces:
                    yield piece
        except Refusal as refusal:
            yield Piece(error=refusal.fault)
        except httpx.HTTPError as error:
            yield Piece(error=self._unreachable(error))

    async def embed(self, embed: Embed) -> Embedded:
        try:
            name = await self._name_of(embed.base, None)
            body = await self._post("/v1/embeddings", {"model": name, "input": embed.inputs, "encoding_format": "float"})
        except Refusal as refusal:
            return Embedded(error=refusal.fault)
        except httpx.HTTPError as error:
            return Embedded(error=self._unreachable(error))
        rows = sorted(body["data"], key=lambda row: row["index"])
        vectors = tuple(np.asarray(row["embedding"], dtype="<f4").tobytes() for row in rows)
        return Embedded(vectors=vectors, num_tokens=(body.get("usage") or {}).get("prompt_tokens", 0))

    async def load(self, base: str, adapter: str | None = None) -> Done:
        try:
            await self._name_of(base, adapter)
        except Refusal as refusal:
            return Done(error=refusal.fault)
        except httpx.HTTPError as error:
            return Done(error=self._unreachable(error))
        return Done()

    async def unload(self, base: str, adapter: str | None = None) -> Done:
        if adapter is None or (name := _adapter_name(adapter)) not in self._loaded:
            return Done()
        try:
            await self._post("/v1/unload_lora_adapter", {"lora_name": name})
        except Refusal as refusal:
            if refusal.fault.kind != "not_found":
                return Done(error=refusal.fault)
        except httpx.HTTPError as error:
            return Done(error=self._unreachable(error))
        self._loaded.discard(name)
        return Done()

    async def state(self) -> State | None:
        """Its bases; what it does with them its own `/metrics` says."""
        try:
            models = await self._models()
        except (Refusal, httpx.HTTPError):
            return None
        bases = tuple(
            BaseState(folder=str(m.get("root") or m["id"]), status="ready", context=m.get("max_model_len"))
            for m in models
            if not m.get("parent")
        )
        return State(pid=0, uptime_s=0.0, memory_bytes=0, bases=bases)

    async def close(self) -> None:
        await self._client.aclose()

    async def _name_of(self, base: str, adapter: str | None) -> str:
        """What the server calls a model; an adapter is loaded there where it is not yet. Raises `Refusal` for what it does not have."""
        models = await self._models()
        wanted = {base, str(Path(base).expanduser().absolute())}
        found = next((str(m["id"]) for m in models if not m.get("parent") and {m["id"], m.get("root")} & wanted), None)
        if found is None:
            names = ", ".join(str(m.get("root") or m["id"]) for m in models if not m.get("parent"))
            message = f"The server at {self.url} does not serve {base}: it was started with {names or 'no model'}."
            raise Refusal(Fault(kind="not_found", message=message, code="model_not_found", param="model"))
        if adapter is None:
            return found
        name = _adapter_name(adapter)
        if name not in {m["id"] for m in models}:
            await self._load_adapter(name, adapter)
        self._loaded.add(name)
        return name

    async def _load_adapter(self, name: str, folder: str) -> None:
        try:
            await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder})
        except Refusal as refusal:
            if "already" not in refusal.fault.message:  # another request was quicker
                raise

    async def _models(self) -> list[dict[str, Any]]:
        response = await self._client.get("/v1/models")
        if response.status_code != httpx.codes.OK:
            raise Refusal(_fault_of(response))
        models: list[dict[str, Any]] = response.json()["data"]
        return models

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._client.post(path, json=body)
        if response.status_code != httpx.codes.OK:
            raise Refusal(_fault_of(response))
        try:
            found = response.json()
        except ValueError:  # adapters are acknowledged in words
            return {}
        return found if isinstance(found, dict) else {}

    async def _streamed(self, ask: Ask, name: str) -> AsyncGenerator[Piece]:
        reading = Reading(ask)
        body = {**body_of(ask, name), "stream": True, "stream_options": {"include_usage": True}}
        async with self._client.stream("POST", _path(ask), json=body) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise Refusal(_fault_of(response))
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if not data or data == "[DONE]":
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    raise Refusal(_fault_in(chunk, 500))
                for piece in reading.take(chunk):
                    yield piece
        yield reading.end()

    async def _whole(self, ask: Ask, name: str) -> AsyncGenerator[Piece]:
        """With the prompt: how many of its tokens are the prompt's is only known at the end."""
        for piece in pieces_of_whole(ask, await self._post(_path(ask), body_of(ask, name))):
            yield piece

    def _unreachable(self, error: httpx.HTTPError) -> Fault:
        return internal(f"The server at {self.url} cannot be reached or broke off ({type(error).__name__}). Is it running?")


def body_of(ask: Ask, name: str) -> dict[str, Any]:
    """The request as vLLM documents it; what is as it is by default is left out."""
    drawn: dict[str, Any] = {
        "top_k": ask.top_k or None,
        "min_p": ask.min_p or None,
        "presence_penalty": ask.presence_penalty or None,
        "frequency_penalty": ask.frequency_penalty or None,
        "logit_bias": {str(id): bias for id, bias in ask.logit_bias.items()} or None,
        "stop": list(ask.stop) or None,
        "seed": ask.seed,
        "max_tokens": ask.max_tokens,
    }
    if ask.json_schema is not None:
        schema = {"name": "answer", "schema": ask.json_schema, "strict": True}
        drawn["response_format"] = {"type": "json_schema", "json_schema": schema}
    always = {"model": name, "n": ask.n, "temperature": ask.temperature, "top_p": ask.top_p}
    more = _chat(ask) if ask.messages is not None else _completion(ask)
    return {**always, **{key: value for key, value in {**drawn, **more}.items() if value is not None}}


def _chat(ask: Ask) -> dict[str, Any]:
    return {
        "messages": ask.messages,
        "tools": ask.tools or None,
        "tool_choice": ask.tool_choice if ask.tools else None,
        "logprobs": None if ask.top_logprobs is None else True,
        "top_logprobs": ask.top_logprobs,
        "chat_template": ask.chat_template,
        "chat_template_kwargs": ask.template_arguments or None,
    }


def _completion(ask: Ask) -> dict[str, Any]:
    return {"prompt": ask.prompt, "echo": ask.echo or None, "logprobs": ask.top_logprobs}


def _path(ask: Ask) -> str:
    return "/v1/completions" if ask.messages is None else "/v1/chat/completions"


def _adapter_name(folder: str) -> str:
    """One name for each folder, whatever its path holds."""
    return f"luthier-{hashlib.sha256(folder.encode()).hexdigest()[:16]}"


def _fault_of(response: httpx.Response) -> Fault:
    try:
        body = response.json()
    except ValueError:
        body = {}
    fault = _fault_in(body if isinstance(body, dict) else {}, response.status_code)
    if fault.kind != "overloaded":
        return fault
    after = response.headers.get("retry-after", "")
    return Fault(kind="overloaded", message=fault.message, code=fault.code, retry_after=float(after) if after.isdigit() else RETRY_S)


def _fault_in(body: Mapping[str, Any], status: int) -> Fault:
    """vLLM's errors, of before and after it put them under `error`."""
    found = body.get("error") if isinstance(body.get("error"), dict) else body
    message = str(found.get("message") or f"The server answered with status {status}.")  # type: ignore[union-attr]
    status = found.get("code") if isinstance(found.get("code"), int) else status  # type: ignore[union-attr,assignment]
    kind: Any = NAMES.get(status, "internal")
    if kind == "bad_request" and "maximum context length" in message:
        return Fault(kind=kind, message=message, code="context_length_exceeded", param="messages")
    return Fault(kind=kind, message=message, param=found.get("param"))  # type: ignore[union-attr]
