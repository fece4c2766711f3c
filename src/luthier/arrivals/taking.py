"""Everything that an OpenAI account hands out, into an archive and, if wanted, into a project here. What is there is not fetched again."""

import re
from typing import Any, Protocol
from urllib.parse import quote

from luthier.arrivals import next_steps
from luthier.arrivals.account import Account, Refused
from luthier.arrivals.archive import CHECKPOINTS, CONTENT, EVENTS, FILE, JOB, Archive
from luthier.arrivals.platform import Arriving

ENDED = ("succeeded", "failed", "cancelled", "canceled", "completed")
"""States of jobs, and of runs of evals, in which nothing changes any more."""
FILES_A_PAGE = 1000

Told = dict[str, Any]


class Listener(Protocol):
    """Told how far it is."""

    def total(self, what: str, number: int | None) -> None: ...

    def step(self, what: str, status: str = "") -> None: ...

    def say(self, sentence: str) -> None: ...


def take(account: Account, archive: Archive, arriving: Arriving | None, listener: Listener) -> None:
    """All of it: files, jobs with events and checkpoints, their results, evals with runs, stored completions; then what to do next.

    Raises:
        AccountError: the key is refused, or nobody answers; what was taken stays. StorageError: it cannot be kept.
    """
    account.say = listener.say
    taking = _Taking(account, archive, arriving, listener)
    taking.each("files", "/files", taking.file, limit=FILES_A_PAGE)
    taking.each("fine-tuning jobs", "/fine_tuning/jobs", taking.job)
    taking.results()
    taking.each("evals", "/evals", taking.evaluation)
    taking.each("stored completions", "/chat/completions", taking.completion)
    next_steps.write(archive, arriving is not None)


class _Taking:
    def __init__(self, account: Account, archive: Archive, arriving: Arriving | None, listener: Listener) -> None:
        self.account, self.archive, self.arriving, self.listener = account, archive, arriving, listener

    def each(self, what: str, path: str, one: Any, limit: int = 100) -> None:
        """Every element of a list. A list that is not handed out is noted."""
        self.listener.total(what, None)
        try:
            found = list(self.account.pages(path, limit))
        except Refused as refused:
            self.archive.note(what, "", (), missing=str(refused))
            return
        if any(entry for entry in self.archive.entries(what)):
            self.archive.note(what, "", ())  # it was refused once, and now it is not
        self.listener.total(what, len(found))
        for told in found:
            try:
                one(told)
            except Refused as refused:
                self.archive.note(what, str(told.get("id")), (), missing=str(refused))
            self.listener.step(what)

    def file(self, told: Told) -> None:
        """A file with its content."""
        id = str(told["id"])
        if self.archive.has("file", id) is not None:
            return
        parts = [self.archive.write("file", id, FILE, told)]
        content = self.archive.place("file", id) / content_name(str(told.get("filename")))
        try:
            sha256, number = self.account.download(f"/files/{_quoted(id)}/content", content)
        except Refused as refused:
            self.archive.note("file", id, parts, missing=f"{told.get('filename')} ({told.get('purpose')}): {refused}")
            return
        part, here = self.archive.part(content, sha256, number), None
        if self.arriving is not None:
            here = self.arriving.file(told, content)
            part["moved"] = True
        self.archive.note("file", id, [*parts, part], content_bytes=number, platform=here)
        if here is not None:
            content.unlink()

    def job(self, told: Told) -> None:
        """A fine-tuning job, with events and checkpoints. One that has not ended is taken anew each time."""
        id = str(told["id"])
        known = self.archive.has("job", id)
        if known is not None and known.get("status") in ENDED:
            return
        path, missing = f"/fine_tuning/jobs/{_quoted(id)}", list[str]()
        parts = [self.archive.write("job", id, JOB, told)]
        for name, inner in ((EVENTS, "events"), (CHECKPOINTS, "checkpoints")):
            try:
                found = list(self.account.pages(f"{path}/{inner}"))
            except Refused as refused:
                missing.append(f"{inner}: {refused}")
                continue
            parts.append(self.archive.write("job", id, name, found if name == EVENTS else {"object": "list", "data": found}))
        self.archive.note("job", id, parts, status=told.get("status"), missing="; ".join(missing) or None)

    def results(self) -> None:
        """Files that jobs name and no list showed."""
        wanted = [
            str(id)
            for job in self.archive.jobs()
            for id in [*(job.get("result_files") or ()), job.get("training_file"), job.get("validation_file")]
            if id
        ]
        for id in dict.fromkeys(wanted):
            if self.archive.has("file", id) is not None:
                continue
            try:
                told = self.account.get(f"/files/{_quoted(id)}")
            except Refused as refused:
                self.archive.note("file", id, (), missing=f"a job's file: {refused}")
                continue
            self.file({**told, "id": id})

    def evaluation(self, told: Told) -> None:
        """An eval with its runs, and what came out, item by item."""
        id = str(told["id"])
        if self.archive.has("eval", id) is None:
            self.archive.note("eval", id, [self.archive.write("eval", id, "eval.json", told)])
        for run in self.account.pages(f"/evals/{_quoted(id)}/runs"):
            run_id = str(run["id"])
            known = self.archive.has("run", run_id)
            if known is not None and known.get("status") in ENDED:
                continue
            parts, missing = [self.archive.write("run", run_id, "run.json", run)], None
            try:
                items = list(self.account.pages(f"/evals/{_quoted(id)}/runs/{_quoted(run_id)}/output_items"))
                parts.append(self.archive.write("run", run_id, "items.jsonl", items))
            except Refused as refused:
                missing = f"output items: {refused}"
            self.archive.note("run", run_id, parts, status=run.get("status"), missing=missing, eval=id)

    def completion(self, told: Told) -> None:
        """A stored completion with the messages that it answers."""
        id = str(told["id"])
        if self.archive.has("completion", id) is not None:
            return
        missing, messages = None, list[Told]()
        try:
            messages = list(self.account.pages(f"/chat/completions/{_quoted(id)}/messages"))
        except Refused as refused:
            missing = f"what was asked: {refused}"
        part = self.archive.write("completion", id, "completion.json", {"completion": told, "messages": messages})
        if self.arriving is not None and messages:
            self.arriving.completion(told, messages)
        self.archive.note("completion", id, [part], missing=missing)


def _quoted(id: str) -> str:
    return quote(id, safe="")


def content_name(filename: str) -> str:
    """What a content is called in the archive: formats are recognized by their endings, and nothing else of the name is a path."""
    ending = re.search(r"\.[A-Za-z0-9]{1,8}$", filename)
    return CONTENT + (ending.group().lower() if ending else "")
