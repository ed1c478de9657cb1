"""A Grafana to test against: the emulator, and a real one where a release archive of it is there.

A test module that wants one imports the fixture: ``from tests.unit.grafana_fixture import Grafana, grafana``.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.release import unpack

from tests.emulators.grafana import GrafanaEmulator
from tests.harness.mirror import EMULATED, pack_emulator
from tests.unit.live import ARCH, MIRROR, Program, free_port, get

PASSWORD = "Correct-horse-7-battery"  # noqa: S105 - of servers that live as long as a test
EMULATOR, REAL = "the emulator", "a real Grafana"
# The first start of a real one builds its data base.
START_SECONDS = 180


def real_archive() -> Path | None:
    """Return the release archive of a real Grafana in the mirror: not the one that the emulator is packed into."""
    lock = MIRROR / "lock.yml"
    pins = yaml.safe_load(lock.read_text(encoding="utf-8")).get(EMULATED, {}) if lock.is_file() else None
    found = [
        path
        for path in sorted(MIRROR.glob(f"{EMULATED}/*/{EMULATED}-*.linux-{ARCH}.tar.gz"))
        if pins is None or ARCH in pins.get(path.parent.name, {})
    ]
    return found[-1] if found else None


LACKING = "" if real_archive() else f"needs a release archive of grafana in the mirror {MIRROR}"
real_only = pytest.mark.skipif(bool(LACKING), reason=LACKING)
KINDS = [EMULATOR] if LACKING else [EMULATOR, REAL]


class Grafana:
    """Where a Grafana is, and how to log in."""

    def __init__(self, url: str, emulator: GrafanaEmulator | None = None, program: Program | None = None) -> None:
        self.url, self.username, self.password = url, "admin", PASSWORD
        self._emulator, self._program = emulator, program

    @property
    def emulator(self) -> GrafanaEmulator:
        """The emulator with its faults and records; a test that needs them is skipped on a real Grafana."""
        if self._emulator is None:
            pytest.skip("a real Grafana has no faults on demand and no list of requests")
        return self._emulator

    @property
    def program(self) -> Program:
        """Its process, where it is one."""
        assert self._program is not None
        return self._program

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", login: str | None = None, org: int = 0
    ) -> tuple[int, Any]:
        """Return status and content of an answer.

        `login` is `name:password` of somebody else than the administrator, or empty for nobody.
        """
        pair = f"{self.username}:{self.password}" if login is None else login
        headers = {"Content-Type": "application/json"}
        if token or pair:
            scheme = f"Bearer {token}" if token else "Basic " + base64.b64encode(pair.encode()).decode()
            headers["Authorization"] = scheme
        if org:
            headers["X-Grafana-Org-Id"] = str(org)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _content(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _content(error.read())


def _content(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()


def release(kind: str, folder: Path) -> Path:
    """Unpack the emulator's release archive or the real one below a folder; return its home folder."""
    packed = real_archive() if kind == REAL else folder / "grafana.tar.gz"
    assert packed
    if kind == EMULATOR:
        pack_emulator(packed, "13.2.3")
    unpack(packed, folder / "release")
    return folder / "release"


def configuration(folder: Path, **more: Mapping[str, Any]) -> Path:
    """Write a grafana.ini with all data below a folder and nothing that asks the internet; `more` goes on top."""
    settings: dict[str, dict[str, Any]] = {
        "paths": {"data": folder / "data", "provisioning": folder / "provisioning"},
        "server": {"http_addr": "127.0.0.1", "http_port": free_port()},
        "security": {"admin_password": f"$__file{{{folder}/password}}"},
        "analytics": {"reporting_enabled": False, "check_for_updates": False, "check_for_plugin_updates": False},
        "plugins": {"preinstall_disabled": True, "preinstall_auto_update": False},
    }
    for section, keys in more.items():
        settings.setdefault(section.replace("__", "."), {}).update(keys)
    for kind in ("dashboards", "datasources", "plugins", "alerting", "access-control"):
        (folder / "provisioning" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    lines = [
        line
        for section, keys in settings.items()
        for line in (
            f"[{section}]",
            *(f"{key} = {str(value).lower() if isinstance(value, bool) else value}" for key, value in keys.items()),
        )
    ]
    file = folder / "grafana.ini"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@contextmanager
def running(home: Path, ini: Path) -> Iterator[Grafana]:
    """Run the program of an unpacked release until the block ends."""
    port = next(line.split()[-1] for line in ini.read_text(encoding="utf-8").splitlines() if "http_port" in line)
    url = f"http://127.0.0.1:{port}"
    command = [str(home / "bin" / "grafana"), "server", "--homepath", str(home), "--config", str(ini)]
    with Program(command, ini.parent / "log", lambda: True) as program:
        end = time.monotonic() + START_SECONDS
        while not _healthy(url):
            assert program.process.poll() is None, program.log
            assert time.monotonic() < end, program.log
            time.sleep(0.05)
        yield Grafana(url, program=program)


def _healthy(url: str) -> bool:
    try:
        return get(f"{url}/api/health")[0] == 200
    except OSError:
        return False


@functools.cache
def _real() -> Grafana:
    """Start a real one, for as long as the tests run: its start takes its time."""
    stack = ExitStack()
    folder = Path(tempfile.mkdtemp(prefix="grafana-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.close)
    return stack.enter_context(running(release(REAL, folder), configuration(folder)))


def empty(server: Grafana) -> None:
    """Remove what another test has left."""
    for item in server.ask("GET", "/api/datasources")[1]:
        server.ask("DELETE", f"/api/datasources/uid/{item['uid']}")
    for item in server.ask("GET", "/api/search?type=dash-db")[1]:
        server.ask("DELETE", f"/api/dashboards/uid/{item['uid']}")
    for item in server.ask("GET", "/api/folders")[1]:
        server.ask("DELETE", f"/api/folders/{item['uid']}")
    for item in server.ask("GET", "/api/serviceaccounts/search")[1]["serviceAccounts"]:
        server.ask("DELETE", f"/api/serviceaccounts/{item['id']}")
    for item in server.ask("GET", "/api/annotations")[1]:
        server.ask("DELETE", f"/api/annotations/{item['id']}")
    for item in server.ask("GET", "/api/orgs")[1]:
        server.ask("DELETE", f"/api/orgs/{item['id']}")


@pytest.fixture(params=KINDS)
def grafana(request: pytest.FixtureRequest) -> Iterator[Grafana]:
    """A Grafana without anything in it."""
    if request.param == EMULATOR:
        with GrafanaEmulator(admin_password=PASSWORD) as emulator:
            yield Grafana(emulator.url, emulator)
    else:
        found = _real()
        empty(found)
        yield found
