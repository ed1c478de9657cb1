"""Processes of their own for what changes a whole process, such as its log and its hooks, and a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

ROOT = Path(__file__).resolve().parents[3]
PACKAGE_PARENT = ROOT / "files" / "health_app"


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the health app's package and the tests to be found."""
    return {**os.environ, "PYTHONPATH": f"{PACKAGE_PARENT}{os.pathsep}{ROOT}", **more}


def run(code: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code to its end."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )


def events(text: str) -> list[dict[str, Any]]:
    """The events of a log; fails when a line is not one of JSON."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of an application that runs behind a real server, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        # uvicorn closes a connection on which an application has raised.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, limits=limits) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
