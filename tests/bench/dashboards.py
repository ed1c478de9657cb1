"""How long Prometheus takes for the questions of each dashboard: 50 hosts with what runs on them, over six hours.

Writes made-up history as blocks, has a real Prometheus serve them, and asks what Grafana would ask when somebody opens
a dashboard with everything chosen, one question after another. Nothing here is an assertion: times are a machine's.
The table goes to docs/benchmark.md when everything was measured.

    python -m tests.bench.dashboards [--hosts 50] [--hours 6] [--repeat 5]
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "module_utils"), str(ROOT / "molecule" / "services" / "files")]

import panels  # type: ignore[import-not-found]  # noqa: E402 - the scenario's script

import tests.conftest  # noqa: E402, F401 - gives the project's code the name under which the tests import it
from plugins.module_utils.watchkeeper.release import unpack  # noqa: E402
from tests.bench.run import DOCUMENT, machine, table  # noqa: E402
from tests.unit.live import Program, answers, archive, free_port  # noqa: E402

HOSTS, HOURS, REPETITIONS = 50, 6, 5
HEADING = "## Dashboards"
BLOCK_SECONDS = 7200
BUCKETS = "5,10,25,50,100,250,500,1000,2500,5000,10000,+Inf"
PHASES = "resolve,connect,tls,processing,transfer"
COMMANDS = "get,set,del,incr,expire,hget,hset,lpush,lrange,publish,ping,info"
# What each instance of a job has: `metric` or `metric+` (it only grows), then its labels and their values.
SERIES = {
    "node": f"""
        up
        node_cpu_seconds_total+ cpu=0,1,2,3 mode=idle,iowait,irq,nice,softirq,steal,system,user
        node_memory_MemTotal_bytes | node_memory_MemAvailable_bytes | node_memory_SwapTotal_bytes
        node_memory_SwapFree_bytes | node_load5 | node_load15 | node_time_seconds | node_boot_time_seconds
        node_filesystem_size_bytes fstype=ext4 mountpoint=/,/var,/srv device=sda
        node_filesystem_avail_bytes fstype=ext4 mountpoint=/,/var,/srv device=sda
        node_filesystem_files fstype=ext4 mountpoint=/,/var,/srv device=sda
        node_filesystem_files_free fstype=ext4 mountpoint=/,/var,/srv device=sda
        node_filesystem_readonly fstype=ext4 mountpoint=/,/var,/srv device=sda
        node_disk_read_bytes_total+ device=sda,sdb
        node_disk_written_bytes_total+ device=sda,sdb
        node_disk_io_time_seconds_total+ device=sda,sdb
        {
        " | ".join(
            f"node_network_{way}_{what}_total+ device=eth0,eth1,lo"
            for way in ("receive", "transmit")
            for what in ("bytes", "drop", "errs")
        )
    }
        node_vmstat_oom_kill+ | node_procs_running | node_procs_blocked | node_filefd_allocated | node_filefd_maximum
        node_uname_info sysname=Linux
        node_scrape_collector_success collector=cpu,filesystem,meminfo,stat,time,timex
        process_resident_memory_bytes | process_cpu_seconds_total+
        scrape_duration_seconds | scrape_samples_post_metric_relabeling
    """,
    "cadvisor": """
        up | machine_memory_bytes | process_resident_memory_bytes
        container_cpu_usage_seconds_total+ name=c[10]
        container_cpu_cfs_periods_total+ name=c[10]
        container_cpu_cfs_throttled_periods_total+ name=c[10]
        container_memory_working_set_bytes name=c[10]
        container_spec_memory_limit_bytes name=c[10]
        container_fs_reads_bytes_total+ name=c[10]
        container_fs_writes_bytes_total+ name=c[10]
        container_network_receive_bytes_total+ name=c[10] interface=eth0
        container_network_transmit_bytes_total+ name=c[10] interface=eth0
        container_last_seen name=c[10]
        container_start_time_seconds name=c[10]
        container_health_state name=c[10]
    """,
    "docker": """
        up
        engine_daemon_container_actions_seconds_count+ action=create,delete,start,commit,changes
        engine_daemon_container_actions_seconds_sum+ action=create,delete,start,commit,changes
        engine_daemon_container_states_containers state=running,stopped,paused
    """,
    "postgres": f"""
        up | pg_up | pg_settings_max_connections | pg_wal_size_bytes | pg_replication_lag_seconds
        pg_stat_archiver_failed_count+
        pg_scrape_collector_success collector=database,locks,stat_database,stat_statements,wal
        pg_database_size_bytes datname=app,postgres,shop
        pg_database_wraparound_age_datfrozenxid_seconds datname=app,postgres,shop
        pg_database_wraparound_age_datminmxid_seconds datname=app,postgres,shop
        pg_locks_count datname=app,postgres,shop mode=accesssharelock,exclusivelock,rowexclusivelock,sharelock
        pg_stat_activity_count datname=app,postgres,shop state=active,idle,disabled usename=app
        pg_stat_activity_max_tx_duration datname=app,postgres,shop state=active backend_type=client_backend
        {
        " | ".join(
            f"pg_stat_database_{name}{'' if name == 'numbackends' else '+'} datname=app,postgres,shop"
            for name in (
                "numbackends",
                "xact_commit",
                "xact_rollback",
                "blks_hit",
                "blks_read",
                "deadlocks",
                "temp_bytes",
                "tup_returned",
                "tup_fetched",
                "tup_inserted",
                "tup_updated",
                "tup_deleted",
            )
        )
    }
        pg_stat_statements_calls_total+ user=app datname=app queryid=q[50]
        pg_stat_statements_seconds_total+ user=app datname=app queryid=q[50]
        {
        " | ".join(
            f"pg_stat_user_tables_{name} datname=app schemaname=public relname=t[30]"
            for name in (
                "table_size_bytes",
                "index_size_bytes",
                "n_live_tup",
                "n_dead_tup",
                "autovacuum_count+",
                "autoanalyze_count+",
                "seq_tup_read+",
            )
        )
    }
    """,
    "redis": f"""
        up | redis_up | redis_memory_used_bytes | redis_memory_used_rss_bytes | redis_memory_max_bytes
        redis_connected_clients | redis_blocked_clients | redis_max_clients | redis_connected_slaves
        redis_rejected_connections_total+ | redis_commands_processed_total+ | redis_evicted_keys_total+
        redis_expired_keys_total+ | redis_keyspace_hits_total+ | redis_keyspace_misses_total+
        redis_net_input_bytes_total+ | redis_net_output_bytes_total+ | redis_master_link_up
        redis_rdb_changes_since_last_save | redis_rdb_last_bgsave_status | redis_rdb_last_save_timestamp_seconds
        redis_aof_last_bgrewrite_status | redis_aof_last_write_status
        redis_instance_info maxmemory_policy=noeviction
        redis_db_keys db=db0,db1
        redis_db_keys_expiring db=db0,db1
        redis_commands_total+ cmd={COMMANDS}
        redis_commands_duration_seconds_total+ cmd={COMMANDS}
    """,
    "nginx": """
        up | nginx_up | nginx_http_requests_total+ | nginx_connections_accepted+ | nginx_connections_handled+
        nginx_connections_active | nginx_connections_reading | nginx_connections_waiting | nginx_connections_writing
        process_resident_memory_bytes
    """,
    "backend": f"""
        up | active_users | user_registrations_total+ | orders_created_total+ | order_total_amount+
        products_created_total+ | messages_sent_total+
        http_requests_total+ method=GET,POST route=/api/r[12] status_code=200,404,500
        http_request_duration_ms_bucket+ method=GET,POST route=/api/r[12] le={BUCKETS}
        http_request_duration_ms_count+ method=GET,POST route=/api/r[12]
        db_query_duration_ms_bucket+ operation=select,insert,update,delete le={BUCKETS}
        db_query_duration_ms_count+ operation=select,insert,update,delete
        cache_requests_total+ result=hit,miss
        health_check_up check=database,redis,disk
        health_check_duration_seconds check=database,redis,disk
        process_cpu_seconds_total+ | process_resident_memory_bytes | process_open_fds | process_max_fds
        process_start_time_seconds
    """,
    "ping": "up | probe_success | probe_duration_seconds | probe_icmp_duration_seconds phase=resolve,setup,rtt",
    "blackbox": f"""
        up | probe_success | probe_duration_seconds | probe_http_status_code | probe_ssl_earliest_cert_expiry
        probe_http_duration_seconds phase={PHASES}
    """,
    "blackbox_exporter": "up | blackbox_exporter_config_last_reload_successful | process_resident_memory_bytes",
    "alertmanager": """
        up | alertmanager_config_last_reload_successful | process_resident_memory_bytes | process_cpu_seconds_total+
        alertmanager_alerts state=active,suppressed
        alertmanager_notifications_total+ integration=email,slack,pagerduty
        alertmanager_notifications_failed_total+ integration=email,slack,pagerduty reason=other
    """,
    "grafana": """
        up | process_resident_memory_bytes
        grafana_http_request_duration_seconds_count+ handler=/api/h[20] status_code=200,500
    """,
    "prometheus": """
        up | process_resident_memory_bytes | process_cpu_seconds_total+ | prometheus_config_last_reload_successful
        prometheus_tsdb_head_series | prometheus_tsdb_head_samples_appended_total+ type=float
        prometheus_tsdb_head_series_created_total+ | prometheus_tsdb_lowest_timestamp_seconds
        prometheus_tsdb_storage_blocks_bytes | prometheus_tsdb_wal_storage_size_bytes
        prometheus_tsdb_compactions_failed_total+ | prometheus_tsdb_reloads_failures_total+
        prometheus_tsdb_wal_writes_failed_total+ | prometheus_notifications_alertmanagers_discovered
        prometheus_notifications_dropped_total+ | prometheus_notifications_errors_total+ alertmanager=a
        prometheus_notifications_sent_total+ alertmanager=a
        prometheus_engine_query_duration_seconds_count+ slice=inner_eval
        prometheus_engine_query_duration_seconds_sum+ slice=inner_eval
        prometheus_rule_evaluation_failures_total+ rule_group=g[10]
        prometheus_rule_group_iterations_missed_total+ rule_group=g[10]
        prometheus_rule_group_last_duration_seconds rule_group=g[10]
    """,
}
# What rules record, without host and instance.
RECORDED = """
    slo:objective:ratio slo=availability,latency job=backend service=backend
    slo:error_budget_remaining:ratio slo=availability,latency job=backend service=backend
    slo:requests:rate5m slo=availability,latency job=backend service=backend
    slo:requests:rate1h slo=availability,latency job=backend service=backend
    slo:requests:rate6h slo=availability,latency job=backend service=backend
    slo:requests:rate1d slo=availability,latency job=backend service=backend
    slo:errors:rate5m slo=availability,latency job=backend service=backend
    slo:errors:ratio_rate5m slo=availability,latency job=backend service=backend
    slo:errors:ratio_rate1h slo=availability,latency job=backend service=backend
    slo:errors:ratio_rate6h slo=availability,latency job=backend service=backend
    slo:errors:ratio_rate1d slo=availability,latency job=backend service=backend
"""


@dataclass
class Result:
    """What one dashboard cost: times in milliseconds by panel, and what got no answer."""

    title: str
    times: dict[str, list[float]] = field(default_factory=dict)
    series: int = 0
    empty: list[str] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        """Return the dashboard's row of the table."""
        every = sorted(time for times in self.times.values() for time in times)
        slowest = max(self.times, key=lambda name: statistics.median(self.times[name]))
        whole = sum(statistics.median(times) for times in self.times.values())
        return (
            self.title,
            str(len(self.times)),
            f"{statistics.median(every):.1f}",
            f"{every[int(0.95 * (len(every) - 1))]:.1f}",
            f"{whole:.0f}",
            str(self.series),
            f"{slowest.rpartition(' ')[0]} ({statistics.median(self.times[slowest]):.0f})",
        )


def instances(hosts: int) -> dict[str, list[dict[str, str]]]:
    """Return the targets of each job: what every host has, and what some have."""
    names = [f"host{number:03}" for number in range(hosts)]

    def some(share: float, **labels: str) -> list[dict[str, str]]:
        return [{"host": name, "instance": name, **labels} for name in names[: max(1, int(share * hosts))]]

    found = {"node": some(1), "ping": some(1), "cadvisor": some(0.2), "docker": some(0.2), "nginx": some(0.2)}
    found |= {"postgres": some(0.1), "redis": some(0.1), "backend": some(0.2, service="backend")}
    found |= {job: some(0) for job in ("blackbox_exporter", "alertmanager", "grafana", "prometheus")}
    found["blackbox"] = [{"instance": f"https://{name}.example.com"} for name in names[: max(1, hosts // 5)]]
    return found


def parsed(text: str) -> Iterator[tuple[str, bool, list[dict[str, str]]]]:
    """Yield metric, whether it only grows, and the label sets of a table of series."""
    for entry in itertools.chain.from_iterable(line.split(" | ") for line in text.splitlines() if line.strip()):
        name, *pairs = entry.split()
        values: dict[str, list[str]] = {}
        for pair in pairs:
            label, _equals, listed = pair.partition("=")
            stem, bracket, number = listed.partition("[")
            many = [f"{stem}{item}" for item in range(int(number[:-1]))] if bracket else listed.split(",")
            values[label] = [value.replace("_", " ") if label == "backend_type" else value for value in many]
        sets = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
        yield name.rstrip("+"), name.endswith("+"), sets


def every_series(hosts: int) -> Iterator[tuple[str, bool]]:
    """Yield every series as it is written, and whether it only grows."""

    def written(name: str, labels: dict[str, str]) -> str:
        return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"

    targets = instances(hosts)
    for job, found in targets.items():
        yield written("watchkeeper_targets_expected", {"job": job}), False
        for target in found:
            for name, grows, sets in parsed(SERIES[job]):
                for labels in sets:
                    yield written(name, {**target, "job": job, **labels}), grows
    for name, grows, sets in parsed(RECORDED):
        for labels in sets:
            yield written(name, labels), grows
    for target in targets["node"]:
        yield written("watchkeeper_host_price", {"host": target["host"], "currency": "USD"}), False
    firing = {"alertstate": "firing", "severity": "warning", "pair": "cpu_usage", "job": "node"}
    for target in targets["node"][:5]:
        alert = {"alertname": "HighCPUUsage", **target}
        yield written("ALERTS", {**alert, **firing}), False
        del firing["alertstate"]
        yield written("ALERTS_FOR_STATE", {**alert, **firing}), False
        firing["alertstate"] = "firing"
    watchdog = {"alertname": "Watchdog", "alertstate": "firing", "severity": "none"}
    yield written("ALERTS", watchdog), False


def write_blocks(promtool: Path, folder: Path, hosts: int, begin: int, end: int) -> tuple[int, int]:
    """Fill a data directory, one block's time after the other; return the numbers of series and of samples."""
    chance = random.Random(4)  # noqa: S311 - made-up numbers
    # Neighbouring values of a real gauge differ a little; equal ones would be stored for nothing.
    noise = [chance.random() for _ in range(997)]
    lines = [(text, grows, *_pace(text, chance)) for text, grows in every_series(hosts)]
    samples = 0
    source = folder / "block.om"
    for start in range(begin - begin % BLOCK_SECONDS, end, BLOCK_SECONDS):
        times = range(max(start, begin), min(start + BLOCK_SECONDS, end + 1), panels.SCRAPE_SECONDS)
        with source.open("w", encoding="utf-8") as file:
            for text, grows, offset, rate in lines:
                flat = text.startswith(("up{", "ALERTS", "watchkeeper_", "node_boot", "process_start"))
                file.writelines(
                    f"{text} {_value(moment - begin, noise[index % 997], rate, grows, flat):.3f} {moment}\n"
                    for index, moment in enumerate(times, start=offset)
                )
                samples += len(times)
            file.write("# EOF\n")
        command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", str(source), str(folder / "data")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    source.unlink()
    return len(lines), samples


def _pace(text: str, chance: random.Random) -> tuple[int, float]:
    """Return where in the noise a series begins, and how much it grows in a second."""
    if bucket := re.search(r'le="([^"]+)"', text):
        # A bucket counts what the smaller ones count, too.
        return 0, 1 + BUCKETS.split(",").index(bucket[1])
    # Nothing takes longer than the time that passes.
    return chance.randrange(997), (0.2 if "_seconds_total" in text else 10) * chance.random()


def _value(since: int, jitter: float, rate: float, grows: bool, flat: bool) -> float:
    if grows:
        return (since + jitter) * rate
    return 1 if flat else rate + jitter


def measure(api: str, hours: int, now: float, repetitions: int) -> list[Result]:
    """Ask every question of every dashboard so many times."""
    ask = panels.asker(api)
    length = hours * 3600
    found = []
    for dashboard in panels.read(ROOT / "files" / "dashboards"):
        values, barren = panels.choices(dashboard, ask, length, now)
        result = Result(dashboard["title"], empty=[question.panel for question in barren])
        for question in panels.questions(dashboard):
            if not question.kind:
                continue
            name = f"{question.panel} {question.reference}"
            for _ in range(repetitions):
                start = time.perf_counter()
                series = panels.answer(question, ask, values, length, now)
                result.times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
            if question.kind in panels.DRAWN:
                result.series = max(result.series, len(series))
            if not series:
                result.empty.append(name)
        found.append(result)
    return found


def section(results: list[Result], counted: tuple[int, int], options: Any, version: str) -> list[str]:
    """Return the part of the document."""
    headings = ("dashboard", "queries", "p50 ms", "p95 ms", "all, in turn, ms", "most series", "slowest panel (ms)")
    hours, hosts, scrape = options.hours, options.hosts, panels.SCRAPE_SECONDS
    series, samples = (f"{number:,}" for number in counted)
    return [
        HEADING,
        "",
        "What Prometheus takes for each query when a dashboard is opened with everything chosen, one after the other",
        f"(Grafana asks several at once). Prometheus {version}, {hours} hours of {hosts} hosts with what runs on them:",
        f"{series} series that dashboards read, {samples} samples at {scrape} s, made up and stored as blocks.",
        "",
        *table(headings, [result.row() for result in results]),
    ]


def main() -> int:
    """Measure and print; write the table into the document when everything was measured."""
    parser = argparse.ArgumentParser(description="How long Prometheus takes for the questions of each dashboard.")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--repeat", type=int, default=REPETITIONS, help="how often each question is asked")
    options = parser.parse_args()
    packed = archive("prometheus")
    if not packed:
        sys.exit("needs a release archive of prometheus in the mirror: run `make mirror`")
    end = int(time.time()) // panels.SCRAPE_SECONDS * panels.SCRAPE_SECONDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(packed, folder / "release")
        (folder / "prometheus.yml").write_text("{}\n", encoding="utf-8")
        print(f"==> history of {options.hosts} hosts, {options.hours} h", file=sys.stderr, flush=True)
        counted = write_blocks(folder / "release" / "promtool", folder, options.hosts, end - 3600 * options.hours, end)
        port = free_port()
        command = [
            str(folder / "release" / "prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with Program(command, folder / "log", answers(port)) as program:
            api = f"http://127.0.0.1:{port}/api/v1"
            while not ready(api):
                if program.process.poll() is not None:
                    sys.exit(program.log)
                time.sleep(0.2)
            results = measure(api, options.hours, end, options.repeat)
    lines = section(results, counted, options, packed.parent.name)
    print(f"{machine()}\n")
    print("\n".join(lines))
    for result in results:
        for question in result.empty:
            print(f"nothing to measure: {result.title}: {question}", file=sys.stderr)
    if (options.hosts, options.hours, options.repeat) == (HOSTS, HOURS, REPETITIONS):
        whole = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0].rstrip()
        DOCUMENT.write_text("\n".join([whole, "", *lines]).rstrip() + "\n", encoding="utf-8")
    return 0


def ready(api: str) -> bool:
    """Tell whether Prometheus answers questions yet."""
    try:
        panels.asker(api)("query", query="1")
    except panels.PanelError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
