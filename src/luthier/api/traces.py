"""Traces, where they are asked for: a span for each request, sent where OpenTelemetry's traces are gathered. Extra `otel`."""

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.figures import RouteNames
from luthier.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

CONSOLE = "console"


def provider_to(where: str) -> "TracerProvider":
    """Spans go to the address of a collector (`http://127.0.0.1:4318/v1/traces`), some at a time, or, one by one, to stderr (`console`).

    Raises:
        SettingsError: no such address, or the extra is not installed.
    """
    if where != CONSOLE and not where.startswith(("http://", "https://")):
        raise SettingsError(f"{where} is no address of a collector, such as http://127.0.0.1:4318/v1/traces, and not `{CONSOLE}`.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError as error:
        raise SettingsError("Traces need OpenTelemetry. Install it with:  pip install 'luthier[otel]'") from error
    made = TracerProvider(resource=Resource.create({"service.name": "luthier", "service.version": version("luthier")}))
    if where == CONSOLE:
        made.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    else:
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=where)))
    return made


class Traced:
    """A span for each request, named by its route, under the one that its `traceparent` names. Bodies, queries and keys stay out of it."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry import propagate, trace

        self.app, self.tracer, self.routes = app, provider.get_tracer("luthier"), RouteNames()
        self._propagate, self._trace = propagate, trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        above = self._propagate.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        kind = self._trace.SpanKind.SERVER
        with self.tracer.start_as_current_span(scope["method"], above, kind, record_exception=False, set_status_on_exception=False) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = self.routes.of(scope)
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attributes({"http.route": route, "http.response.status_code": message["status"]})
                    if message["status"] >= 500:
                        span.set_status(self._trace.StatusCode.ERROR)
                await send(message)

            span.set_attributes({"http.request.method": scope["method"], "luthier.request_id": scope["state"]["request_id"]})
            try:
                await self.app(scope, receive, told)
            except Exception:  # its text may hold what was asked
                span.set_status(self._trace.StatusCode.ERROR)
                raise
