"""Runs the engine once in a process of its own: a job as JSON comes in, the outcome as JSON goes out."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from dataclasses import asdict
from typing import IO

import tests.conftest  # noqa: F401 - gives the project's code its name

# isort: split
from ansible.module_utils.watchkeeper import engine as engine_module
from ansible.module_utils.watchkeeper import probe, release
from ansible.module_utils.watchkeeper.declaration import Declaration, Layout
from ansible.module_utils.watchkeeper.engine import ComponentError, Engine
from ansible.module_utils.watchkeeper.systemd import Systemd


def fetch(url: str, *, timeout: int) -> IO[bytes]:
    """Open a URL as the module does."""
    answer: IO[bytes] = urllib.request.urlopen(url, timeout=timeout)
    return answer


def main() -> None:
    """Do the job."""
    os.umask(0o022)
    job = json.load(sys.stdin)
    layout = Layout(**job["layout"])
    engine = Engine(layout, Systemd(layout), fetch, job.get("check_mode", False), job["scratch"])
    fatal = job.get("kill_at")

    def step(name: str) -> None:
        print(name, file=sys.stderr)
        if name == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    release.STALL_SECONDS = 1
    probe.PROOF_SECONDS = float(os.environ.get("WATCHKEEPER_TEST_PROOF_SECONDS", "10"))
    engine_module.POLL_SECONDS = 0.02
    engine.step = step  # type: ignore[method-assign]
    try:
        if job["do"] == "remove":
            outcome = engine.remove(job["name"], tuple(job.get("data", ())), job.get("purge", False))
        elif job["do"] == "rollback":
            outcome = engine.rollback(job["name"])
        else:
            want = Declaration.from_dict(job["declaration"], job["secrets"])
            outcome = engine.converge(want, job.get("archive", ""), job.get("pull", True))
    except ComponentError as error:
        json.dump({"failed": str(error)}, sys.stdout)
        return
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
