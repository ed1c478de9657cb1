"""What the role redis_exporter declares, against real Redis servers.

Needs redis-server (Debian's package redis-server) and a release archive of the exporter in the mirror; without them
these tests are skipped by name.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from ansible.module_utils.watchkeeper.alerts import load_catalogue
from ansible.module_utils.watchkeeper.durations import parse_duration

from tests.emulators.smtp import make_certificate
from tests.unit.live import Program, answers, declared, free_port, get, lacking, metrics_read, sample, wait_until
from tests.unit.runs import ROOT, Run, inventory, run_site

LACKING = lacking("redis_exporter", "redis-server")
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

PASSWORD, USERS_PASSWORD, WRONG = "planted-password", r"""planted "user's" \ $word%n""", "planted-wrong-password"
PASSWORDS = (PASSWORD, USERS_PASSWORD, WRONG)
READS = "+ping +info +config|get +client|setname +slowlog|get +slowlog|len +latency|latest +latency|histogram"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/prometheus/defaults/main.yml").read_text(encoding="utf-8"))
MEASURED = ("", "locked", "user", "socket", "socket-user", "tls", "replica")


@dataclass(frozen=True)
class Rollout:
    """A host with an exporter that runs as the role declares it, the servers it measures, and what Prometheus asks."""

    run: Run
    exporter: Program
    servers: dict[str, Program]
    targets: dict[str, dict[str, str]]
    port: int

    def scrape(self, name: str, timeout: float = 10) -> str:
        """Return what Prometheus would get for an instance."""
        labels = self.targets[name]
        asked = {key.removeprefix("__param_"): value for key, value in labels.items() if key.startswith("__param_")}
        url = f"http://127.0.0.1:{self.port}{labels['__metrics_path__']}?{urlencode(asked)}"
        status, page = get(url, timeout)
        assert status == 200, page
        return page


def redis(folder: Path, name: str, port: int, *lines: str, listens: int = 0) -> Program:
    """Return a Redis server that keeps nothing and reads its configuration from its standard input."""
    common = [f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {folder}", "daemonize no"]
    config = "\n".join([*common, *lines, ""])
    return Program(["redis-server", "-"], folder / f"{name}.log", answers(listens or port), config)


def quoted(password: str) -> str:
    """Return a password as a word of Redis's configuration."""
    return '"' + password.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def rollout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    """Run servers of every kind, site.yml for a host that measures them, and the exporter it declares."""
    folder = tmp_path_factory.mktemp("redis")
    certificate, key = make_certificate(folder)
    opened, locked, replica, tls, own = (free_port() for _ in range(5))
    socket = folder / "redis.sock"
    servers = {
        "": redis(folder, "open", opened, "maxmemory 64mb"),
        "locked": redis(
            folder,
            "locked",
            locked,
            f"unixsocket {socket}",
            f"requirepass {quoted(PASSWORD)}",
            f"user monitoring on {quoted('>' + USERS_PASSWORD)} {READS}",
        ),
        "replica": redis(folder, "replica", replica, f"replicaof 127.0.0.1 {opened}"),
        "tls": redis(
            folder,
            "tls",
            0,
            f"tls-port {tls}",
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {certificate}",
            f"requirepass {quoted(PASSWORD)}",
            listens=tls,
        ),
    }
    address = f"127.0.0.1:{locked}"
    instances = [
        {"url": f"redis://127.0.0.1:{opened}"},
        {"name": "locked", "url": f"redis://{address}", "password": PASSWORD},
        {"name": "user", "url": f"redis://monitoring@{address}", "password": USERS_PASSWORD},
        {"name": "socket", "url": f"unix://{socket}", "password": PASSWORD},
        {"name": "socket-user", "url": f"unix://monitoring@{socket}", "password": USERS_PASSWORD},
        {"name": "tls", "url": f"rediss://127.0.0.1:{tls}/0", "password": PASSWORD},
        {"name": "replica", "url": f"redis://127.0.0.1:{replica}"},
        {"name": "wrong", "url": f"redis://localhost:{locked}", "password": WRONG},
        {"name": "without", "url": f"redis://{address}/1"},
        {"name": "nobody", "url": f"redis://127.0.0.1:{free_port()}", "password": PASSWORD},
    ]
    host = {
        "redis_exporter_listen_address": "127.0.0.1",
        "redis_exporter_port": own,
        "redis_exporter_instances": instances,
        # The socket lies in a temporary folder.
        "redis_exporter_unit_settings": {"PrivateTmp": False},
        "redis_exporter_tls_ca_file": str(certificate),
        "redis_exporter_tls_certificate_file": str(certificate),
        "redis_exporter_tls_key_file": str(key),
    }
    run = run_site(folder / "site", inventory({"mon1": {}}, {"cache1": host}, {"redis": ["cache1"]}), "-vvv", "--diff")
    assert run.code == 0, run.output
    targets = {
        target["labels"]["instance"].removeprefix("cache1").removeprefix("/"): target["labels"]
        for target in run.component("prometheus", "mon1").data("targets/redis.json")
    }
    with ExitStack() as stack:
        for server in servers.values():
            stack.enter_context(server)
        exporter = stack.enter_context(declared(run.component("redis_exporter", "cache1"), folder / "exporter", own))
        yield Rollout(run, exporter, servers, targets, own)


@pytest.mark.parametrize("name", MEASURED)
def test_every_kind_of_instance_is_measured(rollout: Rollout, name: str) -> None:
    """By address, by socket, over TLS with a certificate of the client's own; with and without user and password."""
    assert sample(rollout.scrape(name), "redis_up") == [1]


@pytest.mark.parametrize("name", ["wrong", "without", "nobody"])
def test_what_cannot_be_measured_is_down(rollout: Rollout, name: str) -> None:
    """A wrong password, a missing one and a server that is not there: the scrape works, and RedisDown can fire."""
    assert sample(rollout.scrape(name), "redis_up") == [0]


def test_every_metric_of_an_alert_is_exposed(rollout: Rollout) -> None:
    """An alert on a metric that nobody exposes never fires."""
    pages = [rollout.scrape(name) for name in MEASURED]
    alerts = [alert for alert in load_catalogue(ROOT / "files" / "alerts") if alert.group == "redis"]
    read = {metric for alert in alerts for metric in metrics_read(alert.expr, "redis")}
    assert read
    assert {metric for metric in read if not any(sample(page, metric) for page in pages)} == set()


def test_labels_that_alerts_read(rollout: Rollout) -> None:
    """The policy for a full memory, and the master of a replica."""
    assert 'maxmemory_policy="noeviction"' in rollout.scrape("")
    wait_until(lambda: sample(rollout.scrape("replica"), "redis_master_link_up") == [1], "replication")
    assert 'redis_master_link_up{master_host="127.0.0.1"' in rollout.scrape("replica")
    assert sample(rollout.scrape(""), "redis_master_link_up") == []


def test_its_own_page_is_about_itself(rollout: Rollout) -> None:
    """Without a server of its own it does not ask one that nobody named."""
    status, page = get(f"http://127.0.0.1:{rollout.port}/metrics")
    assert status == 200
    assert sample(page, "process_start_time_seconds")
    assert sample(page, "redis_up") == []


def test_a_server_that_hangs_is_down_before_the_scrape_ends(rollout: Rollout) -> None:
    """Otherwise the exporter itself would seem to be down."""
    server = rollout.servers["locked"]
    os.kill(server.pid, signal.SIGSTOP)
    try:
        page = rollout.scrape("locked", parse_duration(DEFAULTS["prometheus_scrape_timeout"]))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert sample(page, "redis_up") == [0]


def test_no_password_is_shown(rollout: Rollout) -> None:
    """Not to other users of the host, not in a log, not in what is sent beside the secrets, not in the run's output."""
    for name in rollout.targets:
        rollout.scrape(name)
    process = Path("/proc", str(rollout.exporter.pid))
    shown = {name: (process / name).read_bytes().decode() for name in ("cmdline", "environ")}
    shown["log"] = rollout.exporter.log
    shown["output"] = rollout.run.output
    shown["results"] = json.dumps(rollout.run.results)
    for item in rollout.run.sent:
        shown[f"{item.host} {item.arguments.get('name', item.module)}"] = json.dumps(
            {key: value for key, value in item.arguments.items() if key != "secrets"}
        )
    assert "Loaded" in shown["log"]
    for password in PASSWORDS:
        for forms in (password, json.dumps(password)[1:-1]):
            assert [where for where, text in shown.items() if forms in text] == []
