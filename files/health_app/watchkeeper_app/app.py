"""The web application: its routes, and what is done for every request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchkeeper_app import checks, demo, logs
from watchkeeper_app.business import BusinessMetrics
from watchkeeper_app.config import Config
from watchkeeper_app.health import Health
from watchkeeper_app.metrics import UNMATCHED, Metrics

# Bytes of a request's body.
LONGEST_BODY = 64 * 1024
# Seconds that a scrape waits for the checks, well below Prometheus's own limit.
SCRAPE_LIMIT = 3.0
_LONGEST_PATH = 200
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_STORE = {"Cache-Control": "no-store"}
# Asked every few seconds by machines: their lines would drown the others.
_PROBES = ("/health", "/health/ready", "/health/live", "/metrics")


class HealthAnswer(BaseModel):
    """The answer of /health; `uptime` is in seconds."""

    status: Literal["ok", "degraded", "failed"]
    timestamp: datetime
    uptime: float
    checks: dict[str, Literal["ok", "failed"]]


class ReadyAnswer(BaseModel):
    """The answer of /health/ready."""

    status: Literal["ready", "not_ready"]
    timestamp: datetime


class LiveAnswer(BaseModel):
    """The answer of /health/live."""

    status: Literal["alive"]
    timestamp: datetime


def create_app(config: Config) -> FastAPI:
    """The application for a configuration. It opens no connection before the first request."""
    metrics = Metrics()
    business = BusinessMetrics(metrics.registry) if config.demo else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        built = [checks.build(check, config.service) for check in config.checks]
        app.state.health = Health(built, config.health.cache, metrics)
        app.state.shop = demo.Shop(config, metrics, business) if business else None
        yield
        await app.state.health.close()
        if app.state.shop:
            await app.state.shop.close()

    app = FastAPI(
        title=config.service,
        version=config.version,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={RequestValidationError: _invalid},
    )
    _add_probes(app, metrics)
    if config.demo:
        demo.add_routes(app)
        metrics.expect_queries(*demo.OPERATIONS)
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                metrics.expect_route(method, route.path, route.status_code or 200, 500)
    metrics.expect_route("GET", UNMATCHED, 404)
    app.add_middleware(Observe, metrics=metrics)
    return app


def _add_probes(app: FastAPI, metrics: Metrics) -> None:
    started = time.monotonic()

    @app.get("/health", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}}, tags=["probes"])
    async def health(request: Request) -> Response:
        """Whether the service and what it needs are well: 503 when a critical check fails."""
        source: Health = request.app.state.health
        results = await source.results()
        healthy = source.healthy(results)
        return _answer(
            healthy,
            status="failed" if not healthy else "ok" if all(results.values()) else "degraded",
            timestamp=_now(),
            uptime=round(time.monotonic() - started, 3),
            checks={name: "ok" if passed else "failed" for name, passed in results.items()},
        )

    @app.get("/health/ready", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}}, tags=["probes"])
    async def ready(request: Request) -> Response:
        """Whether the service can take traffic: 503 when a critical check fails."""
        source: Health = request.app.state.health
        healthy = source.healthy(await source.results())
        return _answer(healthy, status="ready" if healthy else "not_ready", timestamp=_now())

    @app.get("/health/live", response_model=LiveAnswer, tags=["probes"])
    async def live() -> Response:
        """Whether the process answers; asks no backend."""
        return _answer(True, status="alive", timestamp=_now())

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
        tags=["probes"],
    )
    async def page(request: Request) -> Response:
        """All metrics, for Prometheus. A scrape counts as a probe: the results of the checks are fresh."""
        source: Health = request.app.state.health
        with suppress(TimeoutError):
            async with asyncio.timeout(SCRAPE_LIMIT):
                await source.results()
        content, content_type = metrics.page(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type, **_NO_STORE})

    # FastAPI's own route for this would be counted as unmatched.
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(app.openapi())


def _answer(good: bool, **content: object) -> Response:
    return JSONResponse(content, 200 if good else 503, headers=_NO_STORE)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _invalid(_request: Request, error: Exception) -> Response:
    """What is wrong with a request, without repeating its content: that may be secret, or not even text."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, 422)


class Observe:
    """Around every request: its id, its metrics, its line in the log, HEAD for every GET, a bounded body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log = logs.get("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        token = logs.request_id.set(identity)
        try:
            await self._serve(scope, receive, send, identity)
        finally:
            logs.request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, identity: str) -> None:
        start = time.perf_counter()
        head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if head else scope
        status, received = 0, 0
        failure: Exception | None = None

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LONGEST_BODY:
                raise HTTPException(413, "Content Too Large")
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                if "GET" in headers.get("allow", ""):
                    headers["Allow"] = f"{headers['Allow']}, HEAD"
            elif head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, bounded, answer)
        except Exception as error:
            failure = error
            if not status:
                await JSONResponse({"detail": "Internal Server Error"}, 500)(inner, receive, answer)
            raise
        finally:
            route = inner.get("route")
            if route is not None:
                scope["route"] = route
            seconds = time.perf_counter() - start
            template = getattr(route, "path", UNMATCHED)
            self._metrics.request(scope["method"], template, status or 500, seconds)
            self._tell(scope, template, status or 500, seconds, failure)

    def _tell(self, scope: Scope, route: str, status: int, seconds: float, failure: Exception | None) -> None:
        fields: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"][:_LONGEST_PATH],
            "route": route,
            "status_code": status,
            "duration_ms": round(seconds * 1000, 3),
            "client": (scope.get("client") or ("",))[0],
        }
        message = f"{scope['method']} {route} {status}"
        if failure:
            self._log.error(message, error=failure, **fields)
        elif route in _PROBES:
            self._log.debug(message, **fields)
        elif status >= 500:
            self._log.warning(message, **fields)
        else:
            self._log.info(message, **fields)
