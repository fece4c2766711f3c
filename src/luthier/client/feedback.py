"""Feedback: what people say about answers, and the rows that come of it."""

from collections.abc import Mapping

from luthier.client.asking import Asking
from luthier.spec.feedback import Deleted, Export, Feedback, FeedbackKind, NewExport, NewFeedback, Unjudged
from luthier.spec.wire import Page


class FeedbackCalls:
    """Thumbs, scores, rankings and corrections."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def create(self, new: NewFeedback) -> Feedback:
        """Say something of a stored completion, or of answers that come with it."""
        return self._asking.ask(Feedback, "POST", "/api/feedback", body=new)

    def get(self, feedback: str) -> Feedback:
        return self._asking.ask(Feedback, "GET", "/api/feedback/{feedback}", {"feedback": feedback})

    def list(
        self,
        kind: FeedbackKind | None = None,
        completion: str | None = None,
        model: str | None = None,
        rater: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[Feedback]:
        """The newest first; a rater's key sees its own alone."""
        which = {"kind": kind, "completion": completion, "model": model, "rater": rater, "limit": limit, "after": after}
        query = {**which, **{f"metadata[{name}]": value for name, value in (metadata or {}).items()}}
        return self._asking.ask(Page[Feedback], "GET", "/api/feedback", query=query)

    def unjudged(self, model: str | None = None, limit: int = 20, after: str | None = None) -> Page[Unjudged]:
        """Stored completions of which this key has said nothing yet, the oldest first."""
        query = {"model": model, "limit": limit, "after": after}
        return self._asking.ask(Page[Unjudged], "GET", "/api/feedback/completions", query=query)

    def delete(self, feedback: str) -> Deleted:
        return self._asking.ask(Deleted, "DELETE", "/api/feedback/{feedback}", {"feedback": feedback})

    def export(self, new: NewExport = NewExport()) -> Export:
        """Make files of rows, which fine-tuning jobs take."""
        return self._asking.ask(Export, "POST", "/api/feedback/exports", body=new)
