"""Kills a run of the engine at each of its steps on a real host, and looks at what serves afterwards.

Called with a JSON object: the folder of the engine's code, where both releases come from, and their checksums. It
changes node_exporter from one version to the other, again and again; the last word of each round is a run to its end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from typing import IO

JOB = json.loads(sys.argv[1])
sys.path.insert(0, JOB["code"])

from watchkeeper.declaration import Artefact, Declaration, Endpoint, Layout, Manifest, OwnedFile, Ready, Source, Unit
from watchkeeper.declaration import declare as make
from watchkeeper.engine import ComponentError, Engine
from watchkeeper.release import architecture
from watchkeeper.systemd import Systemd

STEPS = ["release", "candidate", "check", "configuration", "run", "unit", "restart", "prove", "state", "tidy"]
URL = "http://127.0.0.1:9100/metrics"


def fetch(url: str, *, timeout: int) -> IO[bytes]:
    """Open a URL."""
    return urllib.request.urlopen(url, timeout=timeout)


def declare(version: str) -> Declaration:
    """Declare node_exporter at one version, with a file that names it."""
    return make(
        Manifest("node_exporter", "node_exporter", version, Ready(URL), None, (Endpoint("0.0.0.0", 9100),), ()),
        Artefact("archive", version, {architecture(): Source(*JOB["releases"][version])}),
        Unit("Node exporter", ("{release}/node_exporter", "--collector.textfile.directory={config}")),
        [OwnedFile("version.prom", f'configured_version{{version="{version}"}} 1\n')],
        [["{release}/node_exporter", "--version"]],
    )


def converge(version: str, kill_at: str = "") -> None:
    """Run the engine in a process of its own, which dies at `kill_at`."""
    child = os.fork()
    if child == 0:
        engine = Engine(Layout(), Systemd(Layout()), fetch)
        if kill_at:
            engine.step = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == kill_at else None
        try:
            engine.converge(declare(version))
            os._exit(0)
        except ComponentError as error:
            print(f"{version}: {error}", file=sys.stderr)
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    wanted = signal.SIGKILL if kill_at else 0
    assert status == wanted, f"status {status} at {kill_at or 'the end'} of {version}"


def serving() -> str:
    """Return the version that serves; program and configuration must be of one piece."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(URL, timeout=3) as answer:
                text = answer.read().decode()
            program = re.search(r'node_exporter_build_info\{.*version="([^"]+)"', text).group(1)
            configured = re.search(r'configured_version\{.*?version="([^"]+)"', text).group(1)
            assert program == configured, f"a mixture: program {program}, configuration {configured}"
            return program
        except OSError:
            time.sleep(0.25)
    raise AssertionError("nothing serves")


def systemctl(*words: str) -> None:
    """Call systemctl."""
    subprocess.run(["systemctl", *words, "node_exporter.service"], check=True)


def main() -> None:
    """Kill at every step, crash what serves, then let a run come to its end."""
    old, new = sorted(JOB["releases"])
    converge(old)
    assert serving() == old
    for step in STEPS:
        subprocess.run(["rm", "-rf", f"/opt/watchkeeper/node_exporter/{new}"], check=True)
        converge(new, kill_at=step)
        before = serving()
        systemctl("kill", "--signal=KILL")
        time.sleep(5.5)  # RestartSec
        after = serving()
        converge(new)
        assert serving() == new
        print(f"{step}: {before} served after the kill, {after} after a crash, {new} at the end")
        converge(old)
        assert serving() == old
    print("killed at every step")


if __name__ == "__main__":
    main()
