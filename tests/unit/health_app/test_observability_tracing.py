"""Spans of requests and of what is done in them arrive at an OTLP receiver, and its absence hurts nobody."""

from __future__ import annotations

import gzip
import json
import logging
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.emulators.base import Answer
from tests.emulators.otlp import CONTENT_TYPE, OtlpSink
from watchkeeper_app import otlp, tracing

from .processes import ROOT, served

PLANTED = "planted-77aa"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def shop() -> FastAPI:
    """A small application with a route of each kind."""
    app = FastAPI()
    inner = APIRouter(prefix="/inner")

    @app.get("/items/{item}")
    async def item(item: int) -> dict[str, str]:
        with tracing.span("query", database="shop", statement=f"password={PLANTED}", rows=[1, 2]):
            return {"trace": tracing.current_trace_id(), "item": str(item)}

    @app.get("/error")
    async def error() -> None:
        with tracing.span("inside"):
            raise RuntimeError(f"password={PLANTED}")

    @inner.get("/{name}")
    def in_a_thread(name: str) -> str:
        return tracing.current_trace_id() + name

    app.include_router(inner)
    return app


@contextmanager
def traced(endpoint: str, **more: Any) -> Iterator[httpx.Client]:
    """A client of the shop; at the end everything is delivered."""
    app = shop()
    settings: dict[str, Any] = {"sample_ratio": None, "headers": {}, "environment": "test", **more}
    shutdown = tracing.configure(app, service="backend", version="1.2.3", endpoint=endpoint, **settings)
    try:
        with served(app) as client:
            yield client
    finally:
        shutdown()


def test_a_request_is_a_span_with_its_route() -> None:
    with OtlpSink() as sink:
        with traced(sink.base_url, headers={"x-team": "shop"}) as client:
            answer = client.get(f"/items/7?token={PLANTED}", headers={"authorization": PLANTED, "traceparent": PARENT})
        query, request = sink.spans
        assert answer.json()["trace"] == request["trace_id"] == query["trace_id"] == PARENT.split("-")[1]
        assert request["parent_span_id"] == PARENT.split("-")[2]
        assert query["parent_span_id"] == request["span_id"]
        assert (request["name"], request["kind"], request["status"]) == ("GET /items/{item}", "server", "unset")
        assert request["attributes"] == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/items/{item}",
            "network.protocol.version": "1.1",
            "server.address": "127.0.0.1",
            "server.port": client.base_url.port,
            "url.path": "/items/7",
            "url.scheme": "http",
        }
        assert query["attributes"] == {"database": "shop", "statement": "password=(hidden)", "rows": "[1, 2]"}
        resource = {"service.name": "backend", "service.version": "1.2.3", "deployment.environment.name": "test"}
        assert resource.items() <= request["resource"].items()
        headers = sink.accepted[0]["headers"]
        assert (headers["x-team"], headers["content-encoding"]) == ("shop", "gzip")
        assert PLANTED not in json.dumps(sink.records)


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("GET", "/inner/x", "GET /inner/{name}", 200),
        ("GET", "/nowhere", "GET", 404),
        ("POST", "/items/7", "POST /items/{item}", 405),
        ("BREW", "/items/7", "HTTP /items/{item}", 405),
        ("GET", "/items/seven", "GET /items/{item}", 422),
    ],
)
def test_a_span_is_named_by_its_route(method: str, path: str, name: str, status: int) -> None:
    with OtlpSink() as sink:
        with traced(sink.url) as client:
            assert client.request(method, path).status_code == status
        (request,) = sink.spans
        assert (request["name"], request["status"]) == (name, "unset")
        assert request["attributes"]["http.response.status_code"] == status


def test_an_error_marks_its_spans_and_tells_no_secret() -> None:
    with OtlpSink() as sink:
        with traced(sink.url) as client:
            assert client.get("/error").status_code == 500
        inside, request = sink.spans
        for span in (inside, request):
            assert (span["status"], span["attributes"]["error.type"]) == ("error", "RuntimeError")
            attributes = {"exception.type": "RuntimeError", "exception.message": "password=(hidden)"}
            assert span["events"] == [{"name": "exception", "attributes": attributes}]


def test_nothing_happens_without_an_endpoint() -> None:
    with traced("") as client:
        assert client.get("/items/7").json()["trace"] == ""
    assert tracing.current_ids() == ("", "")


@pytest.mark.parametrize(
    ("environment", "ratio", "headers", "sampled"),
    [
        ("test", 0.0, {}, False),
        ("test", None, {}, True),
        ("production", 1.0, {}, True),
        ("test", 0.0, {"traceparent": PARENT}, True),
        ("test", 1.0, {"traceparent": PARENT[:-1] + "0"}, False),
    ],
)
def test_the_caller_decides_and_else_the_ratio(
    environment: str, ratio: float | None, headers: dict[str, str], sampled: bool
) -> None:
    with OtlpSink() as sink:
        with traced(sink.url, environment=environment, sample_ratio=ratio) as client:
            client.get("/inner/x", headers=headers)
        assert bool(sink.spans) is sampled


def test_production_samples_a_tenth() -> None:
    assert [tracing.rate(*given) for given in (("production", None), ("staging", None), ("production", 0.5))] == [
        0.1,
        1.0,
        0.5,
    ]


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector", "http://", "http://a:b/", "http://a b/"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="the OTLP endpoint"), traced(endpoint):
        pass
    with pytest.raises(ValueError, match="OTLP") as refused, traced(f"ftp://me:{PLANTED}@collector/"):
        pass
    assert PLANTED not in str(refused.value)


def until(happened: Callable[[], object]) -> None:
    """Waits for something that happens in the background."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def has(sink: OtlpSink, what: str, number: int) -> bool:
    return len(getattr(sink, what)) == number


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith(("watchkeeper", "opentele"))]


def reason(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    return str(vars(record)["fields"]["reason"])


def test_a_collector_that_comes_and_goes_is_told_once_each_way(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(otlp, "SEND_SECONDS", 0.05)
    with OtlpSink() as sink:
        sink.fail_next(3, Answer(401, "who are you?"))
        with traced(sink.url) as client:
            for number in (1, 2, 3):
                client.get("/inner/x")
                until(partial(has, sink, "refused", number))
            assert told(caplog) == ["traces cannot be delivered and are dropped"]
            assert "401" in reason(caplog)
            for number in (1, 2):
                client.get("/inner/x")
                until(partial(has, sink, "accepted", number))
        assert told(caplog)[1:] == ["traces are delivered again"]


def test_an_overloaded_collector_gets_the_batch_again(caplog: pytest.LogCaptureFixture) -> None:
    with OtlpSink() as sink:
        sink.fail_next()
        with traced(sink.url) as client:
            client.get("/inner/x")
        assert [record["status"] for record in sink.records] == [503, 200]
        assert told(caplog) == []


@pytest.fixture
def silence() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_collector_that_hangs_costs_neither_requests_nor_memory(
    silence: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(otlp, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(otlp, "QUEUE", 16)
    monkeypatch.setattr(otlp, "BATCH", 8)
    with traced(silence) as client:
        for _ in range(100):
            assert client.get("/inner/x").status_code == 200
        until(lambda: told(caplog))
    assert told(caplog) == ["traces cannot be delivered and are dropped"]


def test_one_that_is_not_there_is_told_with_the_cause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "TIMEOUT_SECONDS", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with traced(f"http://127.0.0.1:{port}") as client:
        client.get("/inner/x")
    assert told(caplog) == ["traces cannot be delivered and are dropped"]
    assert "Connection refused" in reason(caplog)


BODY = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(name="sent", trace_id=b"\1" * 16)])])]
).SerializeToString()


def send(url: str, body: bytes, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=named.pop("method", "POST"))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def test_the_receiver_takes_what_the_protocol_allows() -> None:
    with OtlpSink() as sink:
        for body, encoding in ((BODY, "identity"), (gzip.compress(BODY), "gzip")):
            status, answer, headers = send(sink.url, body, content_type=CONTENT_TYPE, content_encoding=encoding)
            assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
            assert ExportTraceServiceResponse.FromString(answer) == ExportTraceServiceResponse()
        assert [span["name"] for span in sink.spans] == ["sent", "sent"]


def test_the_receiver_refuses_what_the_protocol_refuses() -> None:
    with OtlpSink() as sink:
        for body, encoding in ((b"garbage", "identity"), (BODY, "gzip"), (BODY[:-3], "identity"), (BODY, "br")):
            status, answer, _ = send(sink.url, body, content_type=CONTENT_TYPE, content_encoding=encoding)
            assert (status, Status.FromString(answer).code) == (400, 3)
        assert send(sink.url, b"{}", content_type="application/json")[0] == 415
        assert send(sink.url, BODY, content_type=CONTENT_TYPE, method="PUT")[0] == 405
        assert send(sink.base_url + "/v1/metrics", BODY, content_type=CONTENT_TYPE)[0] == 404
        sink.fail_next()
        status, answer, headers = send(sink.url, BODY, content_type=CONTENT_TYPE)
        assert (status, Status.FromString(answer).code, headers["Retry-After"]) == (503, 14, "1")
        assert sink.accepted == []


def test_the_receiver_runs_as_a_program_with_a_log(tmp_path: Path) -> None:
    log = tmp_path / "spans.jsonl"
    command = [sys.executable, "-m", "tests.emulators.otlp", "--listen", "127.0.0.1:0", "--log", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            send(f"http://{address}/v1/traces", BODY, content_type=CONTENT_TYPE)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["span"]["trace_id"] == "01" * 16
