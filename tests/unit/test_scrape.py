"""From the inventory to jobs and targets: nobody writes a host or a port twice."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.scrape import Fleet, address_of, alert_rules, prometheus_files, read_fleet

from tests.rules.run import find_promtool
from tests.unit.runs import ROOT, Run, Sent, inventory, run_site

PROJECT = Project.load(ROOT)
# The test mirror's versions of Prometheus, the newest last.
VERSIONS = sorted(
    (path.parent.name for path in (ROOT / ".cache" / "mirror").glob("prometheus/*/prometheus-*.tar.gz")),
    key=lambda version: [int(number) for number in version.split(".")],
)
PROBES: list[dict[str, Any]] = [
    {"url": "https://example.com", "labels": {"service": "web", "tier": 1}},
    {"url": "https://api.example.com/health", "module": "health_json"},
    {"url": "db.example.com:5432", "module": "tcp", "labels": None},
]


class Counted(Mapping[str, Mapping[str, Any]]):
    """Variables of hosts that count how often each host's are asked for; that is what costs time in Ansible."""

    def __init__(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        self.hosts = hosts
        self.asked: Counter[str] = Counter()

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        self.asked[name] += 1
        return self.hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)


def fleet_of(
    hosts: Mapping[str, Mapping[str, Any]],
    own: str = "server",
    mapping: Mapping[str, str] | None = None,
    **groups: list[str],
) -> Fleet:
    """Return the fleet of an inventory; the host `server` is the monitoring group unless it is given."""
    every = {"all": list(hosts), "monitoring": ["server"], **groups}
    return read_fleet(PROJECT, own, every, hosts, mapping or {})


def rendered(
    fleet: Fleet,
    probes: list[dict[str, Any]] | None = None,
    config: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what each file of Prometheus says, by path."""
    files = prometheus_files(PROJECT, fleet, config or {}, probes or [], rules or {})
    assert len({item["path"] for item in files}) == len(files)
    return {item["path"]: item["yaml"] if "yaml" in item else json.loads(item["content"]) for item in files}


def targets(files: Mapping[str, Any], job: str) -> dict[str, str]:
    """Return address by instance of a job."""
    found = files.get(f"targets/{job}.json", [])
    assert all(len(item["targets"]) == 1 for item in found)
    return {item["labels"]["instance"]: item["targets"][0] for item in found}


def jobs(files: Mapping[str, Any]) -> list[str]:
    """Return the names of the jobs."""
    return [job["job_name"] for job in files["prometheus.yml"]["scrape_configs"]]


def expected(files: Mapping[str, Any]) -> dict[str, str]:
    """Return how many targets the rules say that each job should have."""
    [group] = files["rules/targets.yml"]["groups"]
    assert {rule["record"] for rule in group["rules"]} == {"watchkeeper_targets_expected"}
    return {rule["labels"]["job"]: rule["expr"] for rule in group["rules"]}


def test_adding_and_removing_a_host() -> None:
    """Being in the inventory is being scraped and pinged."""
    hosts: dict[str, dict[str, Any]] = {"server": {}, "web": {}}
    before = rendered(fleet_of(hosts))
    assert targets(before, "node") == {"server": "127.0.0.1:9100", "web": "web:9100"}
    after = rendered(fleet_of({**hosts, "db": {}}))
    assert targets(after, "node") == {**targets(before, "node"), "db": "db:9100"}
    assert targets(after, "ping") == {"server": "server", "web": "web", "db": "db"}
    assert expected(after)["node"] == expected(after)["ping"] == "vector(3)"
    assert rendered(fleet_of(hosts)) == before


def test_groups_of_other_names() -> None:
    """`watchkeeper_groups` decides who plays which part."""
    hosts: dict[str, dict[str, Any]] = {"server": {}, "web": {}, "printer": {}}
    mapping = {"monitoring": "watch", "nodes": "linux"}
    files = rendered(fleet_of(hosts, "web", mapping, watch=["web"], linux=["server", "web"]))
    assert targets(files, "node") == {"server": "server:9100", "web": "127.0.0.1:9100"}
    assert targets(files, "prometheus") == {"web": "127.0.0.1:9090"}


def test_every_component_with_a_job_is_scraped() -> None:
    """In the catalogue's order, one file per job, and one rule for each with the number of its targets."""
    parts: dict[str, Any] = {entry.group: ["server"] for entry in PROJECT.components.values()}
    # Without a word a host has one of the log agents and not Docker's own metrics.
    asked_for = {f"{name}_state": "present" for name in ("docker_engine", "promtail")}
    fleet = fleet_of({"server": asked_for}, **parts)
    files = rendered(fleet, PROBES)
    own = list(dict.fromkeys(entry.job for entry in PROJECT.components.values() if entry.job))
    assert jobs(files) == [*own, "ping", "blackbox"]
    assert expected(files) == {**dict.fromkeys([*own, "ping"], "vector(1)"), "blackbox": "vector(3)"}
    for job in files["prometheus.yml"]["scrape_configs"]:
        [files_of_job] = job["file_sd_configs"]
        assert files_of_job["files"] == [f"targets/{job['job_name']}.json"]
        assert files_of_job["files"][0] in files


def labels(files: Mapping[str, Any], job: str) -> dict[str, dict[str, str]]:
    """Return the labels by instance of a job."""
    return {item["labels"]["instance"]: item["labels"] for item in files[f"targets/{job}.json"]}


def test_a_group_is_all_that_a_database_host_needs() -> None:
    """The instance on the host itself is measured without a word."""
    files = rendered(fleet_of({"server": {}, "db": {}}, postgresql=["db"]))
    assert targets(files, "postgres") == {"db": "db:9187"}
    own = labels(files, "postgres")["db"]
    assert own["__metrics_path__"] == "/probe"
    assert own["__param_target"].startswith("postgresql:///postgres?host=/run/postgresql&port=5432&user=postgres_exp")
    assert "postgres_databases" not in jobs(files)


def test_several_instances_of_one_host() -> None:
    """Each is a target with its own name; a password stays unsaid."""
    instances = [
        {"name": "default", "databases": ["shop", "mail"]},
        {"name": "orders", "host": "10.0.0.9", "user": "watch", "password": "planted", "sslmode": "verify-full"},
    ]
    files = rendered(fleet_of({"server": {}, "db": {"postgres_exporter_instances": instances}}, postgresql=["db"]))
    assert targets(files, "postgres") == {"db": "db:9187", "db/orders": "db:9187"}
    orders = labels(files, "postgres")["db/orders"]
    assert orders["host"] == "db"
    where = "postgresql:///postgres?host=10.0.0.9&port=5432&user=watch&sslmode=verify-full&sslrootcert="
    assert orders["__param_target"] == where
    assert "planted" not in json.dumps(files)
    details = [item["labels"] for item in files["targets/postgres_databases.json"]]
    assert [(item["instance"], item["database"]) for item in details] == [("db", "shop"), ("db", "mail")]
    assert details[1]["__param_target"].startswith("postgresql:///mail?")
    [job] = [job for job in files["prometheus.yml"]["scrape_configs"] if job["job_name"] == "postgres_databases"]
    assert job["metric_relabel_configs"][0]["action"] == "keep"
    assert expected(files)["postgres"] == expected(files)["postgres_databases"] == "vector(2)"


def test_applications_of_the_user() -> None:
    """Those with a port for metrics are targets of the job of the app that stands for them, under their own names."""
    applications = [
        {"name": "shop", "metrics_port": 3000},
        {"name": "mail", "metrics_port": "3001", "metrics_path": "/internal/metrics"},
        {"name": "cron"},
    ]
    hosts = {"server": {}, "web": {"app_observability_applications": applications}}
    files = rendered(fleet_of(hosts, application=["web"]))
    assert targets(files, "backend") == {"web": "web:8000", "web/shop": "web:3000", "web/mail": "web:3001"}
    assert {name: item["service"] for name, item in labels(files, "backend").items()} == {
        "web": "backend",
        "web/shop": "shop",
        "web/mail": "mail",
    }
    assert labels(files, "backend")["web/mail"]["__metrics_path__"] == "/internal/metrics"


def test_what_is_off_by_default_is_scraped_where_it_is_asked_for() -> None:
    """Docker's own metrics need a word; being a Docker host is not one."""
    files = rendered(fleet_of({"server": {}, "a": {}, "b": {"docker_engine_state": "present"}}, docker=["a", "b"]))
    assert targets(files, "docker") == {"b": "b:9323"}


def test_the_chosen_log_agent_is_scraped() -> None:
    """A host has the one that its setting names; a host without any has no target, and no job where nobody has one."""
    agents: dict[str, dict[str, Any]] = {"server": {}, "old": {"watchkeeper_log_agent": "promtail"}}
    files = rendered(fleet_of({**agents, "silent": {"watchkeeper_log_agent": "none"}}))
    assert targets(files, "alloy") == {"server": "127.0.0.1:12345"}
    assert targets(files, "promtail") == {"old": "old:9080"}
    assert targets(files, "loki") == {"server": "127.0.0.1:3100"}
    assert (expected(files)["alloy"], expected(files)["promtail"]) == ("vector(1)", "vector(1)")
    silent = rendered(fleet_of({"server": {"watchkeeper_log_agent": "none", "loki_state": "absent"}}))
    assert not {"alloy", "promtail", "loki"} & set(jobs(silent))


def test_absent_component_is_not_scraped() -> None:
    """Not on that host; where no host runs it, its job, its target file and what stands on it are gone."""
    hosts = {"server": {"blackbox_exporter_state": "absent"}, "web": {"node_exporter_state": "absent"}}
    files = rendered(fleet_of(hosts), PROBES)
    assert targets(files, "node") == {"server": "127.0.0.1:9100"}
    assert not {"blackbox_exporter", "blackbox", "ping"} & set(jobs(files))
    assert not any("blackbox" in path or "ping" in path for path in files)
    silent = rendered(fleet_of({"server": {"alertmanager_state": "absent"}}))
    assert silent["prometheus.yml"]["alerting"] == {}
    assert "alertmanager" not in jobs(silent)


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "web:9100"),
        ({"ansible_host": "192.0.2.7"}, "192.0.2.7:9100"),
        ({"ansible_host": "192.0.2.7", "watchkeeper_address": "web.internal"}, "web.internal:9100"),
        ({"watchkeeper_address": "", "ansible_host": "192.0.2.7"}, "192.0.2.7:9100"),
        ({"watchkeeper_address": "2001:db8::7"}, "[2001:db8::7]:9100"),
        ({"ansible_host": "[2001:db8::7]"}, "[2001:db8::7]:9100"),
        ({"node_exporter_port": 9200}, "web:9200"),
        ({"node_exporter_port": "9200", "watchkeeper_address": "2001:db8::7"}, "[2001:db8::7]:9200"),
        # Where it listens is its own matter; where it is reached is said by its address.
        ({"node_exporter_listen_address": "10.0.0.7", "ansible_host": "192.0.2.7"}, "192.0.2.7:9100"),
    ],
)
def test_address_of_another_host(variables: dict[str, Any], address: str) -> None:
    """As the monitoring host reaches it; each host has its own ports."""
    files = rendered(fleet_of({"server": {}, "web": variables}))
    assert targets(files, "node") == {"server": "127.0.0.1:9100", "web": address}


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("0.0.0.0", "127.0.0.1:9100"),  # noqa: S104
        ("[::]", "127.0.0.1:9100"),
        ("127.0.0.1", "127.0.0.1:9100"),
        ("10.0.0.5", "10.0.0.5:9100"),
        ("[::1]", "[::1]:9100"),
        ("localhost", "localhost:9100"),
    ],
)
def test_address_of_the_own_host(listen: str, address: str) -> None:
    """Loopback, unless the program listens elsewhere only."""
    variables = {"node_exporter_listen_address": listen, "ansible_host": "192.0.2.5"}
    assert targets(rendered(fleet_of({"server": variables})), "node") == {"server": address}


def test_address_of_a_host_for_others() -> None:
    """The first of the three that is set."""
    assert address_of({}, "web") == "web"
    assert address_of({"ansible_host": "a"}, "web") == "a"
    assert address_of({"ansible_host": "a", "watchkeeper_address": "b"}, "web") == "b"


def test_labels_of_a_host() -> None:
    """The user's labels are texts; ours say which host it is and cannot be overwritten."""
    hosts = {"server": {}, "web": {"watchkeeper_labels": {"service": "api", "rack": 7, "instance": "x"}}}
    files = rendered(fleet_of(hosts))
    item = next(item for item in files["targets/node.json"] if item["labels"]["host"] == "web")
    assert item["labels"] == {"service": "api", "rack": "7", "instance": "web", "host": "web"}
    item = next(item for item in files["targets/ping.json"] if item["labels"]["host"] == "web")
    assert item["labels"] == {"service": "api", "rack": "7", "instance": "web", "host": "web", "module": "icmp"}


def test_probes() -> None:
    """Each URL is a target with its module; the exporter's address takes its place when it is scraped."""
    files = rendered(fleet_of({"server": {"blackbox_exporter_port": 9200}}), PROBES)
    assert files["targets/blackbox.json"] == [
        {
            "targets": ["https://example.com"],
            "labels": {
                "service": "web",
                "tier": "1",
                "instance": "https://example.com",
                "module": "http_2xx",
            },
        },
        {
            "targets": ["https://api.example.com/health"],
            "labels": {"instance": "https://api.example.com/health", "module": "health_json"},
        },
        {"targets": ["db.example.com:5432"], "labels": {"instance": "db.example.com:5432", "module": "tcp"}},
    ]
    for name in ("blackbox", "ping"):
        [job] = [job for job in files["prometheus.yml"]["scrape_configs"] if job["job_name"] == name]
        assert job["metrics_path"] == "/probe"
        assert job["relabel_configs"] == [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["module"], "target_label": "__param_module"},
            {"target_label": "__address__", "replacement": "127.0.0.1:9200"},
        ]


def test_without_probes_there_is_no_probe_job() -> None:
    """An empty list is no job, and nothing is expected of it."""
    files = rendered(fleet_of({"server": {}}))
    assert "blackbox" not in jobs(files)
    assert "blackbox" not in expected(files)


def test_several_monitoring_hosts() -> None:
    """Each scrapes all of them, tells every Alertmanager, and probes through its own exporter if it has one."""
    hosts = {"server": {"blackbox_exporter_state": "absent"}, "other": {"ansible_host": "192.0.2.9"}}
    pair = ["server", "other"]
    first = rendered(fleet_of(hosts, "server", monitoring=pair))
    second = rendered(fleet_of(hosts, "other", monitoring=pair))
    assert targets(first, "prometheus") == {"server": "127.0.0.1:9090", "other": "192.0.2.9:9090"}
    assert targets(second, "prometheus") == {"server": "server:9090", "other": "127.0.0.1:9090"}
    for files, alertmanagers, prober in (
        (first, ["127.0.0.1:9093", "192.0.2.9:9093"], "192.0.2.9:9115"),
        (second, ["server:9093", "127.0.0.1:9093"], "127.0.0.1:9115"),
    ):
        [found] = files["prometheus.yml"]["alerting"]["alertmanagers"]
        assert found["static_configs"] == [{"targets": alertmanagers}]
        [job] = [job for job in files["prometheus.yml"]["scrape_configs"] if job["job_name"] == "ping"]
        assert job["relabel_configs"][-1]["replacement"] == prober
    # With an exporter of its own a host does not use the first one of the group.
    for own in pair:
        both = rendered(fleet_of({"server": {}, "other": {}}, own, monitoring=pair))
        [job] = [job for job in both["prometheus.yml"]["scrape_configs"] if job["job_name"] == "ping"]
        assert job["relabel_configs"][-1]["replacement"] == "127.0.0.1:9115"


def test_what_the_user_adds() -> None:
    """Settings stay, own jobs come after ours, own rules beside ours."""
    own_rule = {"groups": [{"name": "mine", "rules": []}]}
    files = rendered(
        fleet_of({"server": {}}),
        config={"global": {"scrape_interval": "15s"}, "scrape_configs": [{"job_name": "app"}]},
        rules={"mine": own_rule},
    )
    assert files["prometheus.yml"]["global"] == {"scrape_interval": "15s"}
    assert jobs(files)[-1] == "app"
    assert jobs(files)[0] == "node"
    assert files["rules/mine.yml"] == own_rule
    assert "rules/targets.yml" in files
    assert files["prometheus.yml"]["rule_files"] == ["rules/*.yml"]


def test_alert_rules_follow_the_settings() -> None:
    """Shipped alerts, overridden by name, and the user's own."""
    settings: dict[str, Any] = {
        "watchkeeper_alerts": {"HighCPUUsage": {"threshold": 71}, "Watchdog": {"enabled": False}},
        "watchkeeper_alerts_extra": [
            {
                "name": "QueueLong",
                "severity": "warning",
                "component": "application",
                "expr": "queue > 5",
                "for": "5m",
                "summary": "The queue is long.",
                "description": "It has {{ $value }} items.",
            }
        ],
        "watchkeeper_runbooks_url": "https://docs.example.com",
        "watchkeeper_slos_default": [],
        "watchkeeper_slos": [],
    }
    rules = alert_rules(PROJECT, settings)
    alerts = {rule["alert"]: rule for file in rules.values() for rule in file["groups"][0]["rules"]}
    assert "> 71" in alerts["HighCPUUsage"]["expr"]
    assert alerts["HighCPUUsage"]["annotations"]["runbook_url"] == "https://docs.example.com/HighCPUUsage.md"
    assert "Watchdog" not in alerts
    assert alerts["QueueLong"]["expr"] == "queue > 5"
    assert set(rules) >= {"custom", "infrastructure"}


def test_the_cost_of_a_host() -> None:
    """Each host's variables are asked for once, however many components, groups and monitoring hosts there are."""
    hosts: dict[str, dict[str, Any]] = {f"host{number}": {} for number in range(200)}
    counted = Counted(hosts)
    groups = {"all": list(hosts), "monitoring": ["host0", "host1", "host2"]}
    fleet = read_fleet(PROJECT, "host0", groups, counted, {})
    prometheus_files(PROJECT, fleet, {}, PROBES, {})
    assert counted.asked == Counter(dict.fromkeys(hosts, 1))


def test_hosts_without_a_part_cost_nothing() -> None:
    """A host that runs no component is not asked at all."""
    counted = Counted({"server": {}, "printer": {}})
    groups = {"all": ["server", "printer"], "monitoring": ["server"], "linux": ["server"]}
    read_fleet(PROJECT, "server", groups, counted, {"nodes": "linux"})
    assert counted.asked == Counter({"server": 1})


@pytest.fixture(scope="module")
def converged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real run over two monitoring hosts and a node, with variables that are templates themselves."""
    hosts = inventory(
        {
            "server": {"ansible_host": "192.0.2.1", "prometheus_listen_address": "0.0.0.0"},  # noqa: S104
            "other": {"ansible_host": "192.0.2.2"},
        },
        {"web": {"base": 9000, "node_exporter_port": "{{ base + 200 }}", "watchkeeper_labels": {"role": "{{ part }}"}}},
        part="front",
        watchkeeper_probes=PROBES,
        watchkeeper_external_labels={"cluster": "test", "environment": "unit"},
        prometheus_scrape_configs=[{"job_name": "app", "static_configs": [{"targets": ["web:3000"]}]}],
        prometheus_remote_write=[
            {"url": "https://w.example.com", "basic_auth": {"username": "u", "password_file": "{config}/secrets/w"}}
        ],
        prometheus_secrets={"w": "planted-secret"},
        prometheus_rules={
            "mine": {"groups": [{"name": "mine", "rules": [{"record": "mine:one", "expr": "vector(1)"}]}]}
        },
        # The version whose promtool there is.
        prometheus_version=VERSIONS[-1] if VERSIONS else "",
        watchkeeper_allow_unpinned=["prometheus"],
    )
    run = run_site(tmp_path_factory.mktemp("converged"), hosts)
    assert run.code == 0, run.output
    return run


def prometheus_of(run: Run, host: str) -> Sent:
    """Return what was sent for Prometheus."""
    return run.component("prometheus", host)


def test_real_inventory(converged: Run) -> None:
    """Ansible's own hostvars and templates give the same as plain data."""
    sent = prometheus_of(converged, "server")
    nodes = {item["labels"]["host"]: item for item in sent.data("targets/node.json")}
    assert {host: item["targets"][0] for host, item in nodes.items()} == {
        "server": "127.0.0.1:9100",
        "other": "192.0.2.2:9100",
        "web": "web:9200",
    }
    assert nodes["web"]["labels"]["role"] == "front"
    config = sent.data("prometheus.yml")
    assert config["global"]["external_labels"] == {"cluster": "test", "environment": "unit"}
    assert config["scrape_configs"][-1]["job_name"] == "app"
    assert config["alerting"]["alertmanagers"][0]["static_configs"] == [
        {"targets": ["127.0.0.1:9093", "192.0.2.2:9093"]}
    ]
    other = prometheus_of(converged, "other").data("prometheus.yml")
    assert other["alerting"]["alertmanagers"][0]["static_configs"] == [
        {"targets": ["192.0.2.1:9093", "127.0.0.1:9093"]}
    ]


@pytest.mark.skipif(not VERSIONS, reason="promtool check config: no Prometheus in the test mirror (make mirror)")
def test_promtool_accepts_what_is_rendered(converged: Run, tmp_path: Path) -> None:
    """The version's own checker, as the role calls it, on the files as they would lie on the host."""
    sent = prometheus_of(converged, "server")
    declaration = sent.arguments["declaration"]
    live = f"/etc/watchkeeper/prometheus/run-{declaration['run']}/config/"
    files = {item["path"]: item["content"] for item in declaration["files"]} | sent.arguments["secrets"]
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace(live, f"{tmp_path}/"), encoding="utf-8")
    [check] = declaration["checks"]
    program, *arguments = [word.replace("{config}", str(tmp_path)) for word in check]
    assert program == "{release}/promtool"
    command = [str(find_promtool()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((tmp_path / "prometheus.yml").read_text(encoding="utf-8"))
    config["scrape_configs"].append({"job_name": "node"})
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
