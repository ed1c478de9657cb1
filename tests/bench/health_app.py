"""How fast the health app answers on one core: 200 requests a second to /health, with healthy backends.

Starts PostgreSQL, Redis and the app, and asks at fixed times whether or not earlier answers are there (an open loop);
each request has a connection of its own, and its time counts from when it was due. Nothing here is an assertion: times
are a machine's. The goal is a p99 below 50 ms.

    python -m tests.bench.health_app [--rate 200] [--seconds 30]

On a machine with other work to do, put ``chrt -r 1`` before it: then the numbers are the app's and not the queue's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "module_utils")]

import tests.conftest  # noqa: E402, F401 - gives the project's code the name under which the tests import it
from tests.unit.health_app import servers  # noqa: E402

GOAL_MS = 50.0
CACHES = (1.0, 0.0)
REQUEST = b"GET /health HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Result:
    """Times in milliseconds, sorted, and how many answers were not what they should be."""

    times: list[float]
    errors: int
    cpu_seconds: float

    def quantile(self, share: float) -> float:
        """The time that this share of the requests did not exceed."""
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))]


async def offer(port: int, rate: float, seconds: float) -> tuple[list[float], int]:
    """Sends requests at fixed times and returns their times in milliseconds, and the number of errors."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.1
    times: list[float] = []
    errors = 0

    async def one(due: float) -> None:
        nonlocal errors
        await asyncio.sleep(due - loop.time())
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST)
                answer = await reader.read()
                writer.close()
            good = answer.startswith(b"HTTP/1.1 200 ") and b'"status":"ok"' in answer
        except (OSError, TimeoutError):
            good = False
        errors += not good
        times.append((loop.time() - due) * 1000)

    await asyncio.gather(*(one(begin + number / rate) for number in range(int(rate * seconds))))
    return sorted(times), errors


def measure(cache: float, rate: float, seconds: float, cores: list[int]) -> Result:
    """Runs the servers and the app with a cache of so many seconds, and asks."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.postgres() as postgres,
        servers.redis() as redis,
    ):
        secret = Path(folder) / "password"
        secret.write_text(servers.PASSWORD, encoding="utf-8")
        config = {
            "health": {"cache": cache},
            "checks": [
                {
                    "name": "database",
                    "type": "postgresql",
                    "port": postgres.port,
                    "database": "postgres",
                    "user": servers.USER,
                    "password_file": str(secret),
                },
                {
                    "name": "redis",
                    "type": "redis",
                    "url": f"redis://127.0.0.1:{redis.port}/0",
                    "password_file": str(secret),
                },
            ],
        }
        with servers.App(Path(folder), config) as app:
            os.sched_setaffinity(app.program.pid, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:] or cores))
            app.wait_for("/health", 200)
            before = _cpu(app.program.pid)
            times, errors = asyncio.run(offer(app.port, rate, seconds))
            return Result(times, errors, _cpu(app.program.pid) - before)


def _cpu(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description="How fast the health app answers on one core.")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(f"{platform.machine()}, Python {platform.python_version()}, app on one core of {len(cores)}")
    print(f"{options.rate:g} requests a second for {options.seconds:g} s, {time.strftime('%Y-%m-%d')}\n")
    print("| health.cache | p50 ms | p99 ms | max ms | errors | CPU of the core |")
    print("|---|---|---|---|---|---|")
    for cache in CACHES:
        result = measure(cache, options.rate, options.seconds, cores)
        quantiles = [f"{result.quantile(share):.1f}" for share in (0.5, 0.99, 1.0)]
        share = f"{100 * result.cpu_seconds / options.seconds:.0f} %"
        print(f"| {cache:g} | {' | '.join(quantiles)} | {result.errors} | {share} |", flush=True)
    print(f"\nThe goal is a p99 below {GOAL_MS:g} ms.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
