"""An external vLLM: its documented requests and streams, by a small server that speaks them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from luthier.api.backend_vllm import VllmBackend
from luthier.spec.serving import Ask, Embed, Piece, Usage

BASE = "/models/base"


class Vllm(ThreadingHTTPServer):
    """Remembers what it was asked; answers with the shapes of vLLM's documentation."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.adapters: list[str] = []
        self.busy = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Vllm

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        models = [{"id": "base", "object": "model", "root": BASE, "parent": None, "max_model_len": 4096}]
        models += [{"id": name, "object": "model", "root": "/a", "parent": "base"} for name in self.server.adapters]
        self.say({"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        if self.server.busy:
            self.say({"error": {"message": "Too many requests", "type": "TooManyRequests", "code": 429}}, 429, {"retry-after": "7"})
        elif self.path == "/v1/load_lora_adapter":
            if "missing" in body["lora_path"]:
                self.say({"error": {"message": f"No adapter found for {body['lora_path']}", "type": "NotFoundError", "code": 404}}, 404)
            else:
                self.server.adapters.append(body["lora_name"])
                self.text(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")
        elif self.path == "/v1/unload_lora_adapter":
            self.server.adapters.remove(body["lora_name"])
            self.text(f"Success: LoRA adapter '{body['lora_name']}' removed successfully.")
        elif self.path == "/v1/embeddings":
            rows = [{"index": i, "object": "embedding", "embedding": [float(i), 1.0]} for i in reversed(range(len(body["input"])))]
            self.say({"object": "list", "data": rows, "usage": {"prompt_tokens": 4, "total_tokens": 4}})
        elif self.path == "/v1/completions" and body.get("echo"):
            self.say(ECHOED)
        elif body.get("messages") and "too long" in str(body["messages"]):
            words = "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."
            self.say({"error": {"message": words, "type": "BadRequestError", "param": None, "code": 400}}, 400)
        else:
            self.stream(CALLS if body.get("tools") else CHAT if body.get("messages") else TEXT)

    def say(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.text(json.dumps(body), status, headers)

    def text(self, text: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def stream(self, chunks: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def _delta(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


USED = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}}
TOP = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]
CHAT = [
    _delta({"role": "assistant", "content": ""}),
    _delta({"content": "Hi"}, logprobs={"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": TOP}]}),
    _delta({"content": " you"}, "stop"),
    USED,
]
CALLS = [
    _delta({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}]}),
    _delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]}),
    _delta({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    _delta({}, "tool_calls"),
    USED,
]
TEXT = [
    {"object": "text_completion", "choices": [{"index": 1, "text": "upon", "finish_reason": None}]},
    {"object": "text_completion", "choices": [{"index": 1, "text": " a", "finish_reason": "length"}]},
    USED,
]
ECHOED = {
    "choices": [
        {
            "index": 0,
            "text": "Once upon a",
            "finish_reason": "length",
            "logprobs": {
                "tokens": ["Once", " upon", " a"],
                "token_logprobs": [None, -1.0, -2.0],
                "top_logprobs": [None, {" upon": -1.0}, {" the": -0.5}],
                "text_offset": [0, 4, 9],
            },
        }
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1},
}


@pytest.fixture
def vllm() -> Iterator[Vllm]:
    server = Vllm()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def heard(server: Vllm, *asks: Ask) -> list[list[Piece]]:
    async def work() -> list[list[Piece]]:
        backend = VllmBackend(server.url, "secret")
        try:
            return [[piece async for piece in backend.answer(ask)] for ask in asks]
        finally:
            await backend.close()

    return asyncio.run(work())


ASK = Ask(base=BASE, messages=[{"role": "user", "content": "Hello"}], max_tokens=9, seed=3, top_logprobs=1, stop=("x",))


def test_a_chat_streams_with_log_probabilities_and_usage(vllm: Vllm) -> None:
    ((*pieces, last),) = heard(vllm, ASK)
    assert [piece.text for piece in pieces] == ["Hi", " you"]
    assert pieces[0].tokens[0].logprob == -0.5 and pieces[0].tokens[0].top[0].bytes == b"Hi"
    assert pieces[-1].finish_reason == "stop"
    assert last.usage == Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=3)
    path, body = vllm.asked[-1]
    assert path == "/v1/chat/completions"
    wanted = {"model": "base", "max_tokens": 9, "seed": 3, "stop": ["x"], "logprobs": True, "top_logprobs": 1, "stream": True}
    assert wanted.items() <= body.items() and body["stream_options"] == {"include_usage": True}
    assert "top_k" not in body and "tools" not in body


def test_calls_that_come_in_parts_are_told_whole(vllm: Vllm) -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    (pieces,) = heard(vllm, Ask(base="base", messages=ASK.messages, tools=[tool]))
    (call,) = pieces[-2].tool_calls
    assert call == {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    assert pieces[-2].finish_reason == "tool_calls"


def test_text_is_gone_on_with_and_an_echo_is_cut_where_the_prompt_ends(vllm: Vllm) -> None:
    streamed, echoed = heard(
        vllm, Ask(base=BASE, prompt="Once", n=2), Ask(base=BASE, prompt=[1, 2], echo=True, top_logprobs=1, max_tokens=1)
    )
    assert [(p.index, p.text) for p in streamed[:-1]] == [(1, "upon"), (1, " a")]
    assert echoed[0].prompt_text == "Once upon" and [t.logprob for t in echoed[0].prompt_tokens] == [None, -1.0]
    assert echoed[1].text == " a" and echoed[1].tokens[0].top[0].text == " the"


def test_an_adapter_is_loaded_once(vllm: Vllm) -> None:
    ask = Ask(base=BASE, adapter="/tuned/a", messages=ASK.messages)
    heard(vllm, ask, ask)
    paths = [path for path, _ in vllm.asked]
    assert paths == ["/v1/load_lora_adapter", "/v1/chat/completions", "/v1/chat/completions"]
    assert vllm.asked[0][1]["lora_path"] == "/tuned/a"
    assert vllm.asked[1][1]["model"] == vllm.adapters[0]


def test_what_it_does_not_have_is_a_sentence(vllm: Vllm) -> None:
    missing = Ask(base=BASE, adapter="/missing", messages=ASK.messages)
    long = Ask(base=BASE, messages=[{"role": "user", "content": "too long"}])
    errors = [pieces[-1].error for pieces in heard(vllm, Ask(base="/other", prompt="x"), missing, long)]
    assert [(e.kind, e.code) for e in errors if e] == [
        ("not_found", "model_not_found"),
        ("not_found", None),
        ("bad_request", "context_length_exceeded"),
    ]
    assert errors[0] is not None and f"was started with {BASE}" in errors[0].message


def test_a_busy_server_says_when_to_come_back(vllm: Vllm) -> None:
    vllm.busy = True
    ((piece,),) = heard(vllm, ASK)
    assert piece.error is not None and (piece.error.kind, piece.error.retry_after) == ("overloaded", 7.0)


def test_a_server_that_is_not_there_is_a_sentence() -> None:
    async def asked() -> tuple[Piece, object]:
        backend = VllmBackend("http://127.0.0.1:9")
        try:
            return await anext(backend.answer(ASK)), await backend.state()
        finally:
            await backend.close()

    piece, state = asyncio.run(asked())
    assert piece.error is not None and "cannot be reached" in piece.error.message and state is None


def test_embeddings_state_and_leaving(vllm: Vllm) -> None:
    async def work() -> tuple[Any, Any, list[str], list[str]]:
        backend = VllmBackend(vllm.url)
        try:
            told, state = await backend.embed(Embed(base=BASE, inputs=["a", "b"])), await backend.state()
            assert (await backend.load(BASE, "/tuned/a")).error is None
            there = list(vllm.adapters)
            assert (await backend.unload(BASE, "/tuned/a")).error is None
            return told, state, there, list(vllm.adapters)
        finally:
            await backend.close()

    told, state, there, left = asyncio.run(work())
    assert [np.frombuffer(v, "<f4").tolist() for v in told.vectors] == [[0.0, 1.0], [1.0, 1.0]] and told.num_tokens == 4
    assert (state.bases[0].folder, state.bases[0].context) == (BASE, 4096)
    assert len(there) == 1 and left == []
