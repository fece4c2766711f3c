"""What is counted: requests as they pass, and at each look the queue, the workers and the sampler process."""

import time
from collections.abc import Iterable

from fastapi.routing import iter_route_contexts
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.platform import Platform
from luthier.jobs.leases import Leases
from luthier.spec.serving import State
from luthier.store.tables import jobs

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Figures:
    """Of one gateway, since it began."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("luthier_requests", "Requests that were answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "luthier_request_seconds", "From a request to its last byte.", ("method", "route"), buckets=SECONDS, registry=self.registry
        )


class Counted:
    """Counts each request by its route, never by its path, which holds ids."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self.app, self.figures = app, figures
        self._paths: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # the client hung up before there was an answer

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, told)
        finally:
            route = self._path_of(scope)
            self.figures.requests.labels(scope["method"], route, str(status)).inc()
            self.figures.seconds.labels(scope["method"], route).observe(time.perf_counter() - began)

    def _path_of(self, scope: Scope) -> str:
        """The path of the route that was taken, as the interface's description has it."""
        if not self._paths:
            routes = iter_route_contexts(scope["app"].routes) if "app" in scope else ()
            self._paths = {id(context.original_route): str(context.path_format) for context in routes}
        return self._paths.get(id(scope.get("route")), "unknown")


def exposed(here: Platform, figures: Figures, state: State | None) -> bytes:
    """Everything, as text."""
    looked = CollectorRegistry()
    looked.register(_Look(here, state))
    return generate_latest(figures.registry) + generate_latest(looked)


class _Look(Collector):
    """What is read off the database and the sampler process at the moment of the look."""

    def __init__(self, here: Platform, state: State | None) -> None:
        self.here, self.state = here, state

    def collect(self) -> Iterable[Metric]:
        yield from self._of_jobs()
        yield GaugeMetricFamily("luthier_sampler_up", "Whether the sampler process answers.", value=float(self.state is not None))
        if self.state is not None:
            yield from _of_sampler(self.state)
            yield from _of_models(self.state)

    def _of_jobs(self) -> Iterable[Metric]:
        counted = GaugeMetricFamily("luthier_jobs", "Jobs there are.", labels=("project", "kind", "status"))
        with self.here.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.project, jobs.c.kind, jobs.c.status, func.count()).group_by(jobs.c.project, jobs.c.kind, jobs.c.status)
            )
            for project, kind, status, number in rows:
                counted.add_metric((project, kind, status), number)
        yield counted
        workers = Leases(self.here.database).working()
        yield GaugeMetricFamily("luthier_workers", "Workers that were heard of lately.", value=len(workers))


def _of_sampler(state: State) -> Iterable[Metric]:
    gauges = {
        "luthier_sampler_memory_bytes": ("Memory of the sampler process.", state.memory_bytes),
        "luthier_sampler_waiting": ("Answers that wait for a place.", state.waiting),
        "luthier_sampler_running": ("Answers that are being drawn.", state.running),
    }
    for name, (help_, value) in gauges.items():
        yield GaugeMetricFamily(name, help_, value=value)
    for name, value in (
        ("requests", state.requests),
        ("overloaded", state.overloaded),
        ("cancelled", state.cancelled),
        ("failed", state.failed),
    ):
        yield CounterMetricFamily(f"luthier_sampler_{name}", f"Since the sampler process began: {name}.", value=value)
    buckets, total = [], 0
    for bound, count in zip((*map(str, state.first_token_bounds), "+Inf"), state.first_token_counts, strict=False):
        total += count
        buckets.append((bound, float(total)))
    if buckets:
        name = "luthier_sampler_first_token_seconds"
        yield HistogramMetricFamily(name, "From a request to its first token.", buckets=buckets, sum_value=state.first_token_sum_s)


def _of_models(state: State) -> Iterable[Metric]:
    labels = ("base", "adapter")
    families = {
        kind: CounterMetricFamily(f"luthier_sampler_{kind}", f"Of each model: {kind.replace('_', ' ')}.", labels=labels)
        for kind in ("prompt_tokens", "completion_tokens", "cached_tokens", "model_requests")
    }
    for model in state.models:
        at = (_name(model.base), _name(model.adapter or ""))
        families["model_requests"].add_metric(at, model.requests)
        for kind in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            families[kind].add_metric(at, getattr(model, kind))
    yield from families.values()


def _name(folder: str) -> str:
    """A folder's last part: the rest is nobody's business."""
    return folder.rstrip("/").rpartition("/")[2]
