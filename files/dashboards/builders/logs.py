"""Logs: how many lines of which level come from where, the lines themselves, and how Loki and the agents are."""

from __future__ import annotations

from files.dashboards.builders.library import (
    LEVEL_COLOURS,
    UP_OR_DOWN,
    WARNING,
    Board,
    limit,
    log_query,
    parameter,
    query,
    step,
    top,
)

STREAMS = 'job=~"$job", host=~"$host"'
SEARCH = "|= `$search`"
LINES = f'{{{STREAMS}, level=~"$level"}} {SEARCH}'
ERRORS = f'{{{STREAMS}, level=~"{parameter("LogErrorRateHigh", "levels")}"}} {SEARCH}'
LEVELLED = f'{{{STREAMS}, level=~".+"}} {SEARCH}'
OVER_TIME = "[$__auto]"
# Curves of one colour for each level; lines of an access log have none.
NO_LEVEL = "no level"

# An agent's own label `host` is the address that it sends to, which Prometheus calls exported_host.
AGENTS = '{host=~"$host"}'
AGENT = "{{job}} on {{host}}"
BY = "job, host"
RATE = "[$__rate_interval]"
PUSH_AND_QUERY = '{route=~"loki_api_v1_(push|query|query_range)"}'
# As in LokiCompactorNotRunning: before the first success it is counted from the start.
COMPACTED = "loki_boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds"
RETAINED = "loki_compactor_apply_retention_last_successful_run_timestamp_seconds"
SINCE = f"""
    time() - (
      label_replace({COMPACTED} > 0 or process_start_time_seconds and {COMPACTED}, "work", "compaction", "", "")
      or label_replace({RETAINED} > 0, "work", "retention", "", "")
    )
"""
# The group's name without the path of its file.
GROUPS = """
    max by (group) (
      label_replace(
        max by (rule_group) (loki_prometheus_rule_group_last_duration_seconds), "group", "$1", "rule_group", ".*;(.*)"
      )
    )
"""


def _agents(metric: str, function: str, window: str, by: str = BY) -> str:
    """Return what either agent counts."""
    both = " or ".join(f"{function}({name}_{metric}{AGENTS}{window})" for name in ("promtail", "loki_write"))
    return f"sum by ({by}) ({both})"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "logs",
        "Logs",
        description="How many lines of which level come from where, the lines themselves, and how Loki and the agents "
        "are. Narrow the time and the sources first: Loki reads every line that is chosen.",
        tags=["logs", "monitoring"],
        needs=["loki"],
        since="now-1h",
        logs=True,
    )
    # At least one part of a selection must not match streams without the label.
    board.log_variable("job", label="Source", every=".+")
    board.log_variable("host", '{job=~"$job"}')
    board.log_variable("level", '{job=~"$job"}')
    board.text_variable("search", "Search", "Only lines with this text, in upper and lower case as it stands here.")
    _volume(board)
    _errors(board)
    _lines(board)
    _loki(board)
    _agents_row(board)
    return board


def _volume(board: Board) -> None:
    board.row("Lines over time")
    board.timeseries(
        "Lines by level",
        [
            log_query(
                f"""
                label_replace(
                  sum by (level) (count_over_time({LINES} {OVER_TIME})), "level", "{NO_LEVEL}", "level", ""
                )
                """,
                "{{level}}",
            )
        ],
        unit="short",
        stack=True,
        bars=True,
        colours={**LEVEL_COLOURS, NO_LEVEL: "light-blue"},
    )
    board.timeseries(
        "Lines by source",
        [log_query(f"sum by (job) (count_over_time({LINES} {OVER_TIME}))", "{{job}}")],
        unit="short",
        stack=True,
        bars=True,
        alerts=["LogSourceSilent"],
    )
    board.bargauge(
        "Hosts with most lines",
        [log_query(f"topk(10, sum by (host) (count_over_time({LINES} [$__range])))", "{{host}}", instant=True)],
        unit="short",
        no_value="none",
        link=("Only this host", "/d/watchkeeper-logs?var-host=${__field.labels.host}&${__url_time_range}"),
        description="In the chosen time.",
    )
    board.bargauge(
        "Hosts and sources with most bytes",
        [
            log_query(
                f"topk(10, sum by (host, job) (bytes_over_time({LINES} [$__range])))", "{{host}} {{job}}", instant=True
            )
        ],
        unit="bytes",
        no_value="none",
        description="In the chosen time, before compression.",
    )
    board.bargauge(
        "Errors by host, source and unit",
        [
            log_query(
                f"topk(10, sum by (host, job, unit) (count_over_time({ERRORS} [$__range])))",
                "{{host}} {{job}} {{unit}}",
                instant=True,
            )
        ],
        unit="short",
        no_value="none",
        description="Where most errors of the chosen time come from.",
    )


def _errors(board: Board) -> None:
    board.row("Errors")
    board.timeseries(
        "Errors by source",
        [log_query(f"sum by (job) (count_over_time({ERRORS} {OVER_TIME}))", "{{job}}")],
        unit="short",
        stack=True,
        bars=True,
        description="Lines of the levels that LogErrorRateHigh counts.",
    )
    board.timeseries(
        "Share of errors",
        [
            log_query(
                f"""
                100 * sum by (job) (count_over_time({ERRORS} {OVER_TIME}))
                / sum by (job) (count_over_time({LEVELLED} {OVER_TIME}))
                or 0 * sum by (job) (count_over_time({LEVELLED} {OVER_TIME}))
                """,
                "{{job}}",
            )
        ],
        unit="percent",
        maximum=100,
        limits=[limit("LogErrorRateHigh")],
        description="Of the lines that have a level.",
    )
    board.logs(
        "Newest errors",
        log_query(ERRORS, lines=100),
        height=10,
        alerts=["LogErrorRateHigh"],
    )


def _lines(board: Board) -> None:
    board.row("Lines")
    board.logs(
        "All lines",
        log_query(LINES, lines=500),
        height=18,
        description="The newest 500 as chosen at the top. To follow them as they come, choose Explore in the panel's "
        "menu, and Live there.",
    )


def _loki(board: Board) -> None:
    board.row("Loki")
    board.stat(
        "Loki servers",
        [query('up{job="loki"}', "{{host}}", instant=True)],
        unit="none",
        names=True,
        mappings=UP_OR_DOWN,
        alerts=["ServiceDown"],
    )
    board.stat(
        "Lines received",
        [query(f"sum(rate(loki_distributor_lines_received_total{RATE}))")],
        unit="cps",
        trend=True,
        description="Per second.",
    )
    board.stat(
        "Bytes received",
        [query(f"sum(rate(loki_distributor_bytes_received_total{RATE}))")],
        unit="Bps",
        trend=True,
        description="Before compression.",
    )
    board.stat(
        "Streams",
        [query("sum(loki_ingester_memory_streams)", instant=True)],
        unit="short",
        description="Sets of labels that are written to. Each costs memory: a label with many values is a fault.",
    )
    board.stat(
        "Refused in 10 minutes",
        [query("sum(increase(loki_discarded_samples_total[10m])) or vector(0)", instant=True)],
        unit="short",
        decimals=0,
        limits=[step(1, WARNING)],
        alerts=["LokiIngestionRefused"],
        description="Lines.",
    )
    board.stat(
        "Failed to store in 10 minutes",
        [query("sum(increase(loki_ingester_chunks_flush_failures_total[10m])) or vector(0)", instant=True)],
        unit="short",
        decimals=0,
        limits=[step(1)],
        alerts=["LokiNotFlushing"],
        description="Attempts to write a chunk to the storage.",
    )
    board.timeseries(
        "Response time of Loki (p95)",
        [
            query(
                "histogram_quantile(0.95, sum by (route, le) "
                f"(rate(loki_request_duration_seconds_bucket{PUSH_AND_QUERY}{RATE})))",
                "{{route}}",
            )
        ],
        unit="s",
        width=8,
        description="19 of 20 requests are faster. Push is what agents write, the others are queries.",
    )
    board.timeseries(
        "Requests that Loki fails",
        [
            query(
                f"""
                100 * sum by (route) (rate(loki_request_duration_seconds_count{{status_code=~"5.."}}{RATE}))
                / (sum by (route) (rate(loki_request_duration_seconds_count{RATE})) > 0)
                or 0 * sum by (route) (loki_request_duration_seconds_count{PUSH_AND_QUERY})
                """,
                "{{route}}",
            )
        ],
        unit="percent",
        width=8,
        limits=[limit("LokiRequestErrors")],
    )
    board.timeseries(
        "Chunks",
        [
            query(
                f"""
                sum by (host) (rate(loki_ingester_chunks_flushed_total{RATE}))
                or 0 * max by (host) (loki_ingester_flush_queue_length)
                """,
                "{{host}} stored per second",
            ),
            query("max by (host) (loki_ingester_flush_queue_length)", "{{host}} wait"),
        ],
        unit="short",
        width=8,
        description="Lines are kept in memory, and in a write-ahead log, until a chunk is full or old enough.",
        alerts=["LokiNotFlushing"],
    )
    board.timeseries(
        "Time since the last success of the compactor",
        [query(f"max by (host, work) ({SINCE})", "{{host}} {{work}}")],
        unit="s",
        width=8,
        limits=[limit("LokiCompactorNotRunning", "hours", scale=3600)],
        description="Retention is what deletes old logs; it has no curve where logs are kept for ever.",
    )
    board.timeseries(
        "Time to evaluate the log rules",
        [query(top(10, GROUPS), "{{group}}")],
        unit="s",
        width=8,
        description="Each evaluation reads the lines of its time anew.",
        alerts=["LokiRulerFailing"],
    )
    board.timeseries(
        "Refused lines by reason",
        [
            query(
                f"""
                sum by (reason) (rate(loki_discarded_samples_total{RATE}))
                or on () label_replace(vector(0), "reason", "none", "", "")
                """,
                "{{reason}}",
            )
        ],
        unit="cps",
        width=8,
        alerts=["LokiIngestionRefused"],
    )


def _agents_row(board: Board) -> None:
    board.row("Agents")
    board.timeseries(
        "Lines sent",
        [query(top(10, _agents("sent_entries_total", "rate", RATE)), AGENT)],
        unit="cps",
        description="Per second, of the ten agents that send most.",
        alerts=["LogAgentNotSending"],
    )
    board.timeseries(
        "Retries in 10 minutes",
        [query(top(10, _agents("batch_retries_total", "increase", "[10m]")), AGENT)],
        unit="short",
        bars=True,
        alerts=["LogAgentNotSending"],
        description="Batches that Loki did not take at once. While it is away, the agents wait and keep their places.",
    )
    board.timeseries(
        "Lines given up in 15 minutes",
        [
            query(
                top(10, _agents("dropped_entries_total", "increase", "[15m]", f"{BY}, reason")),
                "{{job}} on {{host}} {{reason}}",
            )
        ],
        unit="short",
        bars=True,
        alerts=["LogAgentDropping"],
        description="These are lost for Loki.",
    )
    board.timeseries(
        "Memory of Loki and the agents",
        [
            query(
                top(10, 'max by (job, host) (process_resident_memory_bytes{job=~"loki|promtail|alloy"})'),
                "{{job}} on {{host}}",
            )
        ],
        unit="bytes",
        alerts=["LogAgentConfigFailed"],
    )
