"""What the harder expressions of the dashboards answer, as promtool computes it from series that are planted here."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rules.run import find_promtool
from tests.unit.runs import ROOT

# The promtool of the test mirror, as tests/rules/run.py finds it.
pytestmark = pytest.mark.skipif(
    not list((ROOT / ".cache" / "mirror").glob("prometheus/*/prometheus-*.tar.gz")),
    reason="promtool: no Prometheus in the test mirror (make mirror)",
)
RATE_INTERVAL = "5m"
PG = 'instance="db", datname="app"'
DISK = 'device="/dev/vda1", fstype="ext4", host="h"'


@functools.cache
def dashboard(name: str) -> dict[str, Any]:
    """Return a generated dashboard."""
    found: dict[str, Any] = json.loads((ROOT / "files" / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def expression(place: str, minutes: int) -> str:
    """Return the expression at `dashboard/panel/query` with everything chosen, rounded for comparison."""
    name, title, ref = place.split("/")
    panels = [panel for panel in dashboard(name)["panels"] if panel["title"] == title]
    [found] = [target["expr"] for panel in panels for target in panel.get("targets", []) if target["refId"] == ref]
    ranges = {"$__rate_interval": RATE_INTERVAL, "$__range": f"{minutes}m", "$__interval": "1m"}
    for variable, value in ranges.items():
        found = found.replace(variable, value)
    return f"round({re.sub(r'[$][a-z]+', '.*', found)}, 0.01)"


def series(text: str) -> list[dict[str, str]]:
    """Return the input of a test from lines of a series, two spaces or more, and its values."""
    pairs = (re.split(r" {2,}", line.strip()) for line in text.strip().splitlines())
    return [{"series": name, "values": values} for name, values in pairs]


def answers(folder: Path, place: str, planted: str, expected: dict[str, float], minutes: int = 10) -> str:
    """Return what promtool has against these answers after a time, which is also the chosen range."""
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    asked = {"expr": expression(place, minutes), "eval_time": f"{minutes}m", "exp_samples": samples}
    tests = [{"interval": "1m", "input_series": series(planted), "promql_expr_test": [asked]}]
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}), encoding="utf-8")
    command = [str(find_promtool()), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


CASES: dict[str, tuple[str, str, dict[str, float]]] = {
    "what is not used is what the scarcer of processor and memory leaves": (
        "cost/Hosts/D",
        """
        watchkeeper_host_price{host="a", currency="EUR"}  100x10
        watchkeeper_host_price{host="b", currency="USD"}  40x10
        node_cpu_seconds_total{host="a", cpu="0", mode="idle"}  0+45x10
        node_cpu_seconds_total{host="a", cpu="1", mode="idle"}  0+45x10
        node_memory_MemAvailable_bytes{host="a"}  500x10
        node_memory_MemTotal_bytes{host="a"}  1000x10
        node_cpu_seconds_total{host="b", cpu="0", mode="idle"}  0+6x10
        node_memory_MemAvailable_bytes{host="b"}  500x10
        node_memory_MemTotal_bytes{host="b"}  1000x10
        """,
        {'{host="a", currency="EUR"}': 50, '{host="b", currency="USD"}': 4},
    ),
    "hosts without a price are counted": (
        "cost/Hosts without a price/A",
        """
        up{job="node", host="a", instance="a"}  1x10
        up{job="node", host="b", instance="b"}  0x10
        watchkeeper_host_price{host="a", currency="EUR"}  100x10
        """,
        {"{}": 1},
    ),
    "a price for each leaves none to count": (
        "cost/Hosts without a price/A",
        """
        up{job="node", host="a", instance="a"}  1x10
        watchkeeper_host_price{host="a", currency="EUR"}  100x10
        """,
        {"{}": 0},
    ),
    "a transaction that is given up counts, and none at all is 0": (
        "database/Rolled back/A",
        f"""
        pg_stat_database_xact_commit{{{PG}, datid="5"}}  0+90x10
        pg_stat_database_xact_rollback{{{PG}, datid="5"}}  0+10x10
        pg_stat_database_xact_commit{{instance="db", datname="idle", datid="6"}}  7x10
        pg_stat_database_xact_rollback{{instance="db", datname="idle", datid="6"}}  0x10
        """,
        {'{instance="db", datname="app"}': 10, '{instance="db", datname="idle"}': 0},
    ),
    "a database that is asked for nothing has lost nothing": (
        "database/Cache hit ratio/A",
        f"""
        pg_stat_database_blks_hit{{{PG}, datid="5"}}  0+300x10
        pg_stat_database_blks_read{{{PG}, datid="5"}}  0+100x10
        pg_stat_database_blks_hit{{instance="db", datname="idle", datid="6"}}  7x10
        pg_stat_database_blks_read{{instance="db", datname="idle", datid="6"}}  0x10
        """,
        {'{instance="db", datname="app"}': 75, '{instance="db", datname="idle"}': 100},
    ),
    "the slowest statements are those with the longest mean": (
        "database/Slow queries/A",
        f"""
        pg_stat_statements_seconds_total{{{PG}, user="app", queryid="1"}}  0+60x10
        pg_stat_statements_calls_total{{{PG}, user="app", queryid="1"}}  0+120x10
        pg_stat_statements_seconds_total{{{PG}, user="app", queryid="2"}}  0+6x10
        pg_stat_statements_calls_total{{{PG}, user="app", queryid="2"}}  0+2x10
        pg_stat_statements_seconds_total{{{PG}, user="app", queryid="3"}}  900x10
        pg_stat_statements_calls_total{{{PG}, user="app", queryid="3"}}  1x10
        """,
        {
            '{instance="db", datname="app", user="app", queryid="1"}': 0.5,
            '{instance="db", datname="app", user="app", queryid="2"}': 3,
        },
    ),
    "no transaction is one of no length, and one that is idle counts": (
        "database/Longest transaction of each server/A",
        """
        pg_up{instance="db"}  1x10
        pg_up{instance="quiet"}  1x10
        pg_stat_activity_max_tx_duration{instance="db", backend_type="client backend", state="active"}  5x10
        pg_stat_activity_max_tx_duration{instance="db", backend_type="client backend", state="idle"}  90x10
        pg_stat_activity_max_tx_duration{instance="db", backend_type="walsender", state="active"}  9000x10
        """,
        {'{instance="db"}': 90, '{instance="quiet"}': 0},
    ),
    "a memory is near its end only where there is an end and nothing is evicted": (
        "redis/Fullest memory/A",
        """
        redis_up{instance="cache"}  1x10
        redis_memory_used_bytes{instance="cache"}  99x10
        redis_memory_max_bytes{instance="cache"}  100x10
        redis_instance_info{instance="cache", maxmemory_policy="allkeys-lru"}  1x10
        redis_memory_used_bytes{instance="queue"}  60x10
        redis_memory_max_bytes{instance="queue"}  100x10
        redis_instance_info{instance="queue", maxmemory_policy="noeviction"}  1x10
        redis_memory_used_bytes{instance="free"}  5000x10
        redis_memory_max_bytes{instance="free"}  0x10
        redis_instance_info{instance="free", maxmemory_policy="noeviction"}  1x10
        """,
        {"{}": 60},
    ),
    "a replica has a link or none, and what is no replica is a primary": (
        "redis/Replication/A",
        """
        redis_up{instance="a"}  1x10
        redis_up{instance="b"}  1x10
        redis_up{instance="c"}  1x10
        redis_up{instance="d"}  0x10
        redis_master_link_up{instance="b", master_host="a"}  1x10
        redis_master_link_up{instance="c", master_host="a"}  0x10
        """,
        {'{instance="a"}': 2, '{instance="b"}': 1, '{instance="c"}': 0, '{instance="d"}': 0},
    ),
    "a connection that is accepted and not handled is dropped": (
        "nginx/Connections dropped in 5 minutes/A",
        """
        nginx_connections_accepted{instance="web"}  0+10x10
        nginx_connections_handled{instance="web"}  0+8x10
        nginx_connections_accepted{instance="calm"}  0+10x10
        nginx_connections_handled{instance="calm"}  0+10x10
        """,
        {'{instance="web"}': 10, '{instance="calm"}': 0},
    ),
    "a container without a limit may use all of its host's memory": (
        "docker/Memory used of what is allowed/A",
        """
        container_last_seen{host="h", name="free", id="1"}  1x10
        container_last_seen{host="h", name="tight", id="2"}  1x10
        container_memory_working_set_bytes{host="h", name="free", id="1"}  50x10
        container_memory_working_set_bytes{host="h", name="tight", id="2"}  50x10
        container_spec_memory_limit_bytes{host="h", name="free", id="1"}  0x10
        container_spec_memory_limit_bytes{host="h", name="tight", id="2"}  100x10
        machine_memory_bytes{host="h", machine_id="m"}  1000x10
        """,
        {'{host="h", name="free"}': 5, '{host="h", name="tight"}': 50},
    ),
    "a container without a network has no traffic, instead of no curve": (
        "docker/Network/A",
        """
        container_last_seen{host="h", name="lonely", id="1"}  1x10
        container_last_seen{host="h", name="web", id="2"}  1x10
        container_network_receive_bytes_total{host="h", name="web", id="2", interface="eth0"}  0+600x10
        container_network_receive_bytes_total{host="h", name="web", id="2", interface="eth1"}  0+60x10
        """,
        {'{host="h", name="lonely"}': 0, '{host="h", name="web"}': 11},
    ),
    "an ill container is counted": (
        "docker/Unhealthy/A",
        """
        container_last_seen{host="h", name="well", id="1"}  1x10
        container_last_seen{host="h", name="ill", id="2"}  1x10
        container_health_state{host="h", name="well", id="1"}  1x10
        container_health_state{host="h", name="ill", id="2"}  0x10
        """,
        {"{}": 1},
    ),
    "no ill container is 0": (
        "docker/Unhealthy/A",
        """
        container_last_seen{host="h", name="well", id="1"}  1x10
        container_health_state{host="h", name="well", id="1"}  1x10
        """,
        {"{}": 0},
    ),
    "a target that vanished is missing, a whole job too": (
        "monitoring/Targets missing/A",
        """
        watchkeeper_targets_expected{job="node"}  3x10
        watchkeeper_targets_expected{job="redis"}  1x10
        watchkeeper_targets_expected{job="nginx"}  1x10
        up{job="node", instance="a"}  1x10
        up{job="node", instance="b"}  0x10
        up{job="nginx", instance="a"}  1x10
        """,
        {"{}": 2},
    ),
    "a target that was added by hand hides none that is missing": (
        "monitoring/Targets missing/A",
        """
        watchkeeper_targets_expected{job="node"}  1x10
        watchkeeper_targets_expected{job="redis"}  1x10
        up{job="node", instance="a"}  1x10
        up{job="node", instance="b"}  1x10
        """,
        {"{}": 1},
    ),
    "an endpoint that fails is counted, a host is not an endpoint": (
        "endpoints/Endpoints failing/A",
        """
        probe_success{job="blackbox", instance="http://a/"}  0x10
        probe_success{job="blackbox", instance="http://b/"}  1x10
        probe_success{job="ping", instance="h", host="h"}  0x10
        """,
        {"{}": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_answer(case: str, tmp_path: Path) -> None:
    place, planted, expected = CASES[case]
    assert answers(tmp_path, place, planted, expected) == ""


DAY_MINUTES = 1440
YEAR = 365 * 86400
# A file system, memory and connections that change by the same amount every minute for a day, or for ten minutes.
FALLING = f"""
    node_filesystem_avail_bytes{{mountpoint="/", {DISK}}}  172800-60x1440
    node_filesystem_avail_bytes{{mountpoint="/steady", {DISK}}}  5000x1440
    node_filesystem_avail_bytes{{mountpoint="/emptied", {DISK}}}  5000+60x1440
    node_filesystem_avail_bytes{{mountpoint="/full", {DISK}}}  0x1440
    node_filesystem_avail_bytes{{mountpoint="/image", {DISK}}}  0x1440
    node_filesystem_avail_bytes{{mountpoint="/new", {DISK}}}  _x1430 900-60x10
    node_filesystem_readonly{{mountpoint="/image", {DISK}}}  1x1440
    node_filesystem_avail_bytes{{device="tmpfs", fstype="tmpfs", mountpoint="/tmp", host="h"}}  9000-1x1440
    node_filesystem_size_bytes{{mountpoint="/", {DISK}}}  172800x1440
    node_filesystem_size_bytes{{mountpoint="/new", {DISK}}}  1200x1440
    node_memory_MemTotal_bytes{{host="old"}}  40000x1440
    node_memory_MemAvailable_bytes{{host="old"}}  34400-1x1440
    node_memory_MemTotal_bytes{{host="new"}}  1000x1440
    node_memory_MemAvailable_bytes{{host="new"}}  _x1430 900-60x10
"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            "capacity/Disks by the time that is left/A",
            {
                '{host="h", mountpoint="/"}': 86400,
                '{host="h", mountpoint="/steady"}': YEAR,
                '{host="h", mountpoint="/emptied"}': YEAR,
                '{host="h", mountpoint="/full"}': 0,
                '{host="h", mountpoint="/new"}': YEAR,
            },
        ),
        (
            "capacity/Disks by the time that is left/C",
            {'{host="h", mountpoint="/"}': 100, '{host="h", mountpoint="/new"}': 75},
        ),
        ("capacity/Memory/D", {'{host="old"}': 42.8, '{host="new"}': 70}),
    ],
)
def test_what_is_known_for_minutes_predicts_no_week(place: str, expected: dict[str, float], tmp_path: Path) -> None:
    assert answers(tmp_path, place, FALLING, expected, DAY_MINUTES) == ""
