"""Redis and Valkey: whether they answer, what they are asked, how full they are, and whether their data is safe."""

from __future__ import annotations

from files.dashboards.builders.library import CRITICAL, GOOD, NEUTRAL, Board, bottom, limit, parameter, query, step, top

OF = '{instance=~"$instance"}'
HITS = f"sum by (instance) (rate(redis_keyspace_hits_total{OF}[$__rate_interval]))"
MISSES = f"sum by (instance) (rate(redis_keyspace_misses_total{OF}[$__rate_interval]))"
HIT_RATIO = f"100 * {HITS} / ({HITS} + {MISSES} > 0) or 100 + 0 * {HITS}"
MEMORY_USED = f"""
    100 * max by (instance) (redis_memory_used_bytes{OF}) / (max by (instance) (redis_memory_max_bytes{OF}) > 0)
"""
# Where keys are evicted a full memory is the normal state, so nothing must look wrong there.
POLICIES = parameter("HighRedisMemory", "policies")
FILLING = f"""
    {MEMORY_USED} and on (instance) redis_instance_info{{maxmemory_policy=~"{POLICIES}", {OF[1:-1]}}}
"""
CLIENTS_USED = f"100 * max by (instance) (redis_connected_clients{OF}) / max by (instance) (redis_max_clients{OF})"
CALLS = f"sum by (instance, cmd) (rate(redis_commands_total{OF}[$__rate_interval]))"
SECONDS = f"sum by (instance, cmd) (rate(redis_commands_duration_seconds_total{OF}[$__rate_interval]))"
SAVED = f"""
    min by (instance) (
      redis_rdb_last_bgsave_status{OF} * redis_aof_last_write_status{OF} * redis_aof_last_bgrewrite_status{OF}
    )
"""


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "redis",
        "Redis",
        description="Redis and Valkey servers: commands, hits, memory, clients, replication, persistence.",
        tags=["cache", "redis"],
        needs=["redis_exporter"],
    )
    board.variable("instance", "redis_up", label="Server")
    _servers(board)
    _commands(board)
    _memory(board)
    _clients(board)
    _safety(board)
    return board


def _servers(board: Board) -> None:
    board.row("Servers")
    board.stat(
        "Servers down",
        [query(f"sum(1 - redis_up{OF})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["RedisDown"],
    )
    board.stat(
        "Fullest memory",
        [query(f"max({FILLING}) or 0 * max(redis_up{OF})", instant=True)],
        unit="percent",
        decimals=0,
        limits=[limit("HighRedisMemory"), limit("CriticalRedisMemory")],
        description="Of maxmemory. Only servers that have one and evict nothing count: full is normal for the others.",
    )
    board.stat(
        "Fullest by clients",
        [query(f"max({CLIENTS_USED})", instant=True)],
        unit="percent",
        decimals=0,
        limits=[limit("HighRedisConnections")],
        description="The share of maxclients that is connected.",
    )
    board.stat(
        "Rejected connections",
        [query(f"sum(increase(redis_rejected_connections_total{OF}[$__range]))", instant=True)],
        unit="short",
        decimals=0,
        limits=[step(1)],
        alerts=["RedisRejectedConnections"],
        description="In the chosen range.",
    )
    board.stat(
        "Commands per second",
        [query(f"sum(rate(redis_commands_processed_total{OF}[$__rate_interval])) or vector(0)")],
        unit="ops",
        trend=True,
    )
    board.stat("Keys", [query(f"sum(redis_db_keys{OF})")], unit="short", trend=True)
    board.state_timeline(
        "Servers that answer",
        [query(bottom(10, f"min by (instance) (redis_up{OF})"), "{{instance}}")],
        height=5,
        alerts=["RedisDown"],
    )
    board.state_timeline(
        "Replication",
        [
            query(
                bottom(10, f"min by (instance) (redis_master_link_up{OF}) or 2 * min by (instance) (redis_up{OF})"),
                "{{instance}}",
            )
        ],
        height=5,
        mappings={
            "0": ("no link to its primary, or down", CRITICAL),
            "1": ("replica with a link", GOOD),
            "2": ("primary", NEUTRAL),
        },
        alerts=["RedisReplicationBroken"],
    )


def _commands(board: Board) -> None:
    board.row("Commands")
    board.timeseries(
        "Commands",
        [query(top(10, CALLS), "{{instance}} {{cmd}}")],
        unit="ops",
        stack=True,
        description="The ten that are called most.",
    )
    board.timeseries(
        "Mean time of a command",
        [query(top(10, f"{SECONDS} / ({CALLS} > 0)"), "{{instance}} {{cmd}}")],
        unit="s",
        description="The ten slowest. While one runs, all others wait.",
    )
    board.timeseries(
        "Hit ratio",
        [query(bottom(10, HIT_RATIO), "{{instance}}")],
        unit="percent",
        maximum=100,
        description="Look-ups of keys that found one. A server that is asked for no key counts as 100 %.",
    )
    board.timeseries(
        "Look-ups",
        [query(f"sum({HITS})", "hits"), query(f"sum({MISSES})", "misses")],
        unit="ops",
        stack=True,
    )


def _memory(board: Board) -> None:
    board.row("Memory")
    board.timeseries(
        "Memory used",
        [query(top(10, MEMORY_USED), "{{instance}}")],
        unit="percent",
        maximum=100,
        limits=[limit("HighRedisMemory"), limit("CriticalRedisMemory")],
        description="Of maxmemory, where it is set. The alerts watch servers that evict nothing.",
    )
    board.timeseries(
        "Memory",
        [
            query(top(5, f"max by (instance) (redis_memory_used_bytes{OF})"), "{{instance}} used"),
            query(top(5, f"max by (instance) (redis_memory_used_rss_bytes{OF})"), "{{instance}} taken from the system"),
        ],
        unit="bytes",
        description="Much more taken than used: the memory is fragmented.",
    )
    board.timeseries(
        "Keys removed",
        [
            query(
                top(5, f"sum by (instance) (rate(redis_evicted_keys_total{OF}[$__rate_interval]))"),
                "{{instance}} evicted",
            ),
            query(
                top(5, f"sum by (instance) (rate(redis_expired_keys_total{OF}[$__rate_interval]))"),
                "{{instance}} expired",
            ),
        ],
        unit="ops",
        limits=[limit("RedisEvictions", "keys_per_second")],
        description="Evicted keys had to make room for others; expired ones were due. The limit is about evictions.",
    )
    board.timeseries(
        "Keys of each server",
        [
            query(top(5, f"sum by (instance) (redis_db_keys{OF})"), "{{instance}}"),
            query(top(5, f"sum by (instance) (redis_db_keys_expiring{OF})"), "{{instance}} that expire"),
        ],
        unit="short",
    )


def _clients(board: Board) -> None:
    board.row("Clients")
    board.timeseries(
        "Clients",
        [
            query(top(5, f"max by (instance) (redis_connected_clients{OF})"), "{{instance}} connected"),
            query(top(5, f"max by (instance) (redis_blocked_clients{OF})"), "{{instance}} blocked"),
        ],
        unit="short",
        description="Blocked clients wait in a command such as BLPOP, which may be what they are meant to do.",
    )
    board.timeseries(
        "Connections used",
        [query(top(10, CLIENTS_USED), "{{instance}}")],
        unit="percent",
        maximum=100,
        limits=[limit("HighRedisConnections")],
    )
    board.timeseries(
        "Connections rejected in 5 minutes",
        [query(top(10, f"sum by (instance) (increase(redis_rejected_connections_total{OF}[5m]))"), "{{instance}}")],
        unit="short",
        bars=True,
        alerts=["RedisRejectedConnections"],
        description="Clients that found maxclients reached.",
    )
    board.timeseries(
        "Network",
        [
            query(
                top(5, f"sum by (instance) (rate(redis_net_input_bytes_total{OF}[$__rate_interval]))"),
                "{{instance}} in",
            ),
            query(
                top(5, f"sum by (instance) (rate(redis_net_output_bytes_total{OF}[$__rate_interval]))"),
                "{{instance}} out",
            ),
        ],
        unit="Bps",
    )


def _safety(board: Board) -> None:
    board.row("Replication and persistence")
    board.timeseries(
        "Replicas",
        [query(top(10, f"max by (instance) (redis_connected_slaves{OF})"), "{{instance}}")],
        unit="none",
        decimals=0,
        description="Replicas that are connected to each server.",
        alerts=["RedisReplicationBroken"],
    )
    board.state_timeline(
        "Data written to disk",
        [query(bottom(20, SAVED), "{{instance}}")],
        mappings={"0": ("the last time failed", CRITICAL), "1": ("worked, or is switched off", GOOD)},
        alerts=["RedisPersistenceFailing"],
    )
    board.timeseries(
        "Changes since the last snapshot",
        [query(top(10, f"max by (instance) (redis_rdb_changes_since_last_save{OF})"), "{{instance}}")],
        unit="short",
        description="What a crash would lose where there is no append-only file.",
    )
    board.timeseries(
        "Time since the last snapshot",
        [query(top(10, f"time() - max by (instance) (redis_rdb_last_save_timestamp_seconds{OF})"), "{{instance}}")],
        unit="s",
        description="From the start of the server where none was ever taken.",
    )
