"""Comparisons: which of two models answers better."""

from luthier.client.asking import Asking
from luthier.spec.comparisons import Comparison, ComparisonExamples, ComparisonStatus, NewComparison
from luthier.spec.wire import Page


class Comparisons:
    """Jobs: ask for one, and look until it has ended."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def create(self, new: NewComparison) -> Comparison:
        """Two models, the same prompts, and who judges."""
        return self._asking.ask(Comparison, "POST", "/api/comparisons", body=new)

    def list(self, status: ComparisonStatus | None = None, limit: int = 20, after: str | None = None) -> Page[Comparison]:
        """The newest first."""
        query = {"status": status, "limit": limit, "after": after}
        return self._asking.ask(Page[Comparison], "GET", "/api/comparisons", query=query)

    def get(self, comparison: str) -> Comparison:
        """With its result, once it has succeeded."""
        return self._asking.ask(Comparison, "GET", "/api/comparisons/{comparison}", {"comparison": comparison})

    def examples(self, comparison: str, after_number: int = 0, limit: int = 20) -> ComparisonExamples:
        """Prompts with both answers and the verdict, once it has succeeded."""
        query = {"after_number": after_number, "limit": limit}
        path = {"comparison": comparison}
        return self._asking.ask(ComparisonExamples, "GET", "/api/comparisons/{comparison}/examples", path, query)

    def cancel(self, comparison: str) -> Comparison:
        """End it for good."""
        return self._asking.ask(Comparison, "POST", "/api/comparisons/{comparison}/cancel", {"comparison": comparison})
