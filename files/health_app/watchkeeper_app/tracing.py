"""Traces in OpenTelemetry's form, sent over OTLP/HTTP; off without an endpoint.

The requests are traced by a small ASGI middleware of this project: it records what the semantic conventions call
stable, never a query string or a header. FastAPI's own tracing, which stays off without a global tracer provider, would
write the query string into every span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from watchkeeper_app.scrub import scrub, text

if TYPE_CHECKING:
    from fastapi import FastAPI

PATH = "/v1/traces"
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
LONGEST = 4096

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]

_propagator = TraceContextTextMapPropagator()
_tracer: Tracer | None = None


def rate(environment: str, given: float | None) -> float:
    """How much of the traffic is sampled: what was set, else a tenth in production and everything elsewhere."""
    return given if given is not None else 0.1 if environment == "production" else 1.0


def configure(
    app: FastAPI,
    *,
    service: str,
    environment: str,
    version: str,
    endpoint: str,
    sample_ratio: float | None,
    headers: Mapping[str, str],
) -> Callable[[], None]:
    """Traces the requests of `app` from now on and returns what sends the rest and ends it.

    Call it after all other middleware was added, so that they run inside the span. `endpoint` is the collector's base
    URL or the full one of its traces; without one nothing is done. Raises ValueError for one that is no URL.
    """
    global _tracer  # noqa: PLW0603 - one tracer for each process, as there is one log
    if not endpoint:
        return lambda: None
    url = _url(endpoint)
    # The SDK takes time and memory to load, so that only happens where it is used.
    from watchkeeper_app.otlp import Delivery, provider

    delivery = Delivery(url, headers)
    resource = {"service.name": service, "service.version": version, "deployment.environment.name": environment}
    source = provider(delivery, resource, rate(environment, sample_ratio))
    tracer = _tracer = source.get_tracer("watchkeeper_app", version)
    app.add_middleware(_Middleware, tracer=tracer)

    def shutdown() -> None:
        global _tracer  # noqa: PLW0603
        _tracer = None
        delivery.close()
        source.shutdown()

    return shutdown


def current_trace_id() -> str:
    """The id of the trace that this code runs in, empty without one."""
    return current_ids()[0]


def current_ids() -> tuple[str, str]:
    """The ids of the trace and of the span that this code runs in, empty without them."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


@contextmanager
def span(name: str, **attributes: object) -> Iterator[None]:
    """A span around the code inside, below the one it runs in; nothing when tracing is off."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as inner:
        inner.set_attributes({key: _attribute(value) for key, value in attributes.items()})
        try:
            yield
        except Exception as error:
            _failed(inner, error)
            raise


class _Middleware:
    """A span for each HTTP request, below the caller's when it sent a traceparent."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        server = scope.get("server") or ("", None)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "url.path": text(scope["path"]),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        if server[0]:
            attributes["server.address"] = server[0]
        if server[1]:
            attributes["server.port"] = server[1]
        token = otel_context.attach(_propagator.extract(scope["headers"], getter=_HEADERS))
        try:
            with self._tracer.start_as_current_span(
                _name(method),
                kind=SpanKind.SERVER,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as request:
                await self._serve(request, method, scope, receive, send)
        finally:
            otel_context.detach(token)

    async def _serve(self, request: Span, method: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                request.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    request.set_status(Status(StatusCode.ERROR))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            _failed(request, error)
            raise
        finally:
            # The router writes down which route it took.
            route = getattr(scope.get("route"), "path", "")
            if route:
                request.set_attribute("http.route", route)
                request.update_name(_name(method, route))


class _Headers(Getter[Iterable[tuple[bytes, bytes]]]):
    """Reads ASGI's list of headers."""

    def get(self, carrier: Iterable[tuple[bytes, bytes]], key: str) -> list[str] | None:
        wanted = key.encode("latin-1")
        return [value.decode("latin-1") for name, value in carrier if name.lower() == wanted] or None

    def keys(self, carrier: Iterable[tuple[bytes, bytes]]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS = _Headers()


def _url(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine or re.search(r"\s", endpoint):
        raise ValueError(f"the OTLP endpoint {text(endpoint)!r} is no URL such as http://collector.example.org:4318")
    return endpoint if parts.path.endswith(PATH) else endpoint.rstrip("/") + PATH


def _name(method: str, route: str = "") -> str:
    verb = "HTTP" if method == "_OTHER" else method
    return f"{verb} {route}" if route else verb


def _attribute(value: object) -> str | bool | int | float:
    plain = scrub(value, longest=LONGEST)
    return plain if isinstance(plain, (str, bool, int, float)) else str(plain)


def _failed(failing: Span, error: Exception) -> None:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    failing.set_attribute("error.type", kind)
    failing.set_status(Status(StatusCode.ERROR))
    failing.add_event("exception", {"exception.type": kind, "exception.message": _attribute(str(error))})
