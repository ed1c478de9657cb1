"""Applications: rate, errors and duration of their requests, their cache, their queries and their health checks."""

from __future__ import annotations

from files.dashboards.builders.library import (
    GOOD,
    UP_OR_DOWN,
    WARNING,
    Board,
    bottom,
    limit,
    parameter,
    query,
    step,
    top,
)

_CHOSEN = 'service=~"$service"'
# What alerts leave out: probes would hide what users see.
_USERS = f'{_CHOSEN}, route!~"{parameter("HighErrorRate", "ignored_routes")}"'
_RATE = "[$__rate_interval]"
# Where Loki runs. Its labels are others: the host of a curve is known there, its service need not be.
_ERRORS_LOGGED = ("Errors in the logs", "/d/watchkeeper-logs?var-level=error&var-level=critical&${__url_time_range}")
_LOGS_OF_HOST = ("Logs of this host", "/d/watchkeeper-logs?var-host=${__field.labels.host}&${__url_time_range}")


def _share(part: str, whole: str) -> str:
    """Return a share in percent: 0, and not nothing, where nothing is counted yet."""
    return f"100 * {part} / ({whole} > 0) or 0 * {whole}"


def _errors(by: str, window: str = _RATE) -> str:
    return _share(
        f'sum by ({by}) (rate(http_requests_total{{status_code=~"5..", {_USERS}}}{window}))',
        f"sum by ({by}) (rate(http_requests_total{{{_USERS}}}{window}))",
    )


def _quantile(share: str, metric: str, matchers: str, by: str = "", window: str = _RATE) -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{matchers}}}{window})))"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "application",
        "Application",
        description="Requests, errors, response times, cache and database queries of the applications. Probes of the "
        "health routes and scrapes do not count.",
        tags=["application", "backend"],
        needs=["health_app", "app_observability"],
    )
    board.link("Logs", "logs")
    board.variable("service", "http_requests_total")
    _add_summary(board)
    _add_requests(board)
    _add_backends(board)
    _add_health(board)
    return board


def _add_summary(board: Board) -> None:
    board.stat(
        "Requests",
        [query(f"sum(rate(http_requests_total{{{_USERS}}}{_RATE})) or vector(0)")],
        unit="reqps",
        trend=True,
        width=6,
        alerts=["NoTraffic", "ApplicationMetricsMissing"],
    )
    board.stat(
        "Requests that failed",
        [
            query(
                _share(
                    f'sum(rate(http_requests_total{{status_code=~"5..", {_USERS}}}{_RATE}))',
                    f"sum(rate(http_requests_total{{{_USERS}}}{_RATE}))",
                )
                + " or vector(0)"
            )
        ],
        unit="percent",
        decimals=2,
        trend=True,
        width=6,
        limits=[limit("HighErrorRate"), limit("CriticalErrorRate")],
    )
    board.stat(
        "Response time (p95)",
        [query(f"{_quantile('0.95', 'http_request_duration_ms', _USERS, window='[5m]')} >= 0", instant=True)],
        unit="ms",
        width=6,
        limits=[limit("HighResponseTime", "threshold_ms"), limit("CriticalResponseTime", "threshold_ms")],
        no_value="no requests",
    )
    board.stat(
        "Failing health checks",
        [query(f"count(health_check_up{{{_CHOSEN}}} == 0) or vector(0)", instant=True)],
        unit="none",
        width=6,
        limits=[step(1, WARNING)],
        mappings={"0": ("none", GOOD)},
        alerts=["HealthCheckFailing"],
    )


def _add_requests(board: Board) -> None:
    board.row("Requests")
    board.timeseries(
        "Request Rate",
        [
            query(
                top(10, f"sum by (service, method, route) (rate(http_requests_total{{{_USERS}}}{_RATE}))"),
                "{{service}} {{method}} {{route}}",
            )
        ],
        unit="reqps",
        description="The ten routes with most requests.",
        legend="table",
        alerts=["NoTraffic"],
    )
    board.timeseries(
        "Requests by answer",
        [query(f"sum by (status_code) (rate(http_requests_total{{{_USERS}}}{_RATE}))", "{{status_code}}")],
        unit="reqps",
        stack=True,
        legend="table",
    )
    board.timeseries(
        "Response Time (p95)",
        [
            query(
                top(10, _quantile("0.95", "http_request_duration_ms", _USERS, "service, route")),
                "{{service}} {{route}}",
            )
        ],
        unit="ms",
        description="19 of 20 requests are faster. The ten slowest routes; one that is rarely asked for jumps.",
        limits=[limit("HighResponseTime", "threshold_ms"), limit("CriticalResponseTime", "threshold_ms")],
    )
    board.timeseries(
        "Response time of all requests",
        [
            query(_quantile("0.5", "http_request_duration_ms", _USERS), "p50"),
            query(_quantile("0.95", "http_request_duration_ms", _USERS), "p95"),
            query(_quantile("0.99", "http_request_duration_ms", _USERS), "p99"),
        ],
        unit="ms",
        description="Half, 19 of 20, and 99 of 100 requests are faster.",
    )
    board.timeseries(
        "Error Rate",
        [query(_errors("service"), "{{service}}")],
        unit="percent",
        description="Requests answered with a server error (5xx).",
        link=_ERRORS_LOGGED,
        limits=[limit("HighErrorRate"), limit("CriticalErrorRate")],
    )
    board.timeseries(
        "Errors by route",
        [
            query(
                top(
                    10,
                    f"""
                    sum by (service, method, route) (
                      rate(http_requests_total{{status_code=~"5..", {_USERS}}}{_RATE})
                    )
                    """,
                ),
                "{{service}} {{method}} {{route}}",
            )
        ],
        unit="reqps",
        description="Where the server errors come from.",
        link=_ERRORS_LOGGED,
    )


def _add_backends(board: Board) -> None:
    board.row("Cache and database")
    board.timeseries(
        "Active Database Connections",
        [
            query(
                top(
                    10,
                    'sum by (instance, datname) (pg_stat_database_numbackends{datname!~"template[01]", datname!=""})',
                ),
                "{{instance}} {{datname}}",
            )
        ],
        unit="none",
        description="To the databases of the group `postgresql`, by all clients. The alerts compare them with what the "
        "server allows; the dashboard Database shows that.",
        alerts=["HighDatabaseConnections", "CriticalDatabaseConnections"],
    )
    board.timeseries(
        "Cache Hit Rate",
        [
            query(
                _share(
                    f'sum by (service) (rate(cache_requests_total{{result="hit", {_CHOSEN}}}{_RATE}))',
                    f"sum by (service) (rate(cache_requests_total{{{_CHOSEN}}}{_RATE}))",
                ),
                "{{service}}",
            )
        ],
        unit="percent",
        maximum=100,
        description="Look-ups that the application's cache answered; 0 while there are none.",
        limits=[limit("LowCacheHitRate")],
        below=True,
    )
    board.timeseries(
        "Database Query Duration (p95)",
        [
            query(
                top(10, _quantile("0.95", "db_query_duration_ms", _CHOSEN, "service, operation")),
                "{{service}} {{operation}}",
            )
        ],
        unit="ms",
        limits=[limit("SlowDatabaseQueries", "threshold_ms")],
    )
    board.timeseries(
        "Database queries",
        [
            query(
                top(10, f"sum by (service, operation) (rate(db_query_duration_ms_count{{{_CHOSEN}}}{_RATE}))"),
                "{{service}} {{operation}}",
            )
        ],
        unit="ops",
    )


def _add_health(board: Board) -> None:
    board.row("Health")
    board.state_timeline(
        "Health checks",
        [query(bottom(20, f"min by (instance, check) (health_check_up{{{_CHOSEN}}})"), "{{instance}} {{check}}")],
        mappings=UP_OR_DOWN,
        description="What the health app asks in the application's name.",
        alerts=["HealthCheckFailing"],
    )
    board.timeseries(
        "Duration of the health checks",
        [
            query(
                top(10, f"max by (instance, check) (health_check_duration_seconds{{{_CHOSEN}}})"),
                "{{instance}} {{check}}",
            )
        ],
        unit="s",
    )
    board.timeseries(
        "Memory of the processes",
        [
            query(
                top(10, f'process_resident_memory_bytes{{job="backend", {_CHOSEN}}}'),
                "{{service}} on {{instance}}",
            )
        ],
        unit="bytes",
        width=8,
        link=_LOGS_OF_HOST,
    )
    board.timeseries(
        "Processor time of the processes",
        [
            query(
                top(10, f'rate(process_cpu_seconds_total{{job="backend", {_CHOSEN}}}{_RATE})'),
                "{{service}} on {{instance}}",
            )
        ],
        unit="percentunit",
        width=8,
        link=_LOGS_OF_HOST,
        description="100% is one processor.",
    )
    board.timeseries(
        "Open files of the processes",
        [
            query(
                top(10, f'100 * process_open_fds{{job="backend", {_CHOSEN}}} / process_max_fds'),
                "{{service}} on {{instance}}",
            )
        ],
        unit="percent",
        maximum=100,
        width=8,
        description="Of what the process may open; sockets count.",
    )
