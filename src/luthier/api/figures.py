"""What is counted: requests as they pass, and at each look the queue, the workers and the sampler process."""

import time
from collections.abc import Iterable

import psutil
from fastapi.routing import iter_route_contexts
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.platform import Platform
from luthier.jobs.leases import Leases
from luthier.spec.serving import Price, State
from luthier.store.database import now
from luthier.store.tables import jobs, tunings

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


class RouteNames:
    """The path of the route that a request took, as the interface's description has it: it holds no ids."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {}

    def of(self, scope: Scope) -> str:
        if not self._paths:
            routes = iter_route_contexts(scope["app"].routes) if "app" in scope else ()
            self._paths = {id(context.original_route): str(context.path_format) for context in routes}
        return self._paths.get(id(scope.get("route")), "unknown")


class Counted:
    """Counts each request by its route, never by its path, which holds ids."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self.app, self.figures, self.routes = app, figures, RouteNames()

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
            route = self.routes.of(scope)
            self.figures.requests.labels(scope["method"], route, str(status)).inc()
            self.figures.seconds.labels(scope["method"], route).observe(time.perf_counter() - began)


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
        yield GaugeMetricFamily("luthier_gateway_memory_bytes", "Memory of this gateway.", value=psutil.Process().memory_info().rss)
        yield from self._of_jobs()
        yield from self._of_work()
        yield self._of_tokens()
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
        yield from self._of_queue()
        workers = Leases(self.here.database).working()
        yield GaugeMetricFamily("luthier_workers", "Workers that were heard of lately.", value=len(workers))

    def _of_queue(self) -> Iterable[Metric]:
        """How long those wait that could be taken."""
        with self.here.database.read() as connection:
            waiting = select(func.min(jobs.c.created_at), now()).where(jobs.c.status == "queued", jobs.c.lease.is_(None))
            oldest, at = connection.execute(waiting).one()
        yield GaugeMetricFamily(
            "luthier_jobs_oldest_waiting_seconds",
            "How long the job has waited that waits the longest.",
            value=at - oldest if oldest else 0.0,
        )

    def _of_work(self) -> Iterable[Metric]:
        """What each project's fine-tuning jobs have done and taken, of all time."""
        price = self.here.price
        families = {
            name: CounterMetricFamily(f"luthier_tuning_{name}", told, labels=("project",))
            for name, told in (
                ("trained_tokens", "Tokens that jobs which have succeeded were trained on."),
                ("seconds", "Seconds in which a process was at a job."),
                ("energy_watt_hours", "Energy that jobs took: an estimate."),
                ("price", "What jobs have cost, at the prices that the operator gave for an hour and for a kWh."),
            )
        }
        sums = (func.coalesce(func.sum(column), 0) for column in (tunings.c.trained_tokens, tunings.c.seconds, tunings.c.energy_wh))
        with self.here.database.read() as connection:
            query = select(jobs.c.project, *sums).join(tunings, tunings.c.job == jobs.c.id).group_by(jobs.c.project)
            for project, tokens, seconds, energy in connection.execute(query):
                told = {"trained_tokens": tokens, "seconds": seconds, "energy_watt_hours": energy, "price": price.of(seconds, energy)}
                for name, value in told.items():
                    families[name].add_metric((project,), float(value))
        if price == Price():
            del families["price"]
        yield from families.values()

    def _of_tokens(self) -> Metric:
        family = CounterMetricFamily(
            "luthier_tokens", "Tokens that models read (prompt) and wrote (completion) for a project.", labels=("project", "model", "kind")
        )
        for labels, number in list(self.here.tokens.items()):
            family.add_metric(labels, number)
        return family


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
