"""A real error tracker for the tests: Bugsink from PyPI, in an environment of its own.

``bugsink.py install`` makes that environment (``.cache/bugsink``) from ``requirements/bugsink.lock`` and, in it, an
empty database to start from.

``bugsink.py serve --listen ADDR:PORT --state DIR`` runs a server with a fresh database, a team and a project until it
is told to end. Once it takes events it prints one line of JSON, ``{"dsn": …, "url": …, "token": …}``, which is in
``DIR/bugsink.json`` too.

``bugsink.py events --state DIR`` prints what that server has received: a JSON list of issues, each with its events
whole. ``--wait SECONDS`` waits for the first ``--least N`` events, and fails when they do not come.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".cache" / "bugsink"
LOCK = ROOT / "requirements" / "bugsink.lock"
DATABASES = ("db.sqlite3", "snappea.sqlite3")
STATE = "bugsink.json"
START_SECONDS = 60
# Bugsink's own template for a developer's machine, and nothing that calls home or waits for a disk.
SETTINGS = """\
from bugsink.settings.default import *

SECRET_KEY = {secret!r}
ALLOWED_HOSTS = ["*"]
SNAPPEA = {{"TASK_ALWAYS_EAGER": True}}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
BUGSINK = {{
    "BASE_URL": {url!r},
    "PHONEHOME": False,
    "SINGLE_USER": True,
    "SINGLE_TEAM": True,
    "USER_REGISTRATION": "CB_NOBODY",
}}
for database in DATABASES.values():
    database["OPTIONS"]["init_command"] = "PRAGMA synchronous=OFF"
"""


class BugsinkError(Exception):
    """Bugsink does not do what it is asked."""


class DownloadError(BugsinkError):
    """Bugsink cannot be had from PyPI."""


def install(home: Path = HOME) -> Path:
    """The environment's folder; made when it is not there or not what the lock file asks for."""
    home.parent.mkdir(parents=True, exist_ok=True)
    want = hashlib.sha256(LOCK.read_bytes() + SETTINGS.encode()).hexdigest()
    stamp = home / ".stamp"
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        # The tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == want:
            return home
        shutil.rmtree(home, ignore_errors=True)
        _run(sys.executable, "-m", "venv", home)
        pip: list[str | Path] = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            _run(*pip, "--retries=1", "--require-hashes", "-r", LOCK)
        except BugsinkError as error:
            raise DownloadError(str(error)) from error
        empty = home / "empty"
        _configure(empty, "http://127.0.0.1")
        _manage(home, empty, "migrate")
        _manage(home, empty, "migrate", "snappea", "--database=snappea")
        stamp.write_text(want)
    return home


@contextlib.contextmanager
def serve(state: Path, listen: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[dict[str, str]]:
    """A server with a fresh database in the folder `state`; gives what `bugsink.json` holds."""
    home = install()
    state.mkdir(parents=True, exist_ok=True)
    (state / STATE).unlink(missing_ok=True)
    # Opened here, so that a free port is known before the server starts and nobody else can take it.
    with socket.create_server(listen, backlog=64) as listener:
        url = f"http://{listen[0]}:{listener.getsockname()[1]}"
        _configure(state, url)
        for name in DATABASES:
            shutil.copy(home / "empty" / name, state / name)
        command: list[str | Path] = [home / "bin" / "gunicorn", f"--bind=fd://{listener.fileno()}"]
        command += ["--workers=1", "--threads=4", "--graceful-timeout=1", "--no-control-socket"]
        with (state / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "bugsink.wsgi"],
                cwd=state,
                env=_environment(state),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
    try:
        token = _manage(home, state, "create_auth_token").split()[-1]
        _ready(server, state, url)
        team = _ask(url, token, "teams/", {"name": "tests"})["id"]
        project = _ask(url, token, "projects/", {"name": "tests", "team": team})["id"]
        found = {"dsn": _ask(url, token, f"projects/{project}/")["dsn"], "url": url, "token": token, "project": project}
        (state / STATE).touch(0o600)
        (state / STATE).write_text(json.dumps(found) + "\n")
        yield found
    finally:
        server.terminate()
        server.wait()


def issues(server: dict[str, str]) -> list[dict[str, Any]]:
    """All issues, each with its events whole."""
    found = _all(server, "issues/", project=server["project"])
    for issue in found:
        listed = _all(server, "events/", issue=issue["id"])
        issue["events"] = [_ask(server["url"], server["token"], f"events/{event['id']}/")["data"] for event in listed]
    return found


def wait(server: dict[str, str], seconds: float, least: int = 1) -> list[dict[str, Any]]:
    """The issues, as soon as they hold `least` events; BugsinkError when they do not within `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = issues(server)
        number = sum(len(issue["events"]) for issue in found)
        if number >= least:
            return found
        if time.monotonic() > end:
            raise BugsinkError(f"{number} events arrived within {seconds} s, {least} were waited for")
        time.sleep(0.2)


def _configure(folder: Path, url: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bugsink_conf.py").write_text(SETTINGS.format(secret=secrets.token_urlsafe(48), url=url))


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SENTRY_", "PYTHON"))}
    return {**kept, "DJANGO_SETTINGS_MODULE": "bugsink_conf", "PYTHONPATH": str(folder.resolve())}


def _manage(home: Path, folder: Path, *arguments: str) -> str:
    return _run(home / "bin" / "bugsink-manage", *arguments, folder=folder)


def _run(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=_environment(folder) if folder else None, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BugsinkError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _ready(server: subprocess.Popen[bytes], state: Path, url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=START_SECONDS):
                return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > end:
                log = (state / "server.log").read_text()[-2000:]
                raise BugsinkError(f"Bugsink did not start ({error}):\n{log}") from error
        time.sleep(0.1)


def _ask(url: str, token: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    address = path if path.startswith("http") else f"{url}/api/canonical/0/{path}"
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=30) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            raise BugsinkError(f"{address}: {error.code} {error.read()[:500]!r}") from error


def _all(server: dict[str, str], path: str, **query: str) -> list[dict[str, Any]]:
    """What a listing holds, page by page."""
    page = _ask(server["url"], server["token"], f"{path}?{urllib.parse.urlencode(query)}")
    found = list(page["results"])
    while page["next"]:
        page = _ask(server["url"], server["token"], page["next"])
        found += page["results"]
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make the environment")
    serving = commands.add_parser("serve", help="run a server")
    serving.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="ADDR:PORT")
    serving.add_argument("--ready-file", type=Path, help="written, with the same JSON, once the server takes events")
    listing = commands.add_parser("events", help="print what was received")
    listing.add_argument("--wait", type=float, default=0.0, metavar="SECONDS")
    listing.add_argument("--least", type=int, default=0, metavar="N", help="events to wait for")
    for command in (serving, listing):
        command.add_argument("--state", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    try:
        match options.command:
            case "install":
                print(install())
            case "serve":
                _serve(options.state, options.listen, options.ready_file)
            case "events":
                server = json.loads((options.state / STATE).read_text())
                print(json.dumps(wait(server, options.wait, options.least), indent=1))
    except (BugsinkError, OSError) as error:
        sys.exit(f"error: {error}")


def _serve(state: Path, listen: tuple[str, int], ready_file: Path | None) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with serve(state, listen) as server:
        line = json.dumps(server)
        if ready_file:
            ready_file.write_text(f"{line}\n")
        print(line, flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
