"""What the two agents for logs have in common on a host: limits of their variables, the unit, and carried positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .durations import parse_duration
from .log_sources import Plan
from .validation import problem

GROUPS = ("adm", "systemd-journal")
# What the sandbox hides unless it is told otherwise.
HOMES, TEMPORARY = ("/home/", "/root/", "/run/user/"), ("/tmp/", "/var/tmp/")  # noqa: S108 - logs of others
# Loki refuses a request above its burst (6 MiB unless told otherwise) for ever, and a batch is sent until it is taken.
SMALLEST_BATCH, LARGEST_BATCH = 2**10, 4 * 2**20
_BATCH_SIZE = re.compile(r"([0-9]+)([KM])i?B")


def bytes_of(size: str) -> int:
    """Return the bytes of a batch's size such as `1MiB`; 0 where it is none."""
    match = _BATCH_SIZE.fullmatch(size)
    return int(match[1]) * {"K": 2**10, "M": 2**20}[match[2]] if match else 0


def batch_problems(agent: str, values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an agent's `<agent>_batch_size` and `<agent>_batch_wait`."""
    found = []
    size, wait = (str(values[f"{agent}_batch_{name}"]) for name in ("size", "wait"))
    if not SMALLEST_BATCH <= bytes_of(size) <= LARGEST_BATCH:
        found.append(problem(f"{agent}_batch_size", size, "a size from 1KiB to 4MiB, such as 512KiB"))
    try:
        fine = 0 < parse_duration(wait) <= 60
    except ValueError:
        fine = False
    if not fine:
        allowed = "a duration above zero and up to a minute, such as 1s or 500ms"
        found.append(problem(f"{agent}_batch_wait", wait, allowed))
    return found


def unit_settings(plan: Plan, groups: Iterable[str], stop_seconds: int, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unit's settings: whose files the agent may read, what its sandbox leaves visible, and its `own`."""
    sockets = [source for source in plan.sources if source.docker_host.startswith("unix:")]
    found: dict[str, Any] = {
        "SupplementaryGroups": " ".join(dict.fromkeys([*GROUPS, *(["docker"] if sockets else []), *groups])),
        "ExecStartPre": "/usr/bin/python3 {config}/carry_positions.py {config}/carry.json",
        "TimeoutStopSec": f"{stop_seconds}s",
        **own,
    }
    paths = [path for source in plan.sources for path in source.paths]
    if any(path.startswith(HOMES) for path in paths):
        found["ProtectHome"] = "read-only"
    if any(path.startswith(TEMPORARY) for path in paths):
        found["PrivateTmp"] = False
    return found
