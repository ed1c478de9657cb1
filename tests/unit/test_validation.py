"""What a variable may hold beyond its type, judged by its name."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.watchkeeper.catalogue import Entry, Project
from ansible.module_utils.watchkeeper.settings import read_settings
from ansible.module_utils.watchkeeper.validation import (
    check_format,
    check_groups,
    check_labels,
    check_names,
    check_ports,
    check_probes,
    check_prometheus,
    check_tags,
    problem,
)

from tests.unit.runs import ROOT

PROJECT = Project(
    ROOT,
    {
        "server": Entry("server", "Server", "archive", "monitoring", version="1.0.0", port=9000),
        "agent": Entry("agent", "Agent", "archive", "nodes", version="1.0.0", port=9001),
        "queue": Entry("queue", "Queue", "archive", "queues", version="1.0.0", port=9002),
    },
)
MODULES = {
    "http_2xx": {"prober": "http"},
    "health_json": {"prober": "http"},
    "tcp": {"prober": "tcp"},
    "icmp": {"prober": "icmp"},
    "smtp_banner": {"prober": "tcp"},
    "resolver": {"prober": "dns"},
}
PROMETHEUS: dict[str, Any] = {
    "prometheus_scrape_interval": "15s",
    "prometheus_scrape_timeout": "10s",
    "prometheus_scrape_configs": [],
    "prometheus_remote_write": [],
    "prometheus_rules": {},
    "prometheus_secrets": {},
}


@pytest.mark.parametrize(
    ("name", "kind", "good", "bad"),
    [
        ("x_port", "int", [1, 9090, 65535], [0, -1, 65536]),
        ("x_timeout", "int", [1, 600], [0, -5]),
        ("x_timeout", "str", ["10s", "1m30s"], ["10", "0s", "-1s", "ten", ""]),
        ("x_interval", "str", ["15s", "1h"], ["15", "15 s", "s"]),
        ("x_retention", "str", ["120h", "5d"], ["5 days"]),
        ("x_retention_time", "str", ["30d", "1y"], ["30", "0d"]),
        ("x_version", "str", ["", "3.13.2", "1.0.0-rc.1"], ["3.13", "latest", "v3.13.2", "3.13.x"]),
        ("x_size", "str", ["", "512MB", "1.5GiB", "100B"], ["512", "5 GB", "many"]),
        (
            "x_url",
            "str",
            ["", "https://example.com", "http://[2001:db8::1]:80/x", "http://localhost:8080"],
            ["example.com", "//example.com", "ftp://example.com", "https://", "https://a b", "http://a:99999"],
        ),
        (
            "x_listen_address",
            "str",
            ["127.0.0.1", "0.0.0.0", "localhost", "[::]", "[::1]"],  # noqa: S104
            ["eth0", "example.com", "127.0.0.1:80", "300.0.0.1", "::", "::1", "[127.0.0.1]", ""],
        ),
    ],
)
def test_formats(name: str, kind: str, good: list[Any], bad: list[Any]) -> None:
    """The end of a variable's name carries the format of its value."""
    for value in good:
        assert check_format(name, value, {"type": kind}) == "", value
    for value in bad:
        message = check_format(name, value, {"type": kind})
        assert message.startswith(f"{name} is {value!r}, but must be "), value
        assert message.endswith("; set it in the inventory's group_vars or host_vars")


def test_a_name_without_format_holds_anything() -> None:
    """Other names and other types are not judged."""
    assert check_format("x_thing", "anything", {"type": "str"}) == ""
    assert check_format("x_port", "http", {"type": "str"}) == ""


def test_a_secret_is_hidden() -> None:
    """A refused secret is not repeated, neither one by name nor one inside a larger value."""
    assert check_format("x_url", "planted", {"type": "str", "no_log": True}).startswith("x_url is (hidden)")
    assert "planted" not in problem("x", [{"basic_auth": {"password": "planted"}}], "otherwise")
    assert "shown" in problem("x", [{"password_file": "shown"}], "otherwise")


def test_names() -> None:
    """Only names with one of our prefixes are ours to judge."""
    variables = ["agent_port", "agent_prot", "agent_old", "server_qqqqqqqqqq", "other_thing", "agents_note", "agent"]
    found = check_names(variables, ["agent_port", "server_port"], ["agent", "server"], {"agent_old": "agent_port"})
    assert [line.split()[0] for line in found] == ["agent_old", "agent_prot", "server_qqqqqqqqqq"]
    assert found[0] == "agent_old is no longer read; use agent_port instead"
    assert "did you mean 'agent_port'?" in found[1]
    assert "; known: server_port; set it" in found[2]


def test_tags() -> None:
    """A tag that names no component would be a run that does nothing and looks fine."""
    assert check_tags(["all", "tagged", "always", "agent"], ["agent", "server"]) == []
    [message] = check_tags(["agent", "sever"], ["agent", "server"])
    assert message == "--tags sever names no component; did you mean 'server'?"


@pytest.mark.parametrize(
    ("groups", "mapping", "said"),
    [
        ({"all": ["a"], "monitoring": ["a"]}, {}, []),
        ({"all": ["a"], "watch": ["a"]}, {"monitoring": "watch"}, []),
        # A part that nobody plays is fine as long as nobody says who does.
        ({"all": ["a"], "monitoring": ["a"], "queues": []}, {}, []),
        ({"all": ["a"]}, {}, ["no host in the group 'monitoring'"]),
        ({"all": ["a"], "monitoring": []}, {}, ["no host in the group 'monitoring'"]),
        ({"all": [], "monitoring": []}, {}, ["'monitoring'", "'all'"]),
        (
            {"all": ["a"], "watch": ["a"]},
            {"monitoring": "wacth"},
            ["watchkeeper_groups.monitoring is 'wacth', but that group has no hosts; name a group of the inventory"],
        ),
        ({"all": ["a"], "monitoring": ["a"], "q": []}, {"queues": "q"}, ["watchkeeper_groups.queues is 'q'"]),
        ({"all": ["a"], "monitoring": ["a"]}, {"node": "all"}, ["watchkeeper_groups.node is not a part", "'nodes'?"]),
        ({"all": ["a"], "monitoring": ["a"]}, {"nodes": ["all"]}, ["watchkeeper_groups.nodes is ['all']"]),
        ({"all": ["a"], "monitoring": ["a"]}, {"nodes": None}, ["watchkeeper_groups.nodes is None"]),
    ],
)
def test_groups(groups: dict[str, list[str]], mapping: dict[str, Any], said: list[str]) -> None:
    """Every part that is mapped has hosts, and so has what nothing works without."""
    found = "\n".join(check_groups(PROJECT, groups, mapping))
    for words in said:
        assert words in found
    assert bool(found) == bool(said)


def test_ports() -> None:
    """One port is one component's, unless the other one is to be absent."""
    values: dict[str, Any] = {"agent_port": 9000, "server_port": 9000, "server_cluster_port": 9094, "queue_port": 9094}
    found = check_ports(["agent", "server", "queue"], values)
    assert found[0].startswith("server_port is 9000, but must be another port than agent_port on the same host")
    assert found[1].startswith("queue_port is 9094, but must be another port than server_cluster_port")
    assert len(found) == 2
    assert len(check_ports(["agent", "server", "queue"], {**values, "agent_state": "absent"})) == 1
    assert check_ports(["agent"], values) == []


def test_labels() -> None:
    """Reserved names and names that Prometheus cannot take."""
    assert check_labels("x", {"service": "api", "_a": 1}) == []
    for name in ("instance", "host", "job", "__address__", "a-b", "1st", ""):
        [message] = check_labels("x", {name: "planted"})
        assert message.startswith(f"x.{name} is ")


@pytest.mark.parametrize(
    "probe",
    [
        {"url": "https://example.com/health?x=1"},
        {"url": "https://example.com", "module": "health_json", "labels": {"service": "web"}},
        {"url": "https://example.com", "module": None, "labels": None},
        {"url": "db.example.com:5432", "module": "tcp"},
        {"url": "[2001:db8::1]:5432", "module": "tcp"},
        {"url": "mail.example.com:25", "module": "smtp_banner"},
        {"url": "example.com", "module": "icmp"},
        {"url": "192.0.2.53", "module": "resolver"},
    ],
)
def test_probes(probe: dict[str, Any]) -> None:
    """Each module has targets of its own form; it is the prober that decides, so that users' modules work too."""
    assert check_probes([probe], MODULES) == []


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ({"url": "example.com"}, "watchkeeper_probes[0].url is 'example.com'"),
        ({"url": ""}, "watchkeeper_probes[0].url is ''"),
        ({"url": "https://example.com", "module": "tcp"}, "host:port for the module tcp"),
        ({"url": "example.com", "module": "tcp"}, "host:port for the module tcp"),
        ({"url": "example.com:0", "module": "tcp"}, "host:port for the module tcp"),
        ({"url": ":80", "module": "smtp_banner"}, "host:port for the module smtp_banner"),
        ({"url": "https://example.com", "module": "icmp"}, "a host name or an address for the module icmp"),
        ({"url": "https://example.com", "module": "http"}, "which is no module; did you mean 'http_2xx'?"),
        ({"url": "https://example.com", "labels": {"job": "x"}}, "watchkeeper_probes[0].labels.job"),
    ],
)
def test_wrong_probes(probe: dict[str, Any], said: str) -> None:
    """The message names the place and what is allowed there."""
    [message] = check_probes([probe], MODULES)
    assert said in message


def test_a_probe_for_each_url() -> None:
    """Two probes of one URL would be one series."""
    probe = {"url": "https://example.com"}
    [message] = check_probes([probe, {"url": "https://example.org"}, probe, probe], MODULES)
    assert "watchkeeper_probes names 'https://example.com' twice" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"prometheus_scrape_timeout": "15s"}, []),
        ({"prometheus_scrape_timeout": "16s"}, ["at most prometheus_scrape_interval (15s)"]),
        ({"prometheus_scrape_configs": [{"job_name": "app"}, {"job_name": "app2"}]}, []),
        ({"prometheus_scrape_configs": [{"job_name": "node"}]}, ["prometheus_scrape_configs[0].job_name is 'node'"]),
        ({"prometheus_scrape_configs": [{"job_name": ""}]}, ["prometheus_scrape_configs[0] needs a job_name"]),
        (
            {"prometheus_remote_write": [{"url": "https://x", "basic_auth": {"password_file": "{config}/secrets/x"}}]},
            [],
        ),
        (
            {"prometheus_remote_write": [{"url": "https://x"}, {"oauth2": {"client_secret": "planted"}}]},
            ["prometheus_remote_write[1].oauth2.client_secret holds a secret", "client_secret_file"],
        ),
        ({"prometheus_rules": {"mine": {"groups": []}}}, []),
        ({"prometheus_rules": {"mine": {"rules": []}}}, ["prometheus_rules.mine", "a mapping with groups"]),
        ({"prometheus_rules": {"../mine": {"groups": []}}}, ["prometheus_rules.../mine", "letters, digits"]),
        ({"prometheus_rules": {"own": {"groups": []}}}, ["prometheus_rules.own has the name of a rule file"]),
        ({"prometheus_secrets": {"../x": "planted"}}, ["prometheus_secrets.../x is (hidden)", "letters, digits"]),
        ({"prometheus_secrets": {"x": "planted"}}, []),
    ],
)
def test_prometheus(changes: dict[str, Any], said: list[str]) -> None:
    """What the types of Prometheus's variables cannot say."""
    found = "\n".join(check_prometheus({**PROMETHEUS, **changes}, ["node"], ["own"]))
    for words in said:
        assert words in found
    assert bool(found) == bool(said)
    assert "planted" not in found


def test_settings_have_defaults() -> None:
    """A setting is the inventory's, run through the templates, else the documented default."""
    settings = read_settings(ROOT, {"watchkeeper_mirror_url": "a", "other": "b"}, lambda value: value + "!")
    assert settings["watchkeeper_mirror_url"] == "a!"
    assert settings["watchkeeper_download"] == "host"
    assert "other" not in settings
