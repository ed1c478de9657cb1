"""Runs what a role declares as a real program, so that tests can have it measure a real server."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ansible.module_utils.watchkeeper.release import unpack

from tests.unit.runs import ROOT, Sent

MIRROR = Path(os.environ.get("WATCHKEEPER_MIRROR", ROOT / ".cache" / "mirror"))
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
START_SECONDS = 30


def archive(component: str) -> Path | None:
    """Return the newest release archive of a component in the mirror."""
    found = sorted(
        MIRROR.glob(f"{component}/*/*{ARCH}.tar.gz"),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)],
    )
    return found[-1] if found else None


def lacking(component: str, *programs: str) -> str:
    """Return what a live test of a component lacks on this machine, by name; nothing when it can run."""
    missing = [] if archive(component) else [f"a release archive of {component} in the mirror {MIRROR}"]
    missing += [f"the program {name}" for name in programs if not shutil.which(name)]
    return f"needs {', '.join(missing)}" if missing else ""


def free_port() -> int:
    """Return a TCP port that nobody has."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def get(url: str, timeout: float = 10) -> tuple[int, str]:
    """Return status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def answers(port: int) -> Callable[[], bool]:
    """Return a check whether somebody listens on a port of the loopback address."""

    def check() -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", port)) == 0

    return check


def wait_until(check: Callable[[], bool], what: str, log: Callable[[], str] = str) -> None:
    """Wait for something that is bound to happen."""
    end = time.monotonic() + START_SECONDS
    while not check():
        assert time.monotonic() < end, f"{what} did not happen:\n{log()}"
        time.sleep(0.05)


class Program:
    """A process of the test's own. What `stdin` holds is its input, and no word on the command line."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], bool], stdin: str = "") -> None:
        self._command, self._log, self._ready, self._stdin = command, log, ready, stdin

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def __enter__(self) -> Self:
        with self._log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        assert self.process.stdin
        with self.process.stdin as stdin:
            stdin.write(self._stdin)
        try:
            wait_until(lambda: self.process.poll() is not None or self._ready(), "a start", lambda: self.log)
            assert self.process.poll() is None, self.log
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; not an error when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def declared(sent: Sent, folder: Path, port: int) -> Program:
    """Return the program that was declared for a host, with its files and secrets below `folder`."""
    name = sent.arguments["name"]
    packed = archive(name)
    assert packed
    if not folder.exists():
        folder.mkdir()
        unpack(packed, folder / "release")
    contents = {item["path"]: item["content"] for item in sent.arguments["declaration"]["files"]}
    for path, content in {**contents, **sent.arguments["secrets"]}.items():
        file = folder / "config" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    places = (
        (rf"/opt/watchkeeper/{name}/[^/]+", str(folder / "release")),
        (rf"/etc/watchkeeper/{name}/run-[^/]+/config", str(folder / "config")),
    )
    command = sent.command()
    for pattern, place in places:
        command = [re.sub(pattern, place, word) for word in command]
    return Program(command, folder / "log", answers(port))


def metrics_read(expression: str, prefix: str) -> set[str]:
    """Return the metrics with a prefix that an expression reads."""
    return set(re.findall(rf"\b{prefix}_\w+", expression))


def sample(page: str, name: str) -> list[float]:
    """Return the values of all series of a metric."""
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)]
