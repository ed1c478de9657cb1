"""Service level objectives: which share of the requests must be good, and how much badness is left.

An objective of 99.9 % over 30 days leaves an error budget of 0.1 % of the requests. Bad are requests answered with a
server error, or, where a threshold is given, requests that take longer. From each objective come recorded series with
the labels ``slo``, ``job`` and ``service``:

- ``slo:requests:rate<window>`` and ``slo:errors:rate<window>``: all requests and the bad ones, per second
- ``slo:errors:ratio_rate<window>``: the bad share; there is none while there are no requests
- ``slo:objective:ratio``: the share that must be good
- ``slo:error_budget_remaining:ratio``: 1 is untouched, 0 is used up, below 0 is overdrawn

The alerts on them are ``files/alerts/slo.yml``: several burn rates, each over a long window that proves a loss and a
short one that ends the alert soon after the loss does. Rates and windows are those of Google's "The Site Reliability
Workbook", chapter 5, "Alerting on SLOs": 14.4 over 1h uses up 2 % of a budget of 30 days, 6 over 6h 5 %, 3 over 1d
10 % and 1 over 3d 10 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .alerts import Alert
from .durations import parse_duration

GROUP = "slo"
RECORDING_GROUP = "slo_recording"
VARIABLE = "watchkeeper_slos"
# Between two evaluations. Longer windows are sums over them.
INTERVAL = "1m"
# What longer windows are summed up from.
BASE = "5m"
# Up to here a window is computed from the counters. Summing up blurs a window's ends by BASE, which is nothing to a
# long one; a long range over the counters of every route costs too much each minute.
LONGEST_FROM_COUNTERS = "1h"


@dataclass(frozen=True)
class Slo:
    """One objective. `objective` is in percent; without a `latency_threshold_ms` it is about server errors."""

    name: str
    job: str
    service: str
    objective: float
    latency_threshold_ms: float
    window: str
    ignored_routes: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the series that do not come from a request."""
        return {"slo": self.name, "job": self.job, **({"service": self.service} if self.service else {})}

    def requests(self, window: str) -> str:
        """Return the expression for all requests per second."""
        metric = "http_request_duration_ms_count" if self.latency_threshold_ms else "http_requests_total"
        return self._rate(metric, window)

    def errors(self, window: str) -> str:
        """Return the expression for the bad requests per second; it is 0, and not nothing, where there are none."""
        every = self.requests(window)
        if self.latency_threshold_ms:
            # 500 is 500 or 500.0, by the version of Prometheus and by what the program exposes.
            bucket = f'le=~"{self.latency_threshold_ms:.15g}([.]0)?"'
            return f"clamp_min({every} - {self._rate('http_request_duration_ms_bucket', window, bucket)}, 0)"
        failed = self._rate("http_requests_total", window, 'status_code=~"5.."')
        return f"{failed} or 0 * {every}"

    def _rate(self, metric: str, window: str, *matchers: str) -> str:
        own = [f'job="{self.job}"']
        if self.service:
            own.append(f'service="{self.service}"')
        if self.ignored_routes:
            own.append(f'route!~"{self.ignored_routes}"')
        return f"sum by (job, service) (rate({metric}{{{', '.join([*own, *matchers])}}}[{window}]))"


def merged(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of `watchkeeper_slos_default` and `watchkeeper_slos`, merged by name."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (*settings[f"{VARIABLE}_default"], *settings[VARIABLE]):
        if entry.get("state") == "absent":
            found.pop(entry["name"], None)
        else:
            found[entry["name"]] = {**found.get(entry["name"], {}), **entry}
    return list(found.values())


def read_slos(settings: Mapping[str, Any], option: Mapping[str, Any]) -> tuple[Slo, ...]:
    """Return the objectives; `option` is the variable's documentation, which says what an entry leaves out."""
    defaults = {name: inner.get("default", "") for name, inner in option["options"].items()}
    return tuple(
        Slo(
            name=str(keys["name"]),
            job=str(keys["job"]),
            service=str(keys["service"]),
            objective=float(keys["objective"]),
            latency_threshold_ms=float(keys["latency_threshold_ms"]),
            window=str(keys["window"]),
            ignored_routes=str(keys["ignored_routes"]),
        )
        for keys in ({**defaults, **entry} for entry in merged(settings))
    )


def windows_of(alerts: Iterable[Alert]) -> set[str]:
    """Return the windows that alerts on objectives read: their parameters whose names end in ``_window``."""
    return {
        str(value)
        for alert in alerts
        if alert.group == GROUP
        for name, value in alert.parameters.items()
        if name.endswith("_window")
    }


def recording_rules(slos: Iterable[Slo], windows: Iterable[str]) -> dict[str, Any]:
    """Return the rule group that records the objectives' series over these windows and over their own.

    Sums of recorded rates keep the weights right: a minute with many requests counts for more than a quiet one, which
    a mean of recorded ratios would not do.
    """
    slos = tuple(slos)
    every = sorted({BASE, *windows, *(slo.window for slo in slos)}, key=parse_duration)
    rules: list[dict[str, Any]] = []

    def record(name: str, expr: str, labels: Mapping[str, str] | None = None) -> None:
        rules.append({"record": name, "expr": expr, **({"labels": dict(labels)} if labels else {})})

    for slo in slos:
        record("slo:objective:ratio", f"vector({slo.objective / 100:.12g})", slo.labels)
    for window in every:
        seconds = parse_duration(window)
        if seconds <= parse_duration(LONGEST_FROM_COUNTERS):
            for slo in slos:
                record(f"slo:requests:rate{window}", slo.requests(window), {"slo": slo.name})
                record(f"slo:errors:rate{window}", slo.errors(window), {"slo": slo.name})
        else:
            share = f"* {parse_duration(INTERVAL):g} / {seconds:.15g}"
            for kind in ("requests", "errors"):
                record(f"slo:{kind}:rate{window}", f"sum_over_time(slo:{kind}:rate{BASE}[{window}]) {share}")
        record(f"slo:errors:ratio_rate{window}", f"slo:errors:rate{window} / (slo:requests:rate{window} > 0)")
    for slo in slos:
        used = f'slo:errors:ratio_rate{slo.window}{{slo="{slo.name}"}} / {1 - slo.objective / 100:.12g}'
        record("slo:error_budget_remaining:ratio", f"1 - {used}", {"slo": slo.name})
    return {"name": RECORDING_GROUP, "interval": INTERVAL, "rules": rules}
