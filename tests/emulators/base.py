"""What all sinks share: records, waiting for them, and an HTTP server with faults on demand."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

Record = dict[str, Any]


class Recorder:
    """Keeps records in the order of their arrival and lets a test wait for them.

    Every record has `time` (ISO 8601, UTC), `accepted` (bool) and `answer` (what the client was told).
    """

    def __init__(self, log: Path | None = None) -> None:
        """`log` is a file that gets one JSON line for each record."""
        self._log = log
        self._records: list[Record] = []
        self._changed = threading.Condition()

    @property
    def records(self) -> list[Record]:
        """Everything recorded so far."""
        with self._changed:
            return list(self._records)

    @property
    def accepted(self) -> list[Record]:
        """What was taken in so far."""
        return [record for record in self.records if record["accepted"]]

    @property
    def refused(self) -> list[Record]:
        """What was turned away so far."""
        return [record for record in self.records if not record["accepted"]]

    def keep(self, accepted: bool, answer: str, **details: Any) -> None:
        """Adds a record."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"time": stamp, "accepted": accepted, "answer": answer, **details}
        with self._changed:
            self._records.append(record)
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Record], bool], timeout: float = 15.0) -> Record:
        """The first accepted record that `wanted` agrees to; AssertionError after `timeout` seconds."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for record in self._records:
                    if record["accepted"] and wanted(record):
                        return record
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    shown = json.dumps(self._records, indent=1, ensure_ascii=False)
                    raise AssertionError(f"nothing wanted arrived within {timeout} s; records: {shown}")


class Sink(Protocol):
    """A server that a test or the command line can run."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `accepted` tells the records whether the request was taken in.

    With `drop` the connection ends without it.
    """

    status: int
    body: str
    accepted: bool = False
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False


class HttpSink(Recorder):
    """An HTTP server whose subclass decides about each request in `answer`."""

    def __init__(self, listen: tuple[str, int] = ("127.0.0.1", 0), log: Path | None = None) -> None:
        """`listen` is host and port, 0 for any free one; `log` as in Recorder."""
        super().__init__(log)
        self._listen = listen
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._faults: list[Answer] = []

    def answer(self, request: Request) -> Answer:
        """What the service says to a request."""
        raise NotImplementedError

    def rate_limited(self) -> Answer:
        """How the service refuses a client that asks too often."""
        return Answer(429, "rate_limited", headers={"Retry-After": "1"})

    def fail_next(self, count: int = 1, answer: Answer | None = None) -> None:
        """The next `count` requests get `answer`, by default the one for too many requests."""
        self._faults += [answer or self.rate_limited()] * count

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        if self._server is None:
            raise RuntimeError("the sink is not running")
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def base_url(self) -> str:
        """URL of the server without a path."""
        host, port = self.address
        return f"http://{host}:{port}"

    def _handle(self, request: Request) -> Answer:
        answer = self._faults.pop(0) if self._faults else self.answer(request)
        try:
            body: Any = json.loads(request.body)
        except ValueError:
            body = request.body.decode("utf-8", "replace")
        self.keep(
            answer.accepted, answer.body, status=answer.status, method=request.method, path=request.path, body=body
        )
        return answer

    def __enter__(self) -> Self:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = sink._handle(Request(self.command, self.path, headers, self.rfile.read(length)))
                if answer.drop:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = answer.body.encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Says nothing: the records are the log."""

        self._server = ThreadingHTTPServer(self._listen, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def parser(description: str) -> argparse.ArgumentParser:
    """The command line that every sink has."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--listen", type=_listen, default=("127.0.0.1", 0), metavar="ADDR:PORT")
    arguments.add_argument("--log", type=Path, help="file for records, one JSON line each")
    return arguments


def serve(sink: Sink) -> None:
    """Runs a sink until the process is told to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with sink:
        host, port = sink.address
        print(f"listening on {host}:{port}", flush=True)
        stop.wait()


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)
