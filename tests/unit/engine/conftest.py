"""A host for the engine: real processes, real files, real HTTP, and systemd's part played by systemctl.py."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible.module_utils.watchkeeper.declaration import (
    Artefact,
    Declaration,
    Endpoint,
    Layout,
    Manifest,
    OwnedFile,
    Ready,
    Reload,
    Source,
    Unit,
    declare,
)
from ansible.module_utils.watchkeeper.release import architecture

HERE = Path(__file__).parent


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves archives; /missing, /truncated, /corrupt and /hang do what they say."""

    requests: ClassVar[list[str]] = []
    hold: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        """Serve one file, or a fault."""
        self.requests.append(self.path)
        fault, _slash, name = self.path.strip("/").partition("/")
        if fault == "missing":
            self.send_error(404)
            return
        content = (Path(self.directory) / name).read_bytes()
        self.send_response(200)
        if name.startswith("simple/"):
            self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "hang":
            self.hold.wait(30)
        elif fault == "truncated":
            self.wfile.write(content[: len(content) // 2])
        elif fault == "corrupt":
            self.wfile.write(bytes([content[0] ^ 1]) + content[1:])
        else:
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@dataclass
class Host:
    """One host under test. The component `demo` has `port`, another one `other_port`."""

    base: Path
    mirror: str
    port: int
    other_port: int
    archives: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Where the engine keeps its things here."""
        places = ("etc", "opt", "systemd", "sysusers", "tmpfiles", "locks", "store")
        values = {name: str(self.base / name) for name in places}
        return Layout(**{**values, "systemd": str(self.base / "state" / "units")})

    @property
    def data(self) -> Path:
        """The program's data directory."""
        return self.data_of("demo")

    def data_of(self, name: str) -> Path:
        """Return a component's data directory."""
        return self.base / "var" / "lib" / name

    @property
    def url(self) -> str:
        """Where the program answers."""
        return f"http://127.0.0.1:{self.port}"

    def archive(self, version: str, behaviour: str = "") -> str:
        """Make a release archive in upstream's layout and return its SHA-256."""
        if (version, behaviour) not in self.archives:
            text = (HERE / "program.py").read_text(encoding="utf-8")
            text = f"#!{sys.executable}\n" + text.replace("@VERSION@", version).replace("@BEHAVIOUR@", behaviour)
            path = self.base / "mirror" / f"demo-{version}.tar.gz"
            with tarfile.open(path, "w:gz") as tar:
                member = tarfile.TarInfo(f"demo-{version}.linux/program")
                member.size, member.mode = len(text.encode()), 0o755
                tar.addfile(member, io.BytesIO(text.encode()))
            self.archives[version, behaviour] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self.archives[version, behaviour]

    def declare(
        self,
        config: str = "first",
        version: str = "1.0.0",
        behaviour: str = "",
        *,
        name: str = "demo",
        replaces: tuple[str, ...] = (),
        fault: str = "ok",
        sha256: str | None = None,
        reload: bool = True,
        secrets: dict[str, str] | None = None,
        generate: tuple[str, ...] = (),
        start_secrets: tuple[str, ...] = (),
        files: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        port: int = 0,
        timeout: int = 3,
        download_timeout: int = 20,
    ) -> Declaration:
        """Declare the demo component, or the same program under another name."""
        pinned = self.archive(version, behaviour) if sha256 is None else sha256
        port = port or (self.port if name == "demo" else self.other_port)
        url = f"http://127.0.0.1:{port}"
        manifest = Manifest(
            name=name,
            account=pwd.getpwuid(os.geteuid()).pw_name,
            version=version,
            ready=Ready(f"{url}/ready", 200, timeout),
            reload=Reload(f"{url}/metrics", "demo_reload") if reload else None,
            listen=(Endpoint("127.0.0.1", port),),
            data=(str(self.data_of(name)),),
            replaces=replaces,
        )
        owned = [OwnedFile("demo.conf", config + "\n"), *(OwnedFile(*item) for item in (files or {}).items())]
        owned += [OwnedFile(f"secrets/{path}", value, secret=True) for path, value in (secrets or {}).items()]
        return declare(
            manifest,
            Artefact(
                "archive",
                version,
                {architecture(): Source(f"{self.mirror}/{fault}/demo-{version}.tar.gz", pinned)},
                timeout=download_timeout,
            ),
            Unit("Demo", ("{release}/program", "{config}/demo.conf", str(port), *arguments)),
            owned,
            [("{release}/program", "check", "{config}/demo.conf")],
            layout=self.layout,
            generate=[f"secrets/{path}" for path in generate],
            start_secrets=[f"secrets/{path}" for path in start_secrets],
        )

    def drive(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run the engine in a process of its own; a killed one gives {'killed': True}."""
        job = {"layout": asdict(self.layout), "scratch": str(self.base), "name": "demo", **job}
        environment = {
            **os.environ,
            "PATH": f"{self.base / 'bin'}:{os.environ['PATH']}",
            "WATCHKEEPER_TEST_SYSTEMD": str(self.base / "state"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.unit.engine.drive"],
            cwd=HERE.parents[2],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env=environment,
            timeout=90,
            check=False,
        )
        if done.returncode == -signal.SIGKILL:
            return {"killed": True}
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def converge(self, want: Declaration, **more: Any) -> dict[str, Any]:
        """Converge the demo component."""
        raw, secrets = want.to_dict()
        return self.drive({"do": "converge", "declaration": raw, "secrets": secrets, **more})

    def systemctl(self, *arguments: str) -> str:
        """Call the stand-in for systemctl."""
        environment = {**os.environ, "WATCHKEEPER_TEST_SYSTEMD": str(self.base / "state")}
        command = [str(self.base / "bin" / "systemctl"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def running(self) -> list[str]:
        """Return the components that run."""
        units = Path(self.base / "state").glob("*.service.json")
        names = sorted(path.name.partition(".")[0] for path in units)
        return [name for name in names if "ActiveState=active" in self.systemctl("show", f"{name}.service")]

    def answer(self) -> tuple[str, str]:
        """Ask the running program for its version and configuration."""
        version, _newline, config = self.get("/").partition("\n")
        return version, config.strip()

    def get(self, path: str) -> str:
        """Ask the running program for a page."""
        for _ in range(50):
            try:
                with urllib.request.urlopen(f"{self.url}{path}", timeout=2) as got:
                    return str(got.read().decode())
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nothing answers")

    def tree(self) -> list[str]:
        """List what the engine keeps for the component, releases aside."""
        base = Path(self.layout.etc, "demo")
        return sorted(path.name for path in base.iterdir()) if base.exists() else []


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve a folder of archives."""
    folder = tmp_path_factory.mktemp("mirror")

    class Handler(Mirror):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, directory=str(folder), **more)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    Mirror.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def host(tmp_path: Path, mirror: tuple[str, Path]) -> Iterator[Host]:
    """Return a bare host; what it runs is ended afterwards."""
    for name in ("bin", "state/units", "etc", "opt", "locks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mirror").symlink_to(mirror[1])
    stand_in = f"#!{sys.executable}\n" + (HERE / "systemctl.py").read_text(encoding="utf-8")
    for name in ("systemctl", "systemd-tmpfiles", "journalctl"):
        path = tmp_path / "bin" / name
        path.write_text(stand_in, encoding="utf-8")
        path.chmod(0o755)
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        made = Host(tmp_path, mirror[0], int(one.getsockname()[1]), int(two.getsockname()[1]))
    Mirror.requests.clear()
    yield made
    for name in ("demo", "other"):
        with contextlib.suppress(subprocess.CalledProcessError):
            made.systemctl("stop", f"{name}.service")
    shutil.rmtree(tmp_path, ignore_errors=True)
