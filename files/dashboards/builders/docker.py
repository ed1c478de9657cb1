"""Docker: the containers of all hosts, what they use, and those that restart, are ill or reach their limits."""

from __future__ import annotations

from files.dashboards.builders.library import CRITICAL, GOOD, NEUTRAL, Board, Column, limit, parameter, query, step, top

CHOSEN = '{host=~"$host", name=~"$container", name!=""}'
HOSTS = '{host=~"$host"}'
EACH = "host, name"
SEEN = f"max by ({EACH}) (container_last_seen{CHOSEN})"
UNHEALTHY = f"count(max by ({EACH}) (container_health_state{CHOSEN}) == 0) or 0 * count({SEEN})"
# cAdvisor's -1 is a container that has no health check.
HEALTH = {"-1": ("no check", NEUTRAL), "0": ("no", CRITICAL), "1": ("yes", GOOD)}
WINDOW = parameter("ContainerRestarting", "window")
RESTARTS = f"max by ({EACH}) (changes(container_start_time_seconds{CHOSEN}[{WINDOW}]))"
PROCESSOR = f"100 * sum by ({EACH}) (rate(container_cpu_usage_seconds_total{CHOSEN}[$__rate_interval]))"
MEMORY = f"max by ({EACH}) (container_memory_working_set_bytes{CHOSEN})"
MEMORY_USED = f"""
    100 * {MEMORY} / (
      max by ({EACH}) (container_spec_memory_limit_bytes{CHOSEN}) > 0
      or 0 * {SEEN} + on (host) group_left () max by (host) (machine_memory_bytes{HOSTS})
    )
"""
THROTTLED = f"""
    100 * max by ({EACH}) (rate(container_cpu_cfs_throttled_periods_total{CHOSEN}[5m]))
    / (max by ({EACH}) (rate(container_cpu_cfs_periods_total{CHOSEN}[5m])) > 0)
    or 0 * {SEEN}
"""
STARTS_WINDOW = parameter("DockerContainersStartOften", "window")
STARTS = f"""
    sum by (host) (
      increase(engine_daemon_container_actions_seconds_count{{action="start", {HOSTS[1:-1]}}}[{STARTS_WINDOW}])
    )
"""


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "docker",
        "Docker",
        description="Containers and the Docker engines that run them.",
        tags=["containers", "docker"],
        needs=["cadvisor", "docker_engine"],
    )
    board.variable("host", 'up{job=~"cadvisor|docker"}')
    board.variable("container", 'container_last_seen{host=~"$host", name!=""}', of="name")
    _containers(board)
    _usage(board)
    _engine(board)
    return board


def _containers(board: Board) -> None:
    board.row("Containers")
    board.stat("Containers", [query(f"count({SEEN})", instant=True)], unit="none", width=6)
    board.stat(
        "Unhealthy",
        [query(UNHEALTHY, instant=True)],
        unit="none",
        width=6,
        limits=[step(1)],
        alerts=["ContainerUnhealthy"],
        description="Containers whose own health check fails.",
    )
    board.stat(
        "Most restarts",
        [query(f"max({RESTARTS})", instant=True)],
        unit="none",
        width=6,
        limits=[limit("ContainerRestarting", "max_restarts")],
        description=f"Of one container, in the last {WINDOW}.",
    )
    board.stat(
        "Nearest to its memory limit",
        [query(f"max({MEMORY_USED})", instant=True)],
        unit="percent",
        decimals=0,
        width=6,
        limits=[limit("ContainerMemoryNearLimit")],
        description="A container without a limit may use all of its host's memory.",
    )
    board.table(
        "Containers by age",
        [
            query(f"time() - max by ({EACH}, image) (container_start_time_seconds{CHOSEN})"),
            query(f"max by ({EACH}) (container_health_state{CHOSEN})"),
            query(PROCESSOR),
            query(MEMORY),
        ],
        [
            Column("host", "Host"),
            Column("name", "Container"),
            Column("image", "Image"),
            Column("Value #A", "Runs for", unit="s"),
            Column("Value #B", "Healthy", coloured=True, mappings=HEALTH),
            Column("Value #C", "Processor", unit="percent", decimals=1),
            Column("Value #D", "Memory", unit="bytes"),
        ],
        sort="Runs for",
        ascending=True,
        width=24,
        height=9,
        alerts=["ContainerRestarting", "ContainerUnhealthy"],
        description="The youngest first. 100 % is one processor.",
    )


def _usage(board: Board) -> None:
    board.row("What they use")
    board.timeseries(
        "Processor",
        [query(top(10, PROCESSOR), "{{host}} {{name}}")],
        unit="percent",
        description="100 % is one processor. The ten that use most.",
    )
    board.timeseries(
        "Processor time withheld",
        [query(top(10, THROTTLED), "{{host}} {{name}}")],
        unit="percent",
        maximum=100,
        limits=[limit("ContainerCPUThrottled")],
        description="The share of periods in which a container wanted more processor time than its limit gives.",
    )
    board.timeseries(
        "Memory",
        [query(top(10, MEMORY), "{{host}} {{name}}")],
        unit="bytes",
        description="What cannot be taken back from a container: the working set.",
    )
    board.timeseries(
        "Memory used of what is allowed",
        [query(top(10, MEMORY_USED), "{{host}} {{name}}")],
        unit="percent",
        maximum=100,
        limits=[limit("ContainerMemoryNearLimit")],
        description="Of the container's limit, or of its host's memory where it has none.",
    )
    for title, subject, directions in (
        ("Network", "network", (("receive", "in"), ("transmit", "out"))),
        ("Disk", "fs", (("reads", "read"), ("writes", "written"))),
    ):
        board.timeseries(
            title,
            [
                query(
                    top(
                        5,
                        f"""
                        sum by ({EACH}) (rate(container_{subject}_{metric}_bytes_total{CHOSEN}[$__rate_interval]))
                        or 0 * {SEEN}
                        """,
                    ),
                    f"{{{{host}}}} {{{{name}}}} {legend}",
                )
                for metric, legend in directions
            ],
            unit="Bps",
            description="The five with most in each direction.",
        )
    board.timeseries(
        f"Restarts in {WINDOW}",
        [query(top(10, RESTARTS), "{{host}} {{name}}")],
        unit="none",
        decimals=0,
        bars=True,
        limits=[limit("ContainerRestarting", "max_restarts")],
    )
    board.timeseries(
        "Containers of each host",
        [query(top(10, f"count by (host) ({SEEN})"), "{{host}}")],
        unit="none",
        decimals=0,
        alerts=["ContainerMetricsMissing"],
    )


def _engine(board: Board) -> None:
    board.row("Engines (docker_engine_state: present)")
    board.timeseries(
        "Containers by state",
        [query(f"sum by (host, state) (engine_daemon_container_states_containers{HOSTS})", "{{host}} {{state}}")],
        unit="none",
        decimals=0,
        width=8,
        description="As the engine counts them, stopped ones too.",
    )
    board.timeseries(
        f"Starts in {STARTS_WINDOW}",
        [query(top(10, STARTS), "{{host}}")],
        unit="short",
        width=8,
        limits=[limit("DockerContainersStartOften", "max_starts")],
    )
    board.timeseries(
        "Mean time of an action",
        [
            query(
                f"""
                max by (action) (
                  rate(engine_daemon_container_actions_seconds_sum{HOSTS}[$__rate_interval])
                  / (rate(engine_daemon_container_actions_seconds_count{HOSTS}[$__rate_interval]) > 0)
                )
                or 0 * max by (action) (engine_daemon_container_actions_seconds_count{HOSTS})
                """,
                "{{action}}",
            )
        ],
        unit="s",
        width=8,
        description="On the slowest host. A start that takes long points to the disk.",
    )
