"""Capacity: what fills up and when, from how it went in the chosen range, and what has room to spare."""

from __future__ import annotations

from files.dashboards.builders.library import Board, Column, limit, parameter, query, top

HOSTS = '{host=~"$host"}'
IGNORED_TYPES = parameter("HighDiskUsage", "ignored_fstypes")
IGNORED_PLACES = parameter("HighDiskUsage", "ignored_mountpoints")
DISKS = f'{{host=~"$host", fstype!~"{IGNORED_TYPES}", mountpoint!~"{IGNORED_PLACES}"}}'
DISK = "host, mountpoint"
WEEK = 7 * 86400
YEAR = 365 * 86400

# An hour of scrapes every 15 seconds: what is younger has no line that would hold for a week.
SAMPLES = 240


def known(series: str) -> str:
    """Return the condition that there is enough of a series to draw a line through it."""
    return f"count_over_time({series}[$__range]) > {SAMPLES}"


def later(series: str) -> str:
    """Return what a series will be in a week, or, where too little of it is known, what it is."""
    return f"(predict_linear({series}[$__range], {WEEK}) and {known(series)} or {series})"


AVAILABLE = f"node_filesystem_avail_bytes{DISKS}"
FREE = f"({AVAILABLE} unless node_filesystem_readonly{DISKS} == 1)"
DISK_USED = f"max by ({DISK}) (100 * (1 - {FREE} / node_filesystem_size_bytes{DISKS}))"
# What does not grow is full in a year, which is where the prediction ends; what is full is full now.
FULL_IN = f"""
    min by ({DISK}) (
      clamp_max({FREE} / (-deriv({AVAILABLE}[$__range]) > 0 and {known(AVAILABLE)}), {YEAR})
      or 0 * ({FREE} > 0) + {YEAR}
      or {FREE}
    )
"""
DISK_LATER = f"""
    max by ({DISK}) (
      clamp(
        100 * (1 - {later(AVAILABLE)} / node_filesystem_size_bytes{DISKS}), 0, 100
      ) unless node_filesystem_readonly{DISKS} == 1
    )
"""
INODES_USED = f"""
    max by ({DISK}) (
      100 * (1 - node_filesystem_files_free{DISKS} / (node_filesystem_files{DISKS} > 0))
      unless node_filesystem_readonly{DISKS} == 1
    )
"""
MEMORY = f"max by (host) (node_memory_MemTotal_bytes{HOSTS})"
PROCESSORS = f'count by (host) (node_cpu_seconds_total{{mode="idle", {HOSTS[1:-1]}}})'
PROCESSOR_USED = f'100 * (1 - avg by (host) (rate(node_cpu_seconds_total{{mode="idle", {HOSTS[1:-1]}}}[$__range])))'
LOAD = f"100 * max by (host) (max_over_time(node_load15{HOSTS}[$__range])) / {PROCESSORS}"


def memory_used(free: str) -> str:
    """Return the used share of memory by host, from an expression for the available bytes."""
    return f"clamp(100 * (1 - max by (host) ({free}) / {MEMORY}), 0, 100)"


MEMORY_NOW = memory_used(f"node_memory_MemAvailable_bytes{HOSTS}")
MEMORY_MEAN = memory_used(f"avg_over_time(node_memory_MemAvailable_bytes{HOSTS}[$__range])")
MEMORY_PEAK = memory_used(f"min_over_time(node_memory_MemAvailable_bytes{HOSTS}[$__range])")
MEMORY_LATER = memory_used(later(f"node_memory_MemAvailable_bytes{HOSTS}"))

FILES_OPEN = f"""
    100 * max by (host) (node_filefd_allocated{HOSTS}) / max by (host) (node_filefd_maximum{HOSTS})
"""
DISK_LIMITS = (limit("HighDiskUsage"), limit("CriticalDiskUsage"))
DISK_SOON = (limit("DiskFillsSoon", "horizon_hours", scale=3600),)
MEMORY_LIMITS = (limit("HighMemoryUsage"), limit("CriticalMemoryUsage"))
PROCESSOR_LIMITS = (limit("HighCPUUsage"), limit("CriticalCPUUsage"))
DATABASE_LIMITS = (limit("HighDatabaseConnections"), limit("CriticalDatabaseConnections"))
REDIS_LIMITS = (limit("HighRedisConnections"),)

BACKENDS = f"pg_stat_database_numbackends{HOSTS}"


def database_used(connections: str) -> str:
    """Return the used share of each server's connections, from an expression for those of each database."""
    most = f"max by (instance) (pg_settings_max_connections{HOSTS})"
    return f"clamp_min(100 * sum by (instance) ({connections}) / {most}, 0)"


def redis_used(clients: str) -> str:
    """Return the used share of each server's connections, from an expression for its clients."""
    return f"clamp_min(100 * max by (instance) ({clients}) / max by (instance) (redis_max_clients{HOSTS}), 0)"


DATABASE_LATER = database_used(later(BACKENDS))
CLIENTS = f"redis_connected_clients{HOSTS}"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "capacity",
        "Capacity",
        description="Predictions draw a line through the chosen range: a week shows more than an hour. "
        "What is known for less than an hour is taken to stay as it is.",
        tags=["capacity", "hosts"],
        needs=["node_exporter"],
        since="now-7d",
        refresh="15m",
    )
    board.variable("host", 'up{job="node"}')
    _summary(board)
    _disks(board)
    _memory_and_processor(board)
    _connections(board)
    _prometheus(board)
    return board


def _summary(board: Board) -> None:
    board.row("What comes first")
    board.stat(
        "Next disk full in",
        [query(f"min({FULL_IN})", instant=True)],
        unit="s",
        limits=DISK_SOON,
        below=True,
        description="A year means: not in sight.",
    )
    board.stat(
        "Fullest disk in 7 days",
        [query(f"max({DISK_LATER})", instant=True)],
        unit="percent",
        decimals=0,
        limits=DISK_LIMITS,
    )
    board.stat(
        "Fullest memory in 7 days",
        [query(f"max({MEMORY_LATER})", instant=True)],
        unit="percent",
        decimals=0,
        limits=MEMORY_LIMITS,
    )
    board.stat(
        "Busiest host",
        [query(f"max({PROCESSOR_USED})", instant=True)],
        unit="percent",
        decimals=0,
        limits=PROCESSOR_LIMITS,
        description="The mean use of its processors over the range.",
    )
    board.stat(
        "Database connections in 7 days",
        [query(f"max({DATABASE_LATER})", instant=True)],
        unit="percent",
        decimals=0,
        limits=DATABASE_LIMITS,
        description="Of max_connections, on the server where the share will be largest.",
        no_value="no PostgreSQL",
    )
    board.stat(
        "Time series in 7 days",
        [query(f"max(clamp_min({later('prometheus_tsdb_head_series')}, 0))", instant=True)],
        unit="short",
        description="That Prometheus will hold in memory.",
    )


def _disks(board: Board) -> None:
    board.row("Disks")
    board.table(
        "Disks by the time that is left",
        [
            query(FULL_IN),
            query(DISK_USED),
            query(DISK_LATER),
            query(f"min by ({DISK}) ({FREE})"),
        ],
        [
            Column("host", "Host"),
            Column("mountpoint", "Mounted at"),
            Column("Value #A", "Full in", unit="s", coloured=True, limits=DISK_SOON, below=True),
            Column("Value #B", "Used", unit="percent", decimals=0, gauge=True, limits=DISK_LIMITS),
            Column("Value #C", "In 7 days", unit="percent", decimals=0, coloured=True, limits=DISK_LIMITS),
            Column("Value #D", "Free", unit="bytes"),
        ],
        sort="Full in",
        ascending=True,
        height=9,
        description="A year means: not in sight.",
    )
    board.bargauge(
        "Fullest disks",
        [query(f"topk(10, {DISK_USED})", "{{host}} {{mountpoint}}", instant=True)],
        unit="percent",
        decimals=0,
        maximum=100,
        width=6,
        height=9,
        limits=DISK_LIMITS,
    )
    board.bargauge(
        "Most inodes used",
        [query(f"topk(10, {INODES_USED})", "{{host}} {{mountpoint}}", instant=True)],
        unit="percent",
        decimals=0,
        maximum=100,
        width=6,
        height=9,
        limits=[limit("HighInodeUsage"), limit("CriticalInodeUsage")],
        description="A disk without inodes takes no new file, however much space is left.",
    )


def _memory_and_processor(board: Board) -> None:
    board.row("Memory and processors")
    board.table(
        "Memory",
        [query(MEMORY_NOW), query(MEMORY_MEAN), query(MEMORY_PEAK), query(MEMORY_LATER), query(MEMORY)],
        [
            Column("host", "Host"),
            Column("Value #A", "Now", unit="percent", decimals=0, gauge=True, limits=MEMORY_LIMITS),
            Column("Value #B", "Mean", unit="percent", decimals=0),
            Column("Value #C", "Peak", unit="percent", decimals=0, coloured=True, limits=MEMORY_LIMITS),
            Column("Value #D", "In 7 days", unit="percent", decimals=0, coloured=True, limits=MEMORY_LIMITS),
            Column("Value #E", "Size", unit="bytes"),
        ],
        sort="In 7 days",
    )
    board.table(
        "Processors",
        [query(PROCESSOR_USED), query(LOAD), query(PROCESSORS)],
        [
            Column("host", "Host"),
            Column("Value #A", "Mean", unit="percent", decimals=0, gauge=True, limits=PROCESSOR_LIMITS),
            Column("Value #B", "Load at its peak", unit="percent", decimals=0),
            Column("Value #C", "Processors"),
        ],
        sort="Mean",
        description="The load is that of the busiest 15 minutes for each processor: above 100 % something had to wait.",
    )


def _connections(board: Board) -> None:
    board.row("Connections and files")
    board.table(
        "Connections of databases",
        [
            query(database_used(BACKENDS)),
            query(database_used(f"max_over_time({BACKENDS}[$__range])")),
            query(DATABASE_LATER),
        ],
        [
            Column("instance", "Server"),
            Column("Value #A", "Now", unit="percent", decimals=0, gauge=True, limits=DATABASE_LIMITS),
            Column("Value #B", "Peak", unit="percent", decimals=0, coloured=True, limits=DATABASE_LIMITS),
            Column("Value #C", "In 7 days", unit="percent", decimals=0, coloured=True, limits=DATABASE_LIMITS),
        ],
        sort="In 7 days",
        width=8,
        description="Of max_connections. The peak adds the peaks of a server's databases.",
        no_value="No PostgreSQL is measured",
    )
    board.table(
        "Connections of Redis",
        [
            query(redis_used(CLIENTS)),
            query(redis_used(f"max_over_time({CLIENTS}[$__range])")),
            query(redis_used(later(CLIENTS))),
        ],
        [
            Column("instance", "Server"),
            Column("Value #A", "Now", unit="percent", decimals=0, gauge=True, limits=REDIS_LIMITS),
            Column("Value #B", "Peak", unit="percent", decimals=0, coloured=True, limits=REDIS_LIMITS),
            Column("Value #C", "In 7 days", unit="percent", decimals=0, coloured=True, limits=REDIS_LIMITS),
        ],
        sort="In 7 days",
        width=8,
        description="Of maxclients.",
        no_value="No Redis is measured",
    )
    board.timeseries(
        "Open files",
        [query(top(10, FILES_OPEN), "{{host}}")],
        unit="percent",
        width=8,
        description="Of what the kernel allows; sockets count too.",
    )


def _prometheus(board: Board) -> None:
    board.row("Prometheus")
    board.timeseries(
        "Time series",
        [query("max by (host) (prometheus_tsdb_head_series)", "{{host}}")],
        unit="short",
        width=8,
        description="In memory. A series costs a few kilobytes.",
    )
    board.timeseries(
        "Storage",
        [
            query(
                "max by (host) (prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes)",
                "{{host}}",
            )
        ],
        unit="bytes",
        width=8,
    )
    board.timeseries(
        "Stored time",
        [query("max by (host) (time() - prometheus_tsdb_lowest_timestamp_seconds)", "{{host}}")],
        unit="s",
        width=8,
        description="The age of the oldest sample. It grows up to prometheus_retention_time.",
    )
