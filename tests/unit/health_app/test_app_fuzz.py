"""The app's routes against their own description, by Schemathesis: no 500, no hang, nothing that is not described.

Needs postgres (Debian's package postgresql) and redis-server (Debian's package redis-server); without them these tests
are skipped by name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.health_app.servers import App, Server, needs_postgres, needs_redis

pytestmark = [needs_postgres, needs_redis]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# No request may take longer, in seconds; the checks' limit is 1.
LONGEST_REQUEST = 10
# One route fails on purpose, and its description says so.
ON_PURPOSE = """
[[operations]]
include-path = "/api/error"
checks.not_a_server_error.enabled = false
"""


def fuzz(app: App, folder: Path, *options: str) -> str:
    """Runs Schemathesis with a fixed seed and returns what it says; fails with that when it finds something."""
    command = [
        *(str(SCHEMATHESIS), "run", f"http://127.0.0.1:{app.port}/openapi.json"),
        *("--seed", "1", "--no-shrink", "--continue-on-failure", "--warnings", "off"),
        *("--request-timeout", str(LONGEST_REQUEST)),
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{app.program.log[-5000:]}"
    return done.stdout


def test_every_route_does_as_described(app: App, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(ON_PURPOSE, encoding="utf-8")
    assert "Tested: 11" in fuzz(app, tmp_path, "--max-examples", "50")


def test_without_backends_every_route_does_as_described(
    app: App, postgres: Server, redis: Server, tmp_path: Path
) -> None:
    app.wait_for("/health", 200)
    postgres.hang()
    redis.hang()
    # A 503 is as described, a 500 is not.
    options = ("--exclude-checks", "not_a_server_error", "--exclude-path", "/api/error", "--workers", "8")
    try:
        fuzz(app, tmp_path, "--phases", "fuzzing", "--max-examples", "5", *options)
    finally:
        postgres.resume()
        redis.resume()
    app.wait_for("/health", 200)
