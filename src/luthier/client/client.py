"""`Client`: everything under `/api`, typed by what the gateway itself is typed by."""

from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx

from luthier.client.accounts import Audit, Keys, Logs, Projects
from luthier.client.asking import TIMEOUT_S, Asking
from luthier.client.comparisons import Comparisons
from luthier.client.feedback import FeedbackCalls
from luthier.client.plans import Plans
from luthier.client.runs import Runs
from luthier.spec.wire import One, Page


class Client:
    """A gateway's own resources.

    with Client("http://127.0.0.1:8321", api_key="lt-…") as client:
        client.feedback.create(NewFeedback(completion="chatcmpl-…", thumb="up"))

    Args:
        base_url: with or without `/v1`; otherwise LUTHIER_BASE_URL or OPENAI_BASE_URL says it, or it is this machine's.
        api_key: otherwise LUTHIER_API_KEY or OPENAI_API_KEY says it. project: for a key for every project, the one that is meant.
        http: a connection of one's own.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        project: str | None = None,
        timeout_s: float = TIMEOUT_S,
        http: httpx.Client | None = None,
    ) -> None:
        self._asking = Asking(base_url, api_key, project, timeout_s, http)
        self.runs = Runs(self._asking)
        self.plans = Plans(self._asking)
        self.comparisons = Comparisons(self._asking)
        self.feedback = FeedbackCalls(self._asking)
        self.projects = Projects(self._asking)
        self.keys = Keys(self._asking)
        self.audit = Audit(self._asking)
        self.logs = Logs(self._asking)

    def close(self) -> None:
        self._asking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def each(call: Callable[..., Page[One]], **which: Any) -> Iterator[One]:
    """Everything that a list has, page by page: `each(client.feedback.list, kind="thumb")`. Raises `ClientError`."""
    after: str | None = None
    while True:
        page = call(**which, **({"after": after} if after is not None else {}))
        yield from page.data
        if not page.has_more or page.last_id is None:
            return
        after = page.last_id
