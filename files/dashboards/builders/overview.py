"""The one for the wall: is anything wrong, and where. It fits on a screen of 1920x1080."""

from __future__ import annotations

from files.dashboards.builders.library import (
    CRITICAL,
    GOOD,
    NEUTRAL,
    RUNBOOKS,
    WARNING,
    Board,
    Column,
    joined,
    limit,
    parameter,
    query,
    step,
)
from files.dashboards.builders.system import cpu, fullest, memory

_ROUTES = f'route!~"{parameter("HighErrorRate", "ignored_routes")}"'
_PROBES = parameter("HostDown", "probe_jobs")
_EACH = "alertname, instance, what"
_WHAT = (
    "service",
    "slo",
    "route",
    "operation",
    "check",
    "name",
    "mountpoint",
    "datname",
    "integration",
    "job",
)
_SYSTEM = ("Show this host", "/d/watchkeeper-system?var-host=${__field.labels.instance}&${__url_time_range}")


def _firing(severity: str) -> str:
    """Return the alerts of a severity, without the warnings whose critical twin fires too."""
    found = f'ALERTS{{alertstate="firing", severity="{severity}"}}'
    twins = 'ALERTS{alertstate="firing", severity="critical", pair!=""}'
    return f"({found} unless ignoring (alertname, severity) {twins})" if severity == "warning" else found


_RANKED = f"""(
  3 * {_firing("critical")} or 2 * {_firing("warning")} or {_firing("info")} or 0 * {_firing("none")}
)"""


_SINCE = f"(ALERTS_FOR_STATE and ignoring (alertstate) {_RANKED})"


def _count(severity: str) -> str:
    return f"count({_firing(severity)}) or vector(0)"


def _faults(series: str, name: str) -> str:
    return f'label_replace({series} == bool 0, "name", "{name}", "", "")'


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "overview",
        "Overview",
        description="Is anything wrong, and where? All hosts and services on one screen.",
        tags=["overview"],
        since="now-3h",
    )
    board.every_alert()
    _add_counts(board)
    _add_services(board)
    _add_requests(board)
    _add_hosts(board)
    return board


def _add_counts(board: Board) -> None:
    board.stat(
        "Critical alerts",
        [query(_count("critical"), "critical", instant=True)],
        unit="none",
        description="Alerts that need somebody now.",
        limits=[step(1, CRITICAL)],
    )
    board.stat(
        "Warnings",
        [query(_count("warning"), "warnings", instant=True)],
        unit="none",
        description="Alerts that can wait for the working day; those whose critical twin fires do not count.",
        limits=[step(1, WARNING)],
    )
    board.stat(
        "Hosts down",
        [
            query(
                f'count(max by (host) (up{{host!="", job!~"{_PROBES}"}}) == 0) or vector(0)', "hosts down", instant=True
            )
        ],
        unit="none",
        description="Hosts on which nothing can be scraped any more.",
        limits=[step(1, CRITICAL)],
        alerts=["HostDown"],
    )
    board.stat(
        "Targets missing or down",
        [
            query(
                """
                (sum(clamp_min(watchkeeper_targets_expected
                  - on (job) (sum by (job) (up) or on (job) 0 * watchkeeper_targets_expected), 0)) or vector(0))
                + (count(up == 0 unless on (job) watchkeeper_targets_expected) or vector(0))
                """,
                "targets",
                instant=True,
            )
        ],
        unit="none",
        description="Of all that the inventory wants measured: what does not answer, or is not asked at all.",
        limits=[step(1, CRITICAL)],
        alerts=["ServiceDown", "TargetMissing"],
    )
    board.stat(
        "Least error budget",
        [query("min(slo:error_budget_remaining:ratio)", "budget left", instant=True)],
        unit="percentunit",
        decimals=1,
        description="What is left of the error budget of the objective that has the least. Below 0 it is overdrawn.",
        limits=[step(0, CRITICAL), step(0.25, WARNING)],
        below=True,
        alerts=["CriticalErrorBudgetBurn", "HighErrorBudgetBurn"],
        no_value="no requests",
    )
    board.stat(
        "Certificates to renew",
        [
            query(
                """
                count(count by (instance)
                  (ALERTS{alertname=~"CertificateExpiresSoon|CertificateExpiresCritical"}))
                or vector(0)
                """,
                "certificates",
                instant=True,
            )
        ],
        unit="none",
        description="Addresses whose certificate ends within the days that the alerts allow.",
        limits=[step(1, WARNING)],
        alerts=["CertificateExpiresSoon", "CertificateExpiresCritical"],
    )


def _add_services(board: Board) -> None:
    board.table(
        "Firing alerts",
        [
            query(f"max by ({_EACH}) ({joined(_RANKED, *_WHAT)})"),
            query(f"1000 * min by ({_EACH}) ({joined(_SINCE, *_WHAT)})"),
        ],
        [
            Column(
                "Value #A",
                "Severity",
                width=90,
                coloured=True,
                mappings={
                    "3": ("critical", CRITICAL),
                    "2": ("warning", WARNING),
                    "1": ("info", NEUTRAL),
                    "0": ("works", GOOD),
                },
            ),
            Column("alertname", "Alert", link=("Runbook", f"{RUNBOOKS}/${{__data.fields.Alert}}.md")),
            Column("instance", "Where"),
            Column("what", "What"),
            Column("Value #B", "Since", unit="dateTimeFromNow", width=130),
        ],
        sort="Severity",
        width=12,
        height=9,
        description="The most severe first. Watchdog always fires: its line says that alerting works.",
        alerts=["Watchdog"],
        no_value="No alert is evaluated",
    )
    board.stat(
        "Services",
        [
            query(
                f"""
                sum by (name) (
                  label_replace(up == bool 0, "name", "$1", "job", "(.*)")
                  or {_faults("pg_up", "PostgreSQL")}
                  or {_faults("redis_up", "Redis")}
                  or {_faults("nginx_up", "nginx server")}
                  or {_faults("probe_success", "reachability")}
                  or {_faults("health_check_up", "health checks")}
                )
                """,
                "{{name}}",
                instant=True,
            )
        ],
        unit="none",
        width=12,
        height=9,
        description="For each kind of service how many are down: a scrape job by its name, and what the exporters say "
        "of the servers behind them.",
        limits=[step(1, CRITICAL)],
        mappings={"0": ("ok", GOOD)},
        alerts=["ServiceDown", "DatabaseDown", "RedisDown", "NginxDown", "ProbeFailing", "HealthCheckFailing"],
        names=True,
    )


def _add_requests(board: Board) -> None:
    board.timeseries(
        "Error rate",
        [
            query(
                f"""
                100 * sum by (service) (rate(http_requests_total{{status_code=~"5..", {_ROUTES}}}[$__rate_interval]))
                / (sum by (service) (rate(http_requests_total{{{_ROUTES}}}[$__rate_interval])) > 0)
                or 0 * sum by (service) (rate(http_requests_total{{{_ROUTES}}}[$__rate_interval]))
                """,
                "{{service}}",
            )
        ],
        unit="percent",
        width=6,
        height=6,
        description="Requests answered with a server error; probes of the health routes do not count.",
        limits=[limit("HighErrorRate"), limit("CriticalErrorRate")],
    )
    board.timeseries(
        "Response time (p95)",
        [
            query(
                f"""
                histogram_quantile(0.95,
                  sum by (service, le) (rate(http_request_duration_ms_bucket{{{_ROUTES}}}[$__rate_interval])))
                """,
                "{{service}}",
            )
        ],
        unit="ms",
        width=6,
        height=6,
        description="19 of 20 requests are faster. The alerts look at each route.",
        limits=[limit("HighResponseTime", "threshold_ms"), limit("CriticalResponseTime", "threshold_ms")],
    )
    board.timeseries(
        "Requests",
        [query(f"sum by (service) (rate(http_requests_total{{{_ROUTES}}}[$__rate_interval]))", "{{service}}")],
        unit="reqps",
        width=6,
        height=6,
        alerts=["NoTraffic"],
    )
    board.bargauge(
        "Error budget left",
        [query("bottomk(6, slo:error_budget_remaining:ratio)", "{{slo}} {{service}}", instant=True)],
        unit="percentunit",
        width=6,
        height=6,
        maximum=1,
        description="By objective. Empty bars are used up.",
        limits=[step(0, CRITICAL), step(0.25, WARNING)],
        below=True,
        alerts=["CriticalErrorBudgetBurn", "HighErrorBudgetBurn"],
        no_value="no requests",
        link=("Show the objectives", "/d/watchkeeper-slo?${__url_time_range}"),
    )


def _add_hosts(board: Board) -> None:
    board.bargauge(
        "Fullest disks",
        [
            query(
                f"topk(5, {fullest()})",
                "{{instance}} {{mountpoint}}",
                instant=True,
            )
        ],
        unit="percent",
        height=6,
        maximum=100,
        decimals=1,
        limits=[limit("HighDiskUsage"), limit("CriticalDiskUsage")],
        alerts=["DiskFillsSoon"],
        link=_SYSTEM,
    )
    board.bargauge(
        "Fullest memory",
        [query(f"topk(5, {memory()})", "{{instance}}", instant=True)],
        unit="percent",
        height=6,
        maximum=100,
        decimals=1,
        limits=[limit("HighMemoryUsage"), limit("CriticalMemoryUsage")],
        link=_SYSTEM,
    )
    board.bargauge(
        "Busiest processors",
        [query(f"topk(5, {cpu()})", "{{instance}}", instant=True)],
        unit="percent",
        height=6,
        maximum=100,
        decimals=1,
        limits=[limit("HighCPUUsage"), limit("CriticalCPUUsage")],
        link=_SYSTEM,
    )
