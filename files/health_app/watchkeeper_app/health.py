"""The health of the service: checks run side by side, each within its time limit, with one result for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter

from watchkeeper_app import logs
from watchkeeper_app.checks import Check, CheckFailedError
from watchkeeper_app.metrics import Metrics

_LONGEST_REASON = 300


class Health:
    """The checks of a service and their last results."""

    def __init__(self, checks: Sequence[Check], cache: float, metrics: Metrics) -> None:
        """`cache` is for how many seconds a result is shared; those who ask while the checks run always share."""
        self._checks = checks
        self._cache = cache
        self._metrics = metrics
        self._log = logs.get("health")
        self._critical = {check.name for check in checks if check.critical}
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._results: dict[str, bool] = {}
        self._finished = float("-inf")
        self._run: asyncio.Task[None] | None = None

    async def results(self) -> Mapping[str, bool]:
        """Whether each check passed, by name. Takes as long as the slowest check's time limit at most."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._finished >= self._cache:
            if self._run is None or self._run.done():
                self._run = loop.create_task(self._run_all())
            # One caller who goes away does not end the run for the others.
            await asyncio.shield(self._run)
        return self._results

    def healthy(self, results: Mapping[str, bool]) -> bool:
        """Whether no critical check failed."""
        return all(passed for name, passed in results.items() if name in self._critical)

    async def close(self) -> None:
        """Gives back what the checks hold."""
        for task in [*self._probes.values(), *([self._run] if self._run else [])]:
            task.cancel()
        await asyncio.gather(*(check.close() for check in self._checks), return_exceptions=True)

    async def _run_all(self) -> None:
        passed = await asyncio.gather(*(self._check(check) for check in self._checks))
        self._results = {check.name: good for check, good in zip(self._checks, passed, strict=True)}
        self._finished = asyncio.get_running_loop().time()

    async def _check(self, check: Check) -> bool:
        start = perf_counter()
        reason = await self._reason(check)
        self._metrics.check(check.name, not reason, perf_counter() - start)
        before = self._results.get(check.name, True)
        if reason and before:
            tell = self._log.error if check.critical else self._log.warning
            tell("Check failed", check=check.name, critical=check.critical, reason=reason)
        elif not reason and not before:
            self._log.info("Check passes again", check=check.name)
        return not reason

    async def _reason(self, check: Check) -> str:
        """Why a check fails, empty when it passes."""
        before = self._probes.get(check.name)
        if before and not before.done():
            return "the attempt before does not end"
        probe = asyncio.get_running_loop().create_task(check.probe())
        self._probes[check.name] = probe
        # Waits for the time limit only: a probe that does not heed its cancellation holds nobody up.
        await asyncio.wait({probe}, timeout=check.timeout)
        if not probe.done():
            probe.cancel()
            probe.add_done_callback(_forget)
            return f"no answer within {check.timeout:g} s"
        if probe.cancelled():
            return "cancelled"
        error = probe.exception()
        if error is None:
            return ""
        text = str(error) if isinstance(error, CheckFailedError) else f"{type(error).__name__}: {error}"
        return text[:_LONGEST_REASON]


def _forget(probe: asyncio.Task[None]) -> None:
    """Takes note of how a late probe ended, or asyncio would complain of an error that nobody saw."""
    if not probe.cancelled():
        probe.exception()
