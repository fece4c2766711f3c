"""A small account: a server on loopback that answers in the shapes of OpenAI's API, with its limits, its pages and its moods."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "sk-proj-0123456789abcdefghijKEY"

Object = dict[str, Any]


def file(id: str, filename: str, purpose: str, content: bytes, created_at: int = 1_700_000_000) -> Object:
    return {
        "object": "file",
        "id": id,
        "purpose": purpose,
        "filename": filename,
        "bytes": len(content),
        "created_at": created_at,
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }


def job(id: str, status: str = "succeeded", **more: Any) -> Object:
    numbers = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
    tuned = f"ft:gpt-4o-mini-2024-07-18:acme:tickets:{id[-8:]}" if status == "succeeded" else None
    return {
        "object": "fine_tuning.job",
        "id": id,
        "model": "gpt-4o-mini-2024-07-18",
        "created_at": 1_700_000_100,
        "finished_at": 1_700_003_600,
        "fine_tuned_model": tuned,
        "organization_id": "org-acme",
        "result_files": ["file-results"] if tuned else [],
        "status": status,
        "validation_file": None,
        "training_file": "file-train",
        "hyperparameters": numbers,
        "trained_tokens": 5070,
        "error": {},
        "user_provided_suffix": "tickets",
        "seed": 42,
        "estimated_finish": None,
        "integrations": [],
        "metadata": {"team": "a"},
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": numbers}},
        **more,
    }


@dataclass
class FakeAccount:
    """`lists`: what each path lists, in order. `objects`: single ones. `contents`: of files. `page`: elements a page at most.

    `moods`: path → answers given once each before the right one: `(status, headers)`, or `cut` for a body that breaks off,
        or `gone` for a
    connection that is closed at once. `asked`: how often each path was asked.
    """

    lists: dict[str, list[Object]] = field(default_factory=dict)
    objects: dict[str, Object] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    moods: dict[str, list[Any]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    page: int = 2
    asked: Counter[str] = field(default_factory=Counter)
    url: str = ""

    @contextmanager
    def served(self) -> Iterator["FakeAccount"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(account: FakeAccount) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16  # head and body in one packet, or each answer waits 40 ms

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path).removeprefix("/v1")
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            account.asked[path] += 1
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                return self.fails(401, f"Incorrect API key provided: {self.headers.get('Authorization')}.")
            if account.moods.get(path):
                return self.moody(account.moods[path].pop(0), account.contents.get(path, b""))
            if path in account.refused:
                return self.fails(*account.refused[path])
            if path in account.contents:
                return self.sends(account.contents[path], "application/octet-stream")
            if path in account.lists:
                return self.lists(account.lists[path], query)
            if path in account.objects:
                return self.sends(json.dumps(account.objects[path]).encode())
            return self.fails(404, f"No such File object: {path.rpartition('/')[2]}")

        def lists(self, found: list[Object], query: dict[str, str]) -> None:
            start = next((i + 1 for i, one in enumerate(found) if one["id"] == query.get("after")), 0)
            size = min(account.page, int(query.get("limit", 20)))
            shown = found[start : start + size]
            body = {"object": "list", "data": shown, "has_more": start + size < len(found)}
            self.sends(json.dumps(body | ({"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {})).encode())

        def moody(self, mood: Any, content: bytes) -> None:
            if mood == "gone":
                self.close_connection = True
            elif mood == "cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            else:
                self.fails(mood[0], "Rate limit reached.", mood[1])

        def fails(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
            error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
            self.sends(json.dumps(error).encode(), status=status, headers=headers)

        def sends(self, body: bytes, kind: str = "application/json", status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "x-request-id": "req_1", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


def usual() -> FakeAccount:
    """Four files, three jobs, an eval with a run, and three stored completions."""
    chats = b"".join(
        json.dumps({"messages": [{"role": "user", "content": f"Ticket {i}?"}, {"role": "assistant", "content": "billing"}]}).encode()
        + b"\n"
        for i in range(12)
    )
    csv = b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,0.5,0.9,,\n"
    account = FakeAccount()
    account.lists["/files"] = [
        file("file-train", "tickets ../../etc.jsonl", "fine-tune", chats),
        file("file-batch", "answers.jsonl", "batch_output", b'{"custom_id": "1"}\n'),
        file("file-image", "cat.png", "vision", b"\x89PNG"),
    ]
    account.objects["/files/file-results"] = file("file-results", "step_metrics.csv", "fine-tune-results", csv)
    account.contents |= {
        "/files/file-train/content": chats,
        "/files/file-batch/content": b'{"custom_id": "1"}\n',
        "/files/file-results/content": csv,
    }
    account.refused["/files/file-image/content"] = (400, "Not allowed to download files of purpose: vision")
    account.lists["/fine_tuning/jobs"] = [
        job("ftjob-cccccccc"),
        job("ftjob-bbbbbbbb", "failed", error={"code": "x", "message": "7 example(s)"}),
        job("ftjob-aaaaaaaa"),
    ]
    for one in account.lists["/fine_tuning/jobs"]:
        path = f"/fine_tuning/jobs/{one['id']}"
        events = [
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{n}",
                "created_at": n,
                "level": "info",
                "message": f"Step {n}/5",
                "data": None,
                "type": "message",
            }
            for n in range(5)
        ]
        account.lists[f"{path}/events"] = events[::-1]
        account.lists[f"{path}/checkpoints"] = [
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt_{n}",
                "created_at": n,
                "fine_tuned_model_checkpoint": f"ft:x:acme::{n}:ckpt-step-{n}",
                "fine_tuning_job_id": one["id"],
                "metrics": {"step": n},
                "step_number": n,
            }
            for n in (3, 2, 1)
        ]
    account.lists["/evals"] = [
        {
            "object": "eval",
            "id": "eval_1",
            "name": "tone",
            "created_at": 1,
            "testing_criteria": [],
            "data_source_config": {"type": "custom"},
        }
    ]
    account.lists["/evals/eval_1/runs"] = [{"object": "eval.run", "id": "evalrun_1", "eval_id": "eval_1", "status": "completed"}]
    account.lists["/evals/eval_1/runs/evalrun_1/output_items"] = [
        {"object": "eval.run.output_item", "id": f"item_{n}", "status": "pass"} for n in range(3)
    ]
    account.lists["/chat/completions"] = [
        {
            "object": "chat.completion",
            "id": f"chatcmpl-{n}",
            "created": 1_700_000_000 + n,
            "model": "gpt-4o",
            "request_id": f"req_{n}",
            "seed": 7,
            "temperature": 0.2,
            "top_p": 1.0,
            "tools": None,
            "tool_choice": None,
            "input_user": None,
            "metadata": {"task": "triage"},
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "billing"}, "finish_reason": "stop"}],
            "usage": {"total_tokens": 9},
        }
        for n in range(3)
    ]
    for n in range(3):
        account.lists[f"/chat/completions/chatcmpl-{n}/messages"] = [
            {"id": f"chatcmpl-{n}-0", "role": "user", "content": f"Ticket {n}?", "name": None}
        ]
    return account
