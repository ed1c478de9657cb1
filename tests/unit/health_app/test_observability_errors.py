"""What is reported to an error tracker, how often, and without which secrets.

The tracker is a server that keeps whole envelopes, as the SDK sends them, and in the last tests a real Bugsink.
"""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.base import Answer, HttpSink, Request
from tests.emulators.otlp import OtlpSink
from tests.harness import bugsink
from watchkeeper_app import errors

from .processes import ROOT, environment, events

PLANTED = "planted-c41b"
ANSWERS = {
    "error/7": 500,
    "thread": 500,
    "logged": 200,
    "logged-and-raised": 500,
    "overload": 503,
    "missing": 404,
    "nowhere": 404,
    "invalid": 500,
    "orders": 422,
}
REPORTED = [
    "ConnectionError",
    "HTTPException",
    "KeyError",
    "LookupError",
    "OverloadError",
    "RuntimeError",
    "TimeoutError",
]


class EnvelopeSink(HttpSink):
    """Takes what the SDK sends and keeps the items of each envelope."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []
        self.raw = b""

    @property
    def dsn(self) -> str:
        """The DSN of its only project."""
        return f"{self.base_url.replace('//', '//c0ffee@')}/1"

    def answer(self, request: Request) -> Answer:
        """Takes everything."""
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.raw += body
        lines = body.split(b"\n")[1:]
        while len(lines) > 1:
            header, payload = json.loads(lines.pop(0)), json.loads(lines.pop(0))
            self.items.append({"type": header["type"], "payload": payload})
        return Answer(200, "{}", accepted=True)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of one type."""
        return [item["payload"] for item in self.items if item["type"] == kind]


def report(dsn: str, **settings: Any) -> list[dict[str, Any]]:
    """Runs the application of `reporting` against a tracker and gives its log."""
    command = [sys.executable, "-m", "tests.unit.health_app.reporting", dsn, json.dumps(settings)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(PLANTED=PLANTED), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]
    assert PLANTED not in done.stdout
    lines = events(done.stdout)
    (answers,) = [line for line in lines if line["message"] == "answers"]
    assert answers["answers"] == ANSWERS
    return lines


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return sorted(event["exception"]["values"][-1]["type"] for event in found)


@pytest.fixture(scope="module")
def tracker() -> Iterator[EnvelopeSink]:
    """A tracker after a run of the application."""
    with EnvelopeSink() as sink:
        report(sink.dsn)
        yield sink


def test_each_error_is_reported_once_and_no_other(tracker: EnvelopeSink) -> None:
    assert kinds(tracker.of("event")) == REPORTED


def test_no_secret_leaves_in_anything_that_is_sent(tracker: EnvelopeSink) -> None:
    assert tracker.of("transaction")
    assert b"(hidden)" in tracker.raw
    assert PLANTED.encode() not in tracker.raw


def test_a_report_says_where_and_when(tracker: EnvelopeSink) -> None:
    for event in tracker.of("event"):
        assert (event["release"], event["environment"]) == ("backend@1.2.3", "production")
        assert event["server_name"] == "web-1"
    (error,) = [event for event in tracker.of("event") if kinds([event]) == ["RuntimeError"]]
    assert error["transaction"] == "/error/{item}"
    assert error["request"]["query_string"] == "token=(hidden)&page=2"
    assert set(error["request"]) == {"headers", "method", "query_string", "url"}
    headers = error["request"]["headers"]
    assert headers["user-agent"].startswith("python-httpx")
    assert {headers["authorization"], headers["x-forwarded-for"], headers["x-custom"]} == {"(hidden)", "[Filtered]"}
    assert "selling" in [crumb["message"] for crumb in error["breadcrumbs"]["values"]]
    frames = error["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "fail"
    assert not [frame for frame in frames if "vars" in frame]
    assert not error.get("user")
    assert not error.get("extra")


def test_what_the_program_adds_is_reported_too(tracker: EnvelopeSink) -> None:
    by_kind = {kinds([event])[0]: event for event in tracker.of("event")}
    assert by_kind["OverloadError"]["contexts"]["context"] == {
        "note": "password=(hidden)",
        "nested": {"a": [{"secret": "(hidden)"}]},
    }
    assert by_kind["KeyError"]["extra"]["fields"] == {"order": {"lines": [{"token": "(hidden)"}]}}


def test_requests_are_traced(tracker: EnvelopeSink) -> None:
    names = {transaction["transaction"] for transaction in tracker.of("transaction")}
    assert {"/error/{item}", "/orders"} <= names


def test_a_request_is_traced_by_one_tracer_only() -> None:
    with EnvelopeSink() as sink, OtlpSink() as spans:
        report(sink.dsn, otlp_endpoint=spans.base_url)
        assert sink.of("transaction") == []
        assert kinds(sink.of("event")) == REPORTED
        assert len(spans.spans) == len(ANSWERS)
        assert PLANTED not in json.dumps(spans.spans)
        # The report of an error that was logged in the request leads to its trace.
        (logged,) = [event for event in sink.of("event") if kinds([event]) == ["KeyError"]]
        (span,) = [span for span in spans.spans if span["name"] == "GET /logged"]
        assert logged["contexts"]["trace"]["trace_id"] == span["trace_id"]


def test_rates_that_are_not_set_follow_the_environment() -> None:
    with EnvelopeSink() as sink:
        report(sink.dsn, environment="test", traces_sample_rate=None, profiles_sample_rate=None)
        assert len(sink.of("transaction")) == len(ANSWERS)
        assert sink.of("profile_chunk")
        assert PLANTED.encode() not in sink.raw


def test_a_rate_that_is_set_holds() -> None:
    with EnvelopeSink() as sink:
        report(sink.dsn, environment="test", traces_sample_rate=0.0, profiles_sample_rate=1.0)
        assert sorted({item["type"] for item in sink.items} & {"transaction", "profile_chunk", "event"}) == ["event"]


def test_it_is_off_without_a_dsn() -> None:
    (end,) = [line for line in report("") if line["message"] == "end"]
    assert end["on"] is False


def test_a_tracker_that_is_gone_stops_nothing() -> None:
    with EnvelopeSink() as sink:
        dsn = sink.dsn
    lines = report(dsn)
    assert [line["on"] for line in lines if line["message"] == "end"] == [True]
    told = [line["message"] for line in lines if line["context"] not in ("shop", "process", "library", "uvicorn.error")]
    assert told == ["error reports cannot be delivered and are dropped"]


@pytest.mark.parametrize(
    "dsn",
    [
        f"{PLANTED}@errors.example.org/1",
        f"https://{PLANTED}@/1",
        f"https://errors.example.org/{PLANTED}",
        f"https://errors.example.org:{PLANTED}/1",
        f"https://{PLANTED}@errors.example.org",
        f"https://{PLANTED}@errors.example.org/shop",
        f"ftp://{PLANTED}@errors.example.org/1",
        f"https://{PLANTED}@errors.example.org/1\n",
        f"https://{PLANTED}@[errors/1",
    ],
)
def test_a_malformed_dsn_is_refused_without_being_shown(dsn: str) -> None:
    with pytest.raises(ValueError, match="the DSN is malformed") as refused:
        errors.configure(
            dsn, environment="test", release="x", server_name="x", traces_sample_rate=None, profiles_sample_rate=None
        )
    assert PLANTED not in f"{refused.value!r} {refused.value.__cause__!r}"
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.fixture(scope="module")
def bugsink_environment() -> Path:
    """Bugsink's programs; skips the test where they cannot be had."""
    try:
        return bugsink.install()
    except bugsink.DownloadError as error:
        pytest.skip(f"Bugsink cannot be installed from PyPI: {str(error)[-200:]}")


@pytest.mark.usefixtures("bugsink_environment")
def test_bugsink_gets_the_errors_scrubbed_and_no_other(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "tests" / "harness" / "bugsink.py")]
    state = ["--state", str(tmp_path / "state")]
    ready = tmp_path / "ready"
    serving = [*program, "serve", "--listen", "127.0.0.2:0", *state, "--ready-file", str(ready)]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = json.loads(process.stdout.readline())
            assert json.loads(ready.read_text()) == server
            assert "@127.0.0.2:" in server["dsn"]
            listing = [*program, "events", *state]
            early = subprocess.run([*listing, "--wait=0.1", "--least=1"], capture_output=True, text=True, check=False)
            assert (early.returncode, early.stdout) == (1, "")
            assert "0 events arrived" in early.stderr

            lines = report(server["dsn"])
            assert not [line for line in lines if "delivered" in line["message"]]
            wanted = f"--least={len(REPORTED)}"
            late = subprocess.run([*listing, "--wait=60", wanted], capture_output=True, text=True, check=True)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    found = json.loads(late.stdout)
    assert sorted(issue["calculated_type"] for issue in found) == REPORTED
    assert [len(issue["events"]) for issue in found] == [1] * len(REPORTED)
    assert PLANTED not in late.stdout
    assert "(hidden)" in late.stdout
    assert "backend@1.2.3" in late.stdout
