"""Counts what a run did and for how long, and leaves it as JSON in the file that WATCHKEEPER_BENCH_RESULT names."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: bench_counter
type: aggregate
short_description: Counts task executions per host and times the tasks
description: Leaves its counts in the file that E(WATCHKEEPER_BENCH_RESULT) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One record per run: executions by host, seconds by task, and the bytes that components would have sent."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bench_counter"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._tasks: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._started: dict[tuple[str, str], float] = {}
        self._sent = 0

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Remember when a host began."""
        self._started[host.get_name(), task._uuid] = time.perf_counter()

    def _count(self, result: Any) -> None:
        if isinstance(result.task, TaskInclude):
            return
        host = result.host.get_name()
        self._tasks[host] += 1
        began = self._started.pop((host, result.task._uuid), None)
        if began is not None:
            self._seconds[result.task.get_name()] += time.perf_counter() - began
        self._sent += result.result.get("sent", 0)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count an execution."""
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 - Ansible's signature
        """Count an execution that failed."""
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the record."""
        record = {
            "tasks": self._tasks,
            "seconds": self._seconds,
            "sent": self._sent,
            "changed": sum(stats.changed.values()),
            "failed": sum(stats.failures.values()) + sum(stats.dark.values()),
        }
        Path(os.environ["WATCHKEEPER_BENCH_RESULT"]).write_text(json.dumps(record), encoding="utf-8")
