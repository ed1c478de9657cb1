"""Hosts: processor, memory, disks, network and clock, with the limits of the alerts on them."""

from __future__ import annotations

from files.dashboards.builders.library import CRITICAL, Board, Column, limit, parameter, query, step, top

_DEVICES = 'device!~"lo|veth.*|docker.*|br-.*|virbr.*|cni.*|cali.*|flannel.*|tap.*"'
_DISKS = 'device!~"(loop|ram|zram|fd|sr|dm-|md).*"'
_FILES = (
    f'fstype!~"{parameter("HighDiskUsage", "ignored_fstypes")}", '
    f'mountpoint!~"{parameter("HighDiskUsage", "ignored_mountpoints")}"'
)
_HOST = 'host=~"$host"'


def _where(*matchers: str) -> str:
    """Return the matchers that are not empty as PromQL has them."""
    found = ", ".join(matcher for matcher in matchers if matcher)
    return f"{{{found}}}" if found else ""


# The alerts' own expressions; `host` is a further matcher.


def cpu(host: str = "", window: str = "5m") -> str:
    """Return the share of the time, in percent, in which a host's processors were busy."""
    idle = _where('mode="idle"', host)
    return f"100 * (1 - avg without (cpu, mode) (rate(node_cpu_seconds_total{idle}[{window}])))"


def memory(host: str = "") -> str:
    """Return the share of the memory, in percent, that programs cannot get."""
    return f"100 * (1 - node_memory_MemAvailable_bytes{_where(host)} / node_memory_MemTotal_bytes)"


def disk(host: str = "") -> str:
    """Return the used share, in percent, of each file system that can be written to."""
    free = f"node_filesystem_avail_bytes{_where(_FILES, host)}"
    return f"(100 * (1 - {free} / node_filesystem_size_bytes) unless node_filesystem_readonly == 1)"


def fullest(host: str = "") -> str:
    """Return `disk` once for each device, wherever it is mounted."""
    return f"topk by (instance, device) (1, {disk(host)})"


def _load(host: str) -> str:
    return f'node_load5{_where(host)} / count without (cpu, mode) (node_cpu_seconds_total{{mode="idle"}})'


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "system",
        "System",
        description="Processor, memory, disks and network of every host. With many hosts, curves show the ten highest.",
        tags=["system", "infrastructure"],
        needs=["node_exporter"],
    )
    board.variable("host", "node_uname_info")
    _add_hosts(board)
    _add_processor_and_memory(board)
    _add_disks(board)
    _add_network(board)
    _add_kernel(board)
    return board


def _add_hosts(board: Board) -> None:
    board.row("Hosts")
    board.table(
        "Hosts",
        [
            query(f"max by (instance) ({cpu(_HOST)})"),
            query(f"max by (instance) ({memory(_HOST)})"),
            query(f"max by (instance) ({disk(_HOST)})"),
            query(f"max by (instance) ({_load(_HOST)})"),
            query(f"max by (instance) (node_time_seconds{{{_HOST}}} - node_boot_time_seconds)"),
            query(f"max by (instance) (node_memory_MemTotal_bytes{{{_HOST}}})"),
            query(f'count by (instance) (node_cpu_seconds_total{{mode="idle", {_HOST}}})'),
        ],
        [
            Column(
                "instance",
                "Host",
                link=("Only this host", "/d/watchkeeper-system?var-host=${__value.raw}&${__url_time_range}"),
            ),
            Column(
                "Value #A",
                "CPU",
                unit="percent",
                decimals=1,
                gauge=True,
                limits=[limit("HighCPUUsage"), limit("CriticalCPUUsage")],
            ),
            Column(
                "Value #B",
                "Memory",
                unit="percent",
                decimals=1,
                gauge=True,
                limits=[limit("HighMemoryUsage"), limit("CriticalMemoryUsage")],
            ),
            Column(
                "Value #C",
                "Fullest disk",
                unit="percent",
                decimals=1,
                gauge=True,
                limits=[limit("HighDiskUsage"), limit("CriticalDiskUsage")],
            ),
            Column("Value #D", "Load per processor", unit="none", decimals=2, width=150),
            Column("Value #E", "Up for", unit="dtdurations", width=150),
            Column("Value #F", "Memory size", unit="bytes", width=110),
            Column("Value #G", "Processors", unit="none", width=100),
        ],
        sort="CPU",
        width=24,
        height=7,
        alerts=["HostDown", "HostRebooted"],
    )


def _add_processor_and_memory(board: Board) -> None:
    board.row("Processor and memory")
    board.timeseries(
        "CPU Usage",
        [query(top(10, cpu(_HOST, "$__rate_interval")), "{{instance}}")],
        unit="percent",
        maximum=100,
        description="Share of the time in which the processors were busy, waiting for disks included.",
        limits=[limit("HighCPUUsage"), limit("CriticalCPUUsage")],
    )
    board.timeseries(
        "Memory Usage",
        [query(top(10, memory(_HOST)), "{{instance}}")],
        unit="percent",
        maximum=100,
        description="What programs cannot get; caches that the kernel would give up do not count as used.",
        limits=[limit("HighMemoryUsage"), limit("CriticalMemoryUsage")],
    )
    board.timeseries(
        "Where the processors' time goes",
        [
            query(
                f"""
                100 * sum by (mode) (rate(node_cpu_seconds_total{{mode!="idle", {_HOST}}}[$__rate_interval]))
                / scalar(sum(rate(node_cpu_seconds_total{{{_HOST}}}[$__rate_interval])))
                """,
                "{{mode}}",
            )
        ],
        unit="percent",
        maximum=100,
        stack=True,
        description="Over all chosen hosts: iowait is a slow disk, steal is time that the hypervisor took.",
    )
    board.timeseries(
        "Load per processor",
        [query(top(10, _load(_HOST)), "{{instance}}")],
        unit="none",
        description="Programs that run or wait to run, by processor, over five minutes. Above 1 they wait.",
        limits=[step(1, CRITICAL)],
    )
    board.timeseries(
        "Swap used",
        [
            query(
                top(10, f"node_memory_SwapTotal_bytes{{{_HOST}}} - node_memory_SwapFree_bytes"),
                "{{instance}}",
            )
        ],
        unit="bytes",
    )
    board.timeseries(
        "Programs killed for lack of memory",
        [query(top(10, f"increase(node_vmstat_oom_kill{{{_HOST}}}[$__rate_interval])"), "{{instance}}")],
        unit="none",
        bars=True,
        decimals=0,
        limits=[step(1, CRITICAL)],
    )


def _add_disks(board: Board) -> None:
    board.row("Disks")
    board.timeseries(
        "Disk Usage",
        [query(top(10, fullest(_HOST)), "{{instance}} {{mountpoint}}")],
        unit="percent",
        maximum=100,
        description="Every file system that can be written to, once for each device; what is kept for root counts as "
        "used.",
        limits=[limit("HighDiskUsage"), limit("CriticalDiskUsage")],
        alerts=["DiskFillsSoon"],
    )
    board.timeseries(
        "Inodes used",
        [
            query(
                top(
                    10,
                    f"""
                    topk by (instance, device) (1,
                      100 * (1 - node_filesystem_files_free{{{_FILES}, {_HOST}}} / (node_filesystem_files > 0))
                      unless node_filesystem_readonly == 1)
                    """,
                ),
                "{{instance}} {{mountpoint}}",
            )
        ],
        unit="percent",
        maximum=100,
        description="A file system without free inodes takes no new file, whatever space is left.",
        limits=[limit("HighInodeUsage"), limit("CriticalInodeUsage")],
    )
    board.timeseries(
        "Disk reads and writes",
        [
            query(
                top(10, f"sum by (instance) (rate(node_disk_read_bytes_total{{{_DISKS}, {_HOST}}}[$__rate_interval]))"),
                "{{instance}} read",
            ),
            query(
                top(
                    10,
                    f"sum by (instance) (rate(node_disk_written_bytes_total{{{_DISKS}, {_HOST}}}[$__rate_interval]))",
                ),
                "{{instance}} written",
            ),
        ],
        unit="Bps",
    )
    board.timeseries(
        "Busiest disks",
        [
            query(
                top(10, f"100 * rate(node_disk_io_time_seconds_total{{{_DISKS}, {_HOST}}}[$__rate_interval])"),
                "{{instance}} {{device}}",
            )
        ],
        unit="percent",
        maximum=100,
        description="Share of the time in which the disk had something to do. Several requests at a time may still be "
        "fast on solid state disks.",
    )


def _traffic(way: str) -> str:
    bytes_total = f"node_network_{way}_bytes_total{{{_DEVICES}, {_HOST}}}"
    return f"sum by (instance) (rate({bytes_total}[$__rate_interval]))"


def _add_network(board: Board) -> None:
    board.row("Network")
    board.timeseries(
        "Network Traffic",
        [
            query(top(8, _traffic("receive")), "{{instance}} received"),
            query(f"-({top(8, _traffic('transmit'))})", "{{instance}} sent"),
        ],
        unit="Bps",
        minimum=None,
        description="Received above the line, sent below it. Loopback and the bridges of containers do not count.",
    )
    board.timeseries(
        "Packets lost or broken",
        [
            query(
                top(
                    10,
                    f"""
                    sum by (instance) (
                      rate(node_network_receive_errs_total{{{_DEVICES}, {_HOST}}}[$__rate_interval])
                      + rate(node_network_transmit_errs_total[$__rate_interval])
                      + rate(node_network_receive_drop_total[$__rate_interval])
                      + rate(node_network_transmit_drop_total[$__rate_interval])
                    )
                    """,
                ),
                "{{instance}}",
            )
        ],
        unit="pps",
    )


def _add_kernel(board: Board) -> None:
    board.row("Kernel and clock")
    board.timeseries(
        "Clock difference",
        [query(top(10, f"abs(node_time_seconds{{{_HOST}}} - timestamp(node_time_seconds))"), "{{instance}}")],
        unit="s",
        width=8,
        description="Between the host's clock and that of Prometheus.",
        limits=[limit("HostClockSkew", "max_seconds")],
        alerts=["HostClockNotSynchronised"],
    )
    board.timeseries(
        "Processes",
        [
            query(top(5, f"node_procs_running{{{_HOST}}}"), "{{instance}} running"),
            query(top(5, f"node_procs_blocked{{{_HOST}}}"), "{{instance}} waiting for a disk"),
        ],
        unit="none",
        width=8,
    )
    board.timeseries(
        "Open files",
        [
            query(
                top(10, f"100 * node_filefd_allocated{{{_HOST}}} / node_filefd_maximum"),
                "{{instance}}",
            )
        ],
        unit="percent",
        maximum=100,
        width=8,
        description="Of what the kernel allows all programs together.",
    )
