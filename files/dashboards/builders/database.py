"""PostgreSQL: whether it answers, how much it does, what it runs out of, and which statements and tables cost most."""

from __future__ import annotations

from files.dashboards.builders.library import Board, Column, bottom, limit, query, step, top

SERVERS = '{instance=~"$instance"}'
CHOSEN = '{instance=~"$instance", datname=~"$database"}'
CONNECTIONS_USED = f"""
    100 * sum by (instance) (pg_stat_database_numbackends{SERVERS})
    / max by (instance) (pg_settings_max_connections{SERVERS})
"""
TRANSACTION_IDS_USED = f"""
    100 * max by (instance) (
      pg_database_wraparound_age_datfrozenxid_seconds{SERVERS} > pg_database_wraparound_age_datminmxid_seconds{SERVERS}
      or pg_database_wraparound_age_datminmxid_seconds{SERVERS}
    ) / 2147483648
"""
LONGEST_TRANSACTION = f"""
    clamp_min(
      max by (instance) (pg_stat_activity_max_tx_duration{{backend_type="client backend", {SERVERS[1:-1]}}})
      or 0 * max by (instance) (pg_up{SERVERS}), 0
    )
"""
COMMITS = f"sum by (instance, datname) (rate(pg_stat_database_xact_commit{CHOSEN}[$__rate_interval]))"
ROLLBACKS = f"sum by (instance, datname) (rate(pg_stat_database_xact_rollback{CHOSEN}[$__rate_interval]))"
HITS = f"sum by (instance, datname) (rate(pg_stat_database_blks_hit{CHOSEN}[$__rate_interval]))"
READS = f"sum by (instance, datname) (rate(pg_stat_database_blks_read{CHOSEN}[$__rate_interval]))"
STATEMENT = "instance, user, datname, queryid"
SECONDS = f"sum by ({STATEMENT}) (rate(pg_stat_statements_seconds_total{CHOSEN}[$__range]))"
CALLS = f"(sum by ({STATEMENT}) (rate(pg_stat_statements_calls_total{CHOSEN}[$__range])) > 0)"
SLOWEST = f"topk(10, {SECONDS} / {CALLS})"
TABLE = "instance, datname, schemaname, relname"
LARGEST = f"topk(20, max by ({TABLE}) (pg_stat_user_tables_table_size_bytes{CHOSEN}))"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "database",
        "Database",
        description="PostgreSQL servers: transactions, cache, connections, locks, tables, statements, replication.",
        tags=["database", "postgresql"],
        needs=["postgres_exporter"],
    )
    board.variable("instance", "pg_up", label="Server")
    board.variable(
        "database", 'pg_stat_database_numbackends{instance=~"$instance", datname!~"template[01]"}', of="datname"
    )
    _servers(board)
    _work(board)
    _connections(board)
    _statements_and_tables(board)
    _safety(board)
    return board


def _servers(board: Board) -> None:
    board.row("Servers")
    board.stat(
        "Servers down",
        [query(f"sum(1 - pg_up{SERVERS})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["DatabaseDown"],
    )
    board.stat(
        "Fullest by connections",
        [query(f"max({CONNECTIONS_USED})", instant=True)],
        unit="percent",
        decimals=0,
        limits=[limit("HighDatabaseConnections"), limit("CriticalDatabaseConnections")],
        description="The share of max_connections that is in use, on the server where it is largest.",
    )
    board.stat(
        "Longest transaction",
        [query(f"max({LONGEST_TRANSACTION})", instant=True)],
        unit="s",
        limits=[limit("LongDatabaseTransaction", "max_seconds")],
        description="An old transaction holds its locks and keeps vacuum from cleaning up.",
    )
    board.stat(
        "Transaction ids used",
        [query(f"max({TRANSACTION_IDS_USED})", instant=True)],
        unit="percent",
        decimals=1,
        limits=[limit("HighTransactionIdUsage"), limit("CriticalTransactionIdUsage")],
        description="At 100 % the server takes no more writes. Vacuum frees them.",
    )
    board.stat(
        "Deadlocks in the range",
        [query(f"sum(increase(pg_stat_database_deadlocks{CHOSEN}[$__range]))", instant=True)],
        unit="short",
        decimals=0,
        limits=[step(1, "orange")],
        alerts=["DatabaseDeadlocks"],
    )
    board.stat(
        "Data",
        [query(f"sum(max by (instance, datname) (pg_database_size_bytes{CHOSEN}))", instant=True)],
        unit="bytes",
        description="The size of all chosen databases together.",
    )
    board.state_timeline(
        "Servers that answer",
        [query(bottom(10, f"min by (instance) (pg_up{SERVERS})"), "{{instance}}")],
        width=24,
        height=5,
        alerts=["DatabaseDown"],
    )


def _work(board: Board) -> None:
    board.row("Work")
    board.timeseries(
        "Transactions per second",
        [
            query(top(5, f"sum by (instance) ({COMMITS})"), "{{instance}} commits"),
            query(top(5, f"sum by (instance) ({ROLLBACKS})"), "{{instance}} rollbacks"),
        ],
        unit="ops",
    )
    board.timeseries(
        "Rolled back",
        [
            query(
                top(10, f"100 * {ROLLBACKS} / ({COMMITS} + {ROLLBACKS} > 0) or 0 * {COMMITS}"),
                "{{instance}} {{datname}}",
            )
        ],
        unit="percent",
        limits=[limit("HighRollbackRate")],
        description="The share of transactions that end without effect: errors, or what the application gives up.",
    )
    board.timeseries(
        "Cache hit ratio",
        [query(bottom(10, f"100 * {HITS} / ({HITS} + {READS} > 0) or 100 + 0 * {HITS}"), "{{instance}} {{datname}}")],
        unit="percent",
        maximum=100,
        limits=[limit("LowDatabaseCacheHitRatio")],
        below=True,
        description="Blocks found in PostgreSQL's own cache. A database that is asked for nothing counts as 100 %.",
    )
    board.timeseries(
        "Rows per second",
        [
            query(f"sum(rate(pg_stat_database_tup_{kind}{CHOSEN}[$__rate_interval]))", kind)
            for kind in ("returned", "fetched", "inserted", "updated", "deleted")
        ],
        unit="ops",
        description="Returned rows were read by scans, fetched ones through an index. Many more returned than fetched: "
        "whole tables are read.",
    )
    board.timeseries(
        "Temporary files",
        [
            query(
                top(10, f"sum by (instance, datname) (rate(pg_stat_database_temp_bytes{CHOSEN}[$__rate_interval]))"),
                "{{instance}} {{datname}}",
            )
        ],
        unit="Bps",
        description="Sorts and joins that do not fit into work_mem are written to disk.",
    )
    board.timeseries(
        "Deadlocks in 15 minutes",
        [
            query(
                top(10, f"sum by (instance, datname) (increase(pg_stat_database_deadlocks{CHOSEN}[15m]))"),
                "{{instance}} {{datname}}",
            )
        ],
        unit="short",
        bars=True,
        alerts=["DatabaseDeadlocks"],
    )


def _connections(board: Board) -> None:
    board.row("Connections and locks")
    board.timeseries(
        "Connections used",
        [query(top(10, CONNECTIONS_USED), "{{instance}}")],
        unit="percent",
        maximum=100,
        limits=[limit("HighDatabaseConnections"), limit("CriticalDatabaseConnections")],
        description="The share of max_connections.",
    )
    board.timeseries(
        "Connections by database",
        [
            query(
                top(10, f"sum by (instance, datname) (pg_stat_database_numbackends{CHOSEN})"),
                "{{instance}} {{datname}}",
            )
        ],
        unit="short",
        stack=True,
    )
    board.timeseries(
        "Connections by state",
        [query(f"sum by (state) (pg_stat_activity_count{CHOSEN})", "{{state}}")],
        unit="short",
        stack=True,
        description="Idle inside of a transaction is the state to avoid: it holds locks while nothing happens.",
    )
    board.timeseries(
        "Longest transaction of each server",
        [query(top(10, LONGEST_TRANSACTION), "{{instance}}")],
        unit="s",
        limits=[limit("LongDatabaseTransaction", "max_seconds")],
    )
    board.timeseries(
        "Locks",
        [query(f"sum by (mode) (pg_locks_count{CHOSEN})", "{{mode}}")],
        unit="short",
        description="Held and awaited locks by mode. Exclusive ones keep others waiting.",
    )
    board.timeseries(
        "Autovacuums and autoanalyzes in 15 minutes",
        [
            query(
                top(
                    5,
                    f"sum by (instance) (max by ({TABLE}) (increase(pg_stat_user_tables_{kind}_count{CHOSEN}[15m])))",
                ),
                f"{{{{instance}}}} {legend}",
            )
            for kind, legend in (("autovacuum", "vacuums"), ("autoanalyze", "analyzes"))
        ],
        unit="short",
        description="Only of the databases that postgres_exporter_instances names.",
    )


def _statements_and_tables(board: Board) -> None:
    board.row("Statements and tables")
    board.table(
        "Slow queries",
        [
            query(SLOWEST),
            query(f"{CALLS} and {SLOWEST}"),
            query(f"100 * {SECONDS} / on (instance) group_left () sum by (instance) ({SECONDS}) and {SLOWEST}"),
        ],
        [
            Column("instance", "Server"),
            Column("datname", "Database"),
            Column("user", "User"),
            Column("queryid", "Query id"),
            Column("Value #A", "Mean time", unit="s"),
            Column("Value #B", "Calls per second", decimals=2),
            Column("Value #C", "Share of all time", unit="percent", decimals=1),
        ],
        sort="Mean time",
        height=9,
        description="The ten slowest statements of the range, by the mean. Needs pg_stat_statements. Their text: "
        "SELECT query FROM pg_stat_statements WHERE queryid = ...",
        no_value="pg_stat_statements is not measured",
    )
    board.table(
        "Table size",
        [
            query(LARGEST),
            query(f"max by ({TABLE}) (pg_stat_user_tables_index_size_bytes{CHOSEN}) and {LARGEST}"),
            query(f"max by ({TABLE}) (pg_stat_user_tables_n_live_tup{CHOSEN}) and {LARGEST}"),
            query(f"max by ({TABLE}) (pg_stat_user_tables_n_dead_tup{CHOSEN}) and {LARGEST}"),
        ],
        [
            Column("instance", "Server"),
            Column("datname", "Database"),
            Column("schemaname", "Schema"),
            Column("relname", "Table"),
            Column("Value #A", "Size", unit="bytes"),
            Column("Value #B", "Indexes", unit="bytes"),
            Column("Value #C", "Rows"),
            Column("Value #D", "Dead rows"),
        ],
        sort="Size",
        height=9,
        description="The twenty largest tables of the databases that postgres_exporter_instances names.",
        no_value="Name databases in postgres_exporter_instances",
    )
    board.timeseries(
        "Database size",
        [query(top(10, f"max by (instance, datname) (pg_database_size_bytes{CHOSEN})"), "{{instance}} {{datname}}")],
        unit="bytes",
    )
    board.timeseries(
        "Rows read by scanning whole tables",
        [
            query(
                top(10, f"max by ({TABLE}) (rate(pg_stat_user_tables_seq_tup_read{CHOSEN}[$__rate_interval]))"),
                "{{datname}} {{schemaname}}.{{relname}}",
            )
        ],
        unit="ops",
        description="Large tables on top of this list usually lack an index.",
    )


def _safety(board: Board) -> None:
    board.row("Replication, log and vacuum")
    board.timeseries(
        "Replication lag",
        [query(top(10, f"max by (instance) (pg_replication_lag_seconds{SERVERS})"), "{{instance}}")],
        unit="s",
        limits=[limit("HighReplicationLag", "max_seconds")],
        description="How far a standby is behind its primary; 0 on a primary.",
    )
    board.timeseries(
        "Transaction ids used on each server",
        [query(top(10, TRANSACTION_IDS_USED), "{{instance}}")],
        unit="percent",
        maximum=100,
        limits=[limit("HighTransactionIdUsage"), limit("CriticalTransactionIdUsage")],
    )
    board.timeseries(
        "Write-ahead log on disk",
        [query(top(10, f"max by (instance) (pg_wal_size_bytes{SERVERS})"), "{{instance}}")],
        unit="bytes",
        description="It grows while a replication slot or a failing archive command holds it back.",
        alerts=["DatabaseArchivingFailing"],
    )
    board.timeseries(
        "Failures in 15 minutes",
        [
            query(
                top(5, f"max by (instance) (increase(pg_stat_archiver_failed_count{SERVERS}[15m]))"),
                "{{instance}} archiving",
            ),
            query(
                top(5, f"sum by (instance) (1 - pg_scrape_collector_success{SERVERS})"), "{{instance}} collectors, now"
            ),
        ],
        unit="short",
        description="Segments of the log that could not be archived, and questions of the exporter that fail now.",
        alerts=["DatabaseArchivingFailing", "DatabaseExporterCollectorFailing"],
    )
