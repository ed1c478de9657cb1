"""The app as a process of its own, and the real servers that it checks: PostgreSQL and Redis, on free ports."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.unit.health_app.processes import PACKAGE_PARENT
from tests.unit.live import Program, answers, free_port, wait_until

USER, PASSWORD = "app", "planted-database-password"
CLIENT_SECONDS = 20

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
_ON_PATH = shutil.which("postgres")
POSTGRES = _FOUND[-1] if _FOUND else Path(_ON_PATH) if _ON_PATH else None
REDIS = shutil.which("redis-server")

needs_postgres = pytest.mark.skipif(not POSTGRES, reason="needs the program postgres (Debian's package postgresql)")
needs_redis = pytest.mark.skipif(not REDIS, reason="needs the program redis-server (Debian's package redis-server)")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's data."""
        return json.loads(self.body)


class Server:
    """A real server that can be killed, started again, and made to hang."""

    def __init__(self, port: int, start: Callable[[], Program]) -> None:
        self.port = port
        self._start = start
        self._program = start()

    def __enter__(self) -> Self:
        self._program.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._program.stop()

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._signal(signal.SIGKILL)
        self._program.process.wait(10)

    def start(self) -> None:
        """Starts it again on the same port, with the same data."""
        self._program = self._start()
        self._program.__enter__()

    def hang(self) -> None:
        """Stops it in its tracks: connections are accepted by the kernel and never answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server's process and to the children that serve its connections."""
        pid = self._program.pid
        if self._program.process.poll() is not None:
            return
        children = Path(f"/proc/{pid}/task/{pid}/children")
        # Stopped first, the parent has no further child while they are read.
        if number is not signal.SIGCONT:
            os.kill(pid, signal.SIGSTOP)
        for child in children.read_text(encoding="ascii").split():
            # One that serves a connection ends with it, at any time.
            with suppress(ProcessLookupError):
                os.kill(int(child), number)
        os.kill(pid, number)


@contextmanager
def postgres(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """A PostgreSQL server with the database `postgres` and its owner; with a certificate and its key it offers TLS."""
    assert POSTGRES
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="watchkeeper-postgres-"))
    # PostgreSQL does not run as root.
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    try:
        if prefix:
            shutil.chown(folder, "postgres", "postgres")
        data, secret = folder / "data", folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        create = [str(POSTGRES.with_name("initdb")), "--no-sync", f"--username={USER}", "--auth=scram-sha-256"]
        subprocess.run(
            [*prefix, *create, f"--pwfile={secret}", f"--pgdata={data}"], check=True, capture_output=True, timeout=60
        )
        settings: dict[str, object] = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        if certificate:
            settings["ssl"] = "on"
            for option, source in zip(("ssl_cert_file", "ssl_key_file"), certificate, strict=True):
                settings[option] = Path(shutil.copy(source, folder))
                if prefix:
                    shutil.chown(folder / source.name, "postgres")
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*prefix, str(POSTGRES), "-D", str(data), *options]
        log = folder / "log"

        def start() -> Program:
            # A killed server leaves this behind.
            (data / "postmaster.pid").unlink(missing_ok=True)
            return Program(command, log, lambda: "ready to accept connections" in log.read_text(encoding="utf-8"))

        with Server(port, start) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def redis() -> Iterator[Server]:
    """A Redis server that keeps nothing."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="watchkeeper-redis-") as folder:
        config = f'port {port}\nbind 127.0.0.1\nsave ""\ndir {folder}\ndaemonize no\nrequirepass {PASSWORD}\n'

        def start() -> Program:
            return Program(["redis-server", "-"], Path(folder) / "log", answers(port), config)

        with Server(port, start) as server:
            yield server


class App:
    """The app, started as its unit starts it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.path = folder / "app.yml"
        self.path.write_text(
            yaml.safe_dump({**config, "listen": {"address": "127.0.0.1", "port": self.port}}), encoding="utf-8"
        )
        self.program = Program(command(self.path), folder / "app.log", answers(self.port))

    def __enter__(self) -> Self:
        self.program.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.program.log.splitlines(keepends=True) if line.endswith("\n")]

    def lines(self, request: str) -> list[dict[str, Any]]:
        """What the log says of a request by its id, once the request's own line is there."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event.get("request_id") == request]

        wait_until(lambda: any(event["context"] == "http" for event in found()), f"a line for {request}")
        return found()

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CLIENT_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def post(self, path: str, data: object) -> Answer:
        """Sends data as JSON."""
        return self.ask(path, "POST", json.dumps(data).encode(), {"Content-Type": "application/json"})

    def series(self, name: str, **labels: str) -> float | None:
        """The value of a series on the metrics page, or None when it is not there."""
        for line in self.ask("/metrics").body.decode().splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")) == labels:
                return float(found[2])
        return None

    def wait_for(self, path: str, status: int) -> Answer:
        """Waits until a path is answered so."""
        answers_: list[Answer] = []

        def asked() -> bool:
            answers_.append(self.ask(path))
            return answers_[-1].status == status

        wait_until(asked, f"status {status} of {path}", lambda: self.program.log)
        return answers_[-1]


def command(config: Path, *options: str) -> list[str]:
    """The app's command line."""
    environment = f"PYTHONPATH={PACKAGE_PARENT}"
    return ["env", environment, sys.executable, "-m", "watchkeeper_app", "--config", str(config), *options]
