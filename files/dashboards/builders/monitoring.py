"""The monitoring itself: whether every target is asked, rules are evaluated and messages get out, and what it costs."""

from __future__ import annotations

from files.dashboards.builders.library import (
    CRITICAL,
    GOOD,
    NEUTRAL,
    Board,
    Column,
    bottom,
    limit,
    parameter,
    query,
    step,
    top,
)

JOBS = '{job=~"$job"}'
DOWN = f"sum by (job) (1 - up{JOBS})"
MISSING = f"""
    watchkeeper_targets_expected{JOBS}
    - on (job) (count by (job) (up{JOBS}) or on (job) 0 * watchkeeper_targets_expected{JOBS})
"""
OWN = '{job=~"prometheus|alertmanager|blackbox_exporter|node|nginx|cadvisor|grafana|loki|promtail|alloy"}'
WINDOW = parameter("AlertmanagerNotificationsFailing", "window")
FAILED = (
    f'sum by (integration) (increase(alertmanager_notifications_failed_total{{reason!="contextCanceled"}}[{WINDOW}]))'
)
COLLECTORS = parameter("NodeExporterCollectorFailing", "collectors")
NODE_COLLECTORS = f'node_scrape_collector_success{{collector=~"{COLLECTORS}"}}'
RELOADED = (
    ("prometheus", "Prometheus"),
    ("alertmanager", "Alertmanager"),
    ("blackbox_exporter", "Blackbox exporter"),
)
GRAFANA = "sum by (host) (rate(grafana_http_request_duration_seconds_count{}[10m]))"
GRAFANA_ALL = GRAFANA.format("")
GRAFANA_FAILED = GRAFANA.format('{status_code=~"5.."}')
# The group's name without the path of its file.
GROUPS = """
    max by (group) (
      label_replace(
        max by (rule_group) (prometheus_rule_group_last_duration_seconds), "group", "$1", "rule_group", ".*;(.*)"
      )
    )
"""


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "monitoring",
        "Monitoring",
        description="Prometheus, Alertmanager and the exporters: can what the other dashboards show be trusted?",
        tags=["monitoring"],
        needs=["prometheus"],
    )
    board.variable("job", "up")
    _summary(board)
    _targets(board)
    _prometheus(board)
    _rules(board)
    _alertmanager(board)
    _grafana(board)
    return board


def _summary(board: Board) -> None:
    board.row("Now")
    board.stat(
        "Targets down",
        [query(f"sum(1 - up{JOBS})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["ServiceDown", "ProbeNotRunning"],
    )
    board.stat(
        "Targets missing",
        [query(f"sum(clamp_min({MISSING}, 0)) or vector(0)", instant=True)],
        unit="none",
        limits=[step(1, "orange")],
        alerts=["TargetMissing"],
        description="Targets of the inventory that Prometheus does not know.",
    )
    board.stat(
        "Dead man's switch",
        [query('count(ALERTS{alertname="Watchdog", alertstate="firing"}) or vector(0)', instant=True)],
        unit="none",
        mappings={"0": ("silent", CRITICAL)},
        limits=[step(1, GOOD)],
        alerts=["Watchdog"],
        description="The alert that always fires. How many Prometheus servers send it.",
    )
    board.stat(
        "Alertmanagers",
        [query("min(prometheus_notifications_alertmanagers_discovered)", instant=True)],
        unit="none",
        mappings={"0": ("none", CRITICAL)},
        limits=[step(1, GOOD)],
        alerts=["PrometheusNoAlertmanager"],
        description="That Prometheus sends its alerts to.",
    )
    board.stat(
        "Notifications failed",
        [query(f"sum({FAILED}) or vector(0)", instant=True)],
        unit="short",
        decimals=0,
        limits=[step(1)],
        alerts=["AlertmanagerNotificationsFailing"],
        description=f"In the last {WINDOW}.",
    )
    board.stat(
        "Active alerts",
        [query('max(alertmanager_alerts{state="active"})', instant=True)],
        unit="none",
        description="In Alertmanager, the dead man's switch too, without those that are silenced or inhibited.",
    )


def _targets(board: Board) -> None:
    board.row("Targets")
    board.state_timeline(
        "Jobs",
        [query(top(20, f"clamp_max({DOWN}, 1)"), "{{job}}")],
        mappings={"0": ("all targets answer", GOOD), "1": ("targets are down", CRITICAL)},
        height=9,
        alerts=["ServiceDown", "ProbeNotRunning"],
    )
    board.table(
        "Targets by job",
        [
            query(f"count by (job) (up{JOBS})"),
            query(DOWN),
            query(f"clamp_min(max by (job) ({MISSING}), 0)"),
            query(f"max by (job) (scrape_duration_seconds{JOBS})"),
            query(f"sum by (job) (scrape_samples_post_metric_relabeling{JOBS})"),
        ],
        [
            Column("job", "Job"),
            Column("Value #A", "Targets"),
            Column("Value #B", "Down", coloured=True, limits=[step(1)]),
            Column("Value #C", "Missing", coloured=True, limits=[step(1, "orange")]),
            Column("Value #D", "Slowest scrape", unit="s"),
            Column("Value #E", "Series"),
        ],
        sort="Down",
        height=9,
        alerts=["ServiceDown", "TargetMissing"],
    )
    board.timeseries(
        "Slowest scrape of each job",
        [query(top(10, f"max by (job) (scrape_duration_seconds{JOBS})"), "{{job}}")],
        unit="s",
        description="A scrape that takes longer than prometheus_scrape_timeout counts as down.",
    )
    board.timeseries(
        "Series of each job",
        [query(top(10, f"sum by (job) (scrape_samples_post_metric_relabeling{JOBS})"), "{{job}}")],
        unit="short",
        stack=True,
    )
    board.timeseries(
        "Failing parts of exporters",
        [
            query(f"sum(1 - {NODE_COLLECTORS})", "collectors of the node exporter"),
            query("sum(1 - pg_scrape_collector_success) or vector(0)", "collectors of the PostgreSQL exporter"),
        ],
        unit="none",
        decimals=0,
        description="Of the node exporter's those that the alert names: others fail where there is nothing to read.",
        alerts=["NodeExporterCollectorFailing", "DatabaseExporterCollectorFailing"],
    )
    board.timeseries(
        "Memory of the monitoring programs",
        [query(top(10, f"max by (job, host) (process_resident_memory_bytes{OWN})"), "{{job}} {{host}}")],
        unit="bytes",
        description="The ten largest.",
    )


def _prometheus(board: Board) -> None:
    board.row("Prometheus")
    board.timeseries(
        "Time series",
        [
            query("max by (host) (prometheus_tsdb_head_series)", "{{host}}"),
            query("max by (host) (increase(prometheus_tsdb_head_series_created_total[1h]))", "{{host}} new in an hour"),
        ],
        unit="short",
        width=8,
        description="Many new ones that do not stay: a label that changes all the time.",
    )
    board.timeseries(
        "Samples per second",
        [query("sum by (host) (rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "{{host}}")],
        unit="short",
        width=8,
    )
    board.timeseries(
        "Storage",
        [
            query("max by (host) (prometheus_tsdb_storage_blocks_bytes)", "{{host}} blocks"),
            query("max by (host) (prometheus_tsdb_wal_storage_size_bytes)", "{{host}} write-ahead log"),
        ],
        unit="bytes",
        width=8,
        alerts=["PrometheusStorageFailing"],
    )
    board.timeseries(
        "Mean time of a query",
        [
            query(
                """
                sum by (host) (rate(prometheus_engine_query_duration_seconds_sum{slice="inner_eval"}[$__rate_interval]))
                / sum by (host) (
                  rate(prometheus_engine_query_duration_seconds_count{slice="inner_eval"}[$__rate_interval])
                )
                """,
                "{{host}}",
            )
        ],
        unit="s",
        width=8,
        description="Of rules and dashboards.",
    )
    board.timeseries(
        "Processor",
        [
            query(
                'max by (job, host) (rate(process_cpu_seconds_total{job=~"prometheus|alertmanager"}[$__rate_interval]))'
                " * 100",
                "{{job}} {{host}}",
            )
        ],
        unit="percent",
        width=8,
        description="100 % is one processor.",
    )
    board.timeseries(
        "Storage failures in an hour",
        [
            query(f"max by (host) (increase(prometheus_tsdb_{metric}_total[1h]))", f"{{{{host}}}} {legend}")
            for metric, legend in (
                ("compactions_failed", "compactions"),
                ("reloads_failures", "reloads"),
                ("wal_writes_failed", "writes to the log"),
            )
        ],
        unit="short",
        width=8,
        alerts=["PrometheusStorageFailing"],
    )


def _rules(board: Board) -> None:
    board.row("Rules and configuration")
    board.timeseries(
        "Time to evaluate the rules",
        [query(top(10, GROUPS), "{{group}}")],
        unit="s",
        width=8,
        description="A group that takes longer than its interval is late.",
        alerts=["PrometheusRuleEvaluationLate"],
    )
    board.timeseries(
        "Rules that fail or are late, in 5 minutes",
        [
            query("sum(increase(prometheus_rule_evaluation_failures_total[5m]))", "failed"),
            query("sum(increase(prometheus_rule_group_iterations_missed_total[5m]))", "missed"),
        ],
        unit="short",
        width=8,
        bars=True,
        alerts=["PrometheusRuleEvaluationFailing", "PrometheusRuleEvaluationLate"],
    )
    board.state_timeline(
        "Configuration",
        [
            query(bottom(10, f"min by (host) ({name}_config_last_reload_successful)"), f"{title} {{{{host}}}}")
            for name, title in RELOADED
        ],
        width=8,
        mappings={"0": ("refused, the old one is in use", CRITICAL), "1": ("in use", GOOD)},
        alerts=[
            "PrometheusConfigReloadFailed",
            "AlertmanagerConfigReloadFailed",
            "BlackboxExporterConfigReloadFailed",
        ],
    )


def _alertmanager(board: Board) -> None:
    board.row("Alerts on their way")
    board.timeseries(
        "Prometheus to Alertmanager",
        [
            query("sum(rate(prometheus_notifications_sent_total[$__rate_interval]))", "sent"),
            query("sum(rate(prometheus_notifications_errors_total[$__rate_interval]))", "failed"),
            query("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "dropped"),
        ],
        unit="ops",
        width=8,
        colours={"sent": GOOD, "failed": "orange", "dropped": CRITICAL},
        alerts=["PrometheusNotificationsFailing", "PrometheusNotificationsDropped"],
    )
    board.timeseries(
        "Alerts in Alertmanager",
        [query("max by (state) (alertmanager_alerts)", "{{state}}")],
        unit="none",
        decimals=0,
        width=8,
        colours={"active": "orange", "suppressed": NEUTRAL},
        description="Suppressed ones are silenced, or inhibited by another alert.",
    )
    board.timeseries(
        f"Notifications in {WINDOW}",
        [
            query(
                top(5, f"sum by (integration) (increase(alertmanager_notifications_total[{WINDOW}]))"),
                "{{integration}}",
            ),
            query(top(5, FAILED), "{{integration}} failed"),
        ],
        unit="short",
        width=8,
        alerts=["AlertmanagerNotificationsFailing"],
    )


def _grafana(board: Board) -> None:
    board.row("Grafana")
    board.timeseries(
        "Requests to Grafana",
        [query(GRAFANA_ALL, "{{host}}")],
        unit="reqps",
    )
    board.timeseries(
        "Requests that Grafana fails",
        [query(f"100 * {GRAFANA_FAILED} / ({GRAFANA_ALL} > 0) or 0 * {GRAFANA_ALL}", "{{host}}")],
        unit="percent",
        limits=[limit("GrafanaRequestsFailing")],
        description="A data source that does not answer counts too.",
    )
