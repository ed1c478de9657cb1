"""Bad input in real runs of site.yml: refused with one clear message before anything reaches a host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.action import preflight
from tests.unit.runs import ROOT, Run, inventory, run_site

SLACK_URL = "https://hooks.slack.example/services/T0/B0/planted-slack"
KEY = "plantedkey0123456789abcdefabcdef"
PASSWORD = "planted-password"  # noqa: S105
SECRETS: dict[str, Any] = {
    "alertmanager_smtp_auth_password": PASSWORD,
    "alertmanager_slack_api_url": SLACK_URL,
    "alertmanager_pagerduty_routing_key": KEY,
    "prometheus_secrets": {"remote": "planted-remote"},
}
REMOTE = {"url": "https://metrics.example.com/write", "basic_auth": {"username": "us", "password": "planted-inline"}}

# What a host of the monitoring group has in its variables, and what the message must say.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "type": (
        {"prometheus_port": "ninety"},
        ["prometheus_port is 'ninety'", "of type int", "set it in the inventory's group_vars or host_vars"],
    ),
    "choice": ({"alertmanager_state": "gone"}, ["alertmanager_state is 'gone'", "one of present, absent"]),
    "error-tracker": (
        {"watchkeeper_error_tracker": "sentry"},
        ["watchkeeper_error_tracker is 'sentry'", "one of none, external, bugsink, self_hosted"],
    ),
    "log-agent": (
        {"watchkeeper_log_agent": "fluentd"},
        ["watchkeeper_log_agent is 'fluentd'", "one of alloy, promtail, none"],
    ),
    "unknown-variable": (
        {"prometheus_retention_tme": "30d"},
        ["prometheus_retention_tme is not a variable", "did you mean 'prometheus_retention_time'?"],
    ),
    "unknown-shared-variable": (
        {"watchkeeper_probe": []},
        ["watchkeeper_probe is not a variable", "did you mean 'watchkeeper_probes'?"],
    ),
    "renamed-variable": (
        {"prometheus_storage_retention": "30d"},
        ["prometheus_storage_retention is no longer read", "use prometheus_retention_time instead"],
    ),
    "unset-variable": (
        {"alertmanager_slack_api_url": "{{ vault_slack_api_url }}"},
        ["alertmanager_slack_api_url needs a variable that is not set", "'vault_slack_api_url' is undefined"],
    ),
    "alert-name": (
        {"watchkeeper_alerts": {"HighCpuUsage": {"enabled": False}}},
        ["watchkeeper_alerts.HighCpuUsage", "did you mean HighCPUUsage?", "Known alerts: ", "Watchdog"],
    ),
    "alert-key": (
        {"watchkeeper_alerts": {"HighCPUUsage": {"treshold": 85}}},
        ["watchkeeper_alerts.HighCPUUsage.treshold", "did you mean threshold?", "Allowed keys: "],
    ),
    "alert-duration": (
        {"watchkeeper_alerts": {"HighCPUUsage": {"for": "ten minutes"}}},
        ["watchkeeper_alerts.HighCPUUsage.for", "'ten minutes' is not a duration"],
    ),
    "duration": (
        {"prometheus_scrape_interval": "15 s"},
        ["prometheus_scrape_interval is '15 s'", "a Prometheus duration above zero"],
    ),
    "same-port": (
        {"alertmanager_port": 9090},
        ["prometheus_port is 9090", "another port than alertmanager_port on the same host"],
    ),
    "port-range": ({"node_exporter_port": 65536}, ["node_exporter_port is 65536", "a TCP port from 1 to 65535"]),
    "url-scheme": (
        {"prometheus_external_url": "prometheus.example.com"},
        ["prometheus_external_url is 'prometheus.example.com'", "starts with http:// or https://"],
    ),
    "probe": (
        {
            "watchkeeper_probes": [
                {"url": "https://example.com", "module": "htp_2xx"},
                {"url": "db.example.com", "module": "tcp"},
                {"url": "example.com"},
                {"url": "https://twice.example.com"},
                {"url": "https://twice.example.com", "labels": {"instance": "x"}},
            ]
        },
        [
            "5 things are wrong",
            "watchkeeper_probes[0].module is 'htp_2xx'",
            "did you mean 'http_2xx'?",
            "watchkeeper_probes[1].url is 'db.example.com', but must be host:port for the module tcp",
            "watchkeeper_probes[2].url is 'example.com', but must be a URL that starts with",
            "watchkeeper_probes names 'https://twice.example.com' twice",
            "watchkeeper_probes[4].labels.instance",
        ],
    ),
    "slack-secret": (
        {"alertmanager_receivers": [{"name": "critical", "slack": [{}]}]},
        ["alertmanager_slack_api_url is not set", "receiver 'critical': slack[0] needs it", "vault of your inventory"],
    ),
    "unpinned": (
        {"prometheus_version": "3.99.0"},
        ["prometheus 3.99.0 has no checksum", "make lock", "add prometheus to watchkeeper_allow_unpinned"],
    ),
    "inline-secrets": (
        {
            "prometheus_remote_write": [REMOTE],
            "prometheus_scrape_configs": [{"job_name": "app", "authorization": {"credentials": "planted-inline"}}],
        },
        [
            "prometheus_remote_write[0].basic_auth.password holds a secret in the clear",
            "password_file: '{config}/secrets/NAME'",
            "prometheus_scrape_configs[0].authorization.credentials holds",
        ],
    ),
    "inline-secrets-of-wrong-type": (
        {"prometheus_remote_write": REMOTE},
        ["prometheus_remote_write is (hidden)", "of type list"],
    ),
    "scrape-timeout": (
        {"prometheus_scrape_interval": "5s"},
        ["prometheus_scrape_timeout is '10s'", "at most prometheus_scrape_interval (5s)"],
    ),
    "job-names": (
        {"prometheus_scrape_configs": [{"job_name": "app"}, {"job_name": "app"}, {"job_name": "node"}, {}]},
        [
            "prometheus_scrape_configs[1].job_name is 'app'",
            "prometheus_scrape_configs[2].job_name is 'node'",
            "a name that no other job has",
            "prometheus_scrape_configs[3] needs a job_name",
        ],
    ),
    "rules-shape": (
        {"prometheus_rules": {"mine": [{"alert": "Mine"}], "targets": {"groups": []}}},
        ["prometheus_rules.mine", "a mapping with groups", "prometheus_rules.targets has the name of a rule file"],
    ),
    "group": (
        {"watchkeeper_groups": {"nodes": "monitorin"}},
        ["watchkeeper_groups.nodes is 'monitorin'", "has no hosts", "did you mean 'monitoring'?"],
    ),
    "group-part": ({"watchkeeper_groups": {"monitor": "monitoring"}}, ["watchkeeper_groups.monitor is not a part"]),
    "group-type": (
        {"watchkeeper_groups": {"nodes": ["monitoring"]}},
        ["watchkeeper_groups.nodes is ['monitoring']", "the name of one group"],
    ),
    "several": (
        {
            "prometheus_port": 0,
            "prometheus_retention_time": "1 month",
            "alertmanager_prot": 1,
            "watchkeeper_mirror_url": "mirror.example.com",
        },
        [
            "4 things are wrong; nothing has been changed:",
            "prometheus_port",
            "1 month",
            "alertmanager_prot",
            "mirror_url",
        ],
    ),
    "meaning-beside-names": (
        {"alertmanager_prot": 1, "prometheus_version": "3.99.0"},
        ["2 things are wrong", "alertmanager_prot is not a variable", "prometheus 3.99.0 has no checksum"],
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over hosts that each have another mistake, and one that has none; everything is said that can be said."""
    hosts = {name: {**SECRETS, **wrong} for name, (wrong, _said) in WRONG.items()}
    folder = tmp_path_factory.mktemp("refused")
    return run_site(folder, inventory(hosts, {"fine": {}}), "-vvv", "--diff", CI="true")


@pytest.mark.parametrize("name", [name for name in WRONG if name != "slack-secret"])
def test_bad_input_is_refused_by_name(refused: Run, name: str) -> None:
    """The message names the variable, its value, what is allowed, and where to set it."""
    for words in WRONG[name][1]:
        assert words in refused.errors[name]


def test_nothing_has_changed(refused: Run) -> None:
    """The run ended for all hosts, the good one too, before anything was sent to one."""
    assert refused.stopped_before_any_change()
    assert set(refused.errors) == set(WRONG) - {"slack-secret"}
    assert refused.of("preflight", "fine")["components"] == ["node_exporter", "promtail", "alloy"]


def test_one_problem_is_one_sentence(refused: Run) -> None:
    """No list around a single problem."""
    assert "things are wrong" not in refused.errors["type"]
    assert "\n" not in refused.errors["port-range"]


def test_a_refusal_shows_no_secret(refused: Run) -> None:
    """Whatever the verbosity and the environment say."""
    assert "planted" not in refused.output
    assert "planted" not in json.dumps(refused.results)


@pytest.fixture(scope="module")
def without_secrets(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over hosts with receivers whose secrets are missing, wrong or of the wrong type."""
    mail = {"alertmanager_smtp_smarthost": "smtp.example.com:587", "alertmanager_smtp_from": "alerts@example.com"}
    hosts = {
        "slack": WRONG["slack-secret"][0],
        "pagerduty": {"alertmanager_receivers": [{"name": "critical", "pagerduty": [{}]}]},
        "email": {
            **mail,
            "alertmanager_smtp_auth_username": "apikey",
            "alertmanager_receivers": [{"name": "database-team", "email": [{"to": "dba@example.com"}]}],
        },
        "webhook": {"alertmanager_receivers": [{"name": "default", "webhook": [{"url": "planted.example.com"}]}]},
        "key": {
            "alertmanager_pagerduty_routing_key": "planted-short",
            "alertmanager_receivers": [{"name": "critical", "pagerduty": [{}]}],
        },
        "type": {"alertmanager_slack_api_url": ["planted-in-a-list"], "alertmanager_watchdog_url": "planted"},
        "secrets": {"prometheus_secrets": ["planted-in-a-list"]},
        "nested": {"alertmanager_receivers": {"critical": {"slack": [{"api_url": "planted-nested"}]}}},
        "unknown-key": {"alertmanager_receivers": [{"name": "critical", "slack": [{"api_ulr": "planted-nested"}]}]},
    }
    return run_site(tmp_path_factory.mktemp("without"), inventory(hosts), "-vvv", CI="true")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("slack", WRONG["slack-secret"][1]),
        ("pagerduty", ["alertmanager_pagerduty_routing_key is not set", "receiver 'critical': pagerduty[0] needs it"]),
        ("email", ["alertmanager_smtp_auth_password is not set", "receiver 'database-team': email[0]"]),
        ("webhook", ["receiver 'default': webhook[0]: url is no URL"]),
        ("key", ["alertmanager_pagerduty_routing_key has 13 characters", "32 letters and digits"]),
        ("type", ["alertmanager_watchdog_url is (hidden)", "starts with http:// or https://"]),
        ("secrets", ["prometheus_secrets is (hidden)", "of type dict"]),
        ("nested", ["alertmanager_receivers is (hidden)", "of type list"]),
        ("unknown-key", ["receiver 'critical': slack[0] has the unknown key 'api_ulr' (did you mean 'api_url'?)"]),
    ],
)
def test_receiver_without_its_secret(without_secrets: Run, host: str, said: list[str]) -> None:
    """The message names the receiver and the variable."""
    for words in said:
        assert words in without_secrets.errors[host]
    assert without_secrets.stopped_before_any_change()


def test_a_wrong_secret_is_not_shown(without_secrets: Run) -> None:
    """Not even the part of it that would tell what is wrong."""
    assert "planted" not in without_secrets.output
    assert "planted" not in json.dumps(without_secrets.results)


def test_shared_setting_of_the_wrong_type(tmp_path: Path) -> None:
    """What all hosts share is refused in the same words."""
    hosts = inventory({"first": {"prometheus_port": 0}}, {"second": {}}, watchkeeper_download_timeout="long")
    run = run_site(tmp_path, hosts)
    assert run.stopped_before_any_change()
    for host in ("first", "second"):
        assert "watchkeeper_download_timeout is 'long', but must be of type int; set it in" in run.errors[host]
    assert "prometheus_port is 0" in run.errors["first"]


def test_inventory_without_monitoring(tmp_path: Path) -> None:
    """A group without hosts, with the way out."""
    run = run_site(tmp_path, inventory({}, {"only": {}}))
    assert run.stopped_before_any_change()
    assert "the inventory has no host in the group 'monitoring'" in run.errors["only"]
    assert "watchkeeper_groups.monitoring" in run.errors["only"]


def test_unpinned_is_allowed_by_name(tmp_path: Path) -> None:
    """Only for the component that is named, and the archive has no checksum then."""
    hosts = inventory(
        {"server": {"prometheus_version": "3.99.0"}},
        watchkeeper_allow_unpinned=["prometheus"],
        watchkeeper_mirror_url="https://mirror.example.com/releases/",
    )
    run = run_site(tmp_path, hosts)
    assert run.code == 0, run.output
    sources = run.component("prometheus", "server").arguments["declaration"]["artefact"]["sources"]
    name = "https://mirror.example.com/releases/prometheus/3.99.0/prometheus-3.99.0.linux-{}.tar.gz"
    assert sources == {arch: {"url": name.format(arch), "sha256": ""} for arch in ("amd64", "arm64")}
    pinned = run.component("alertmanager", "server").arguments["declaration"]["artefact"]["sources"]
    assert all(len(source["sha256"]) == 64 for source in pinned.values())


def test_unknown_component_among_the_unpinned(tmp_path: Path) -> None:
    """A leave for something that does not exist is a typing error."""
    run = run_site(tmp_path, inventory({"server": {}}, watchkeeper_allow_unpinned=["promtheus"]))
    assert "watchkeeper_allow_unpinned: there is no component 'promtheus'; did you mean" in run.errors["server"]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--tags", "node_exporter,prometheus"], ["node_exporter", "prometheus"]),
        (
            ["--skip-tags", "prometheus,alertmanager"],
            # Bugsink may be there from before, and is not chosen now.
            ["bugsink", "node_exporter", "blackbox_exporter", "loki", "alloy", "grafana"],
        ),
    ],
)
def test_tags_choose_components(tmp_path: Path, arguments: Sequence[str], chosen: list[str]) -> None:
    """A component's name is its tag, and the check of the variables is always there."""
    run = run_site(tmp_path, inventory({"server": {}}), *arguments)
    assert run.code == 0, run.output
    assert [item.arguments["name"] for item in run.sent if item.module == "component"] == chosen
    assert ("targets" in [item.module for item in run.sent]) == ("prometheus" in chosen)


@pytest.mark.parametrize(
    ("magic", "chosen"),
    [
        ({}, ["a", "b"]),
        ({"ansible_run_tags": ("all",)}, ["a", "b"]),
        ({"ansible_run_tags": ("tagged",)}, ["a", "b"]),
        ({"ansible_run_tags": ("b",)}, ["b"]),
        ({"ansible_run_tags": ("all", "b"), "ansible_skip_tags": ("b",)}, ["a"]),
        ({"ansible_run_tags": ("c",)}, []),
    ],
)
def test_choice_by_tags(magic: dict[str, Any], chosen: list[str]) -> None:
    """As Ansible itself reads --tags and --skip-tags."""
    assert preflight.ActionModule._chosen(["a", "b"], magic) == chosen


def test_renamed_variables_lead_somewhere() -> None:
    """No renamed variable is read again, and every successor that is named exists."""
    specs = [ROOT / "roles" / role.name / "meta" / "argument_specs.yml" for role in (ROOT / "roles").iterdir()]
    known = {
        name
        for spec in specs
        for name in yaml.safe_load(spec.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    }
    for old, new in preflight.RENAMED.items():
        assert old not in known
        words = [word.strip("();,").split(".")[0] for word in new.split()]
        named = [word for word in words if "_" in word and not word.endswith("_")]
        assert named, old
        assert set(named) <= known, old
