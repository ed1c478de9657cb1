"""What the controller makes of a component task: the declaration that goes to the host, and what does not."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project, load_lock
from ansible.module_utils.watchkeeper.declaration import Declaration

from plugins.action import component
from tests.unit.runs import ROOT, Run, inventory, run_site

PROJECT = Project.load(ROOT)
# What a monitoring host runs; of the log agents that is one.
COMPONENTS = [
    name
    for name in PROJECT.components_of(["monitoring"], {})
    if PROJECT.entry(name).wanted({}) and PROJECT.entry(name).kind != "host"
]
# Nobody has chosen an error tracker: what an earlier choice has left goes.
GONE = ["bugsink", "sentry_self_hosted"]
# Those that do not run under their own name.
ACCOUNTS = {"alloy": "log_agent", "promtail": "log_agent"}
# What only Grafana's own interface can bring to what is declared costs executions of its own.
INSIDE = ["grafana_admin_password", "grafana_datasource"]
SLACK_URL = "https://hooks.slack.example/services/T0/B0/planted-slack"
KEY = "plantedkey0123456789abcdefabcdef"
PASSWORD = "planted-password"  # noqa: S105
REMOTE = "planted-remote"
every_component = pytest.mark.parametrize("name", COMPONENTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One monitoring host as the defaults make it, with planted secrets, at the highest verbosity."""
    hosts = inventory(
        {
            "server": {
                "alertmanager_smtp_smarthost": "smtp.example.com:587",
                "alertmanager_smtp_from": "alerts@example.com",
                "alertmanager_smtp_auth_username": "apikey",
                "alertmanager_smtp_auth_password": PASSWORD,
                "alertmanager_slack_api_url": SLACK_URL,
                "alertmanager_pagerduty_routing_key": KEY,
                "alertmanager_receivers": [
                    {"name": "critical", "email": [{"to": "ops@example.com"}], "slack": [{}], "pagerduty": [{}]}
                ],
                "prometheus_secrets": {"remote": REMOTE},
                "prometheus_remote_write": [
                    {
                        "url": "https://metrics.example.com/write",
                        "basic_auth": {"username": "u", "password_file": "{config}/secrets/remote"},
                    }
                ],
                "watchkeeper_probes": [{"url": "https://example.com"}],
            }
        },
        {"web": {"node_exporter_state": "absent"}},
    )
    run = run_site(tmp_path_factory.mktemp("plain"), hosts, "-vvv", "--diff", CI="true")
    assert run.code == 0, run.output
    return run


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two monitoring hosts with settings of their own, in check mode."""
    hosts = inventory(
        {
            "one": {
                "prometheus_version": "3.5.3",
                "prometheus_retention_time": "7d",
                "prometheus_retention_size": "5GB",
                "prometheus_external_url": "https://prometheus.example.com/",
                "prometheus_arguments": ["--log.format=json"],
                "prometheus_unit_settings": {"MemoryMax": "2G", "PrivateTmp": False},
            },
            "two": {
                "prometheus_retention_size": "5GB",
                "prometheus_listen_address": "localhost",
                "node_exporter_listen_address": "10.0.0.2",
                "node_exporter_port": 9200,
                "node_exporter_collectors_enabled": ["processes"],
                "node_exporter_collectors_disabled": ["wifi"],
                "watchkeeper_public_address": "two.example.com",
                "alertmanager_version": "0.28.1",
            },
        },
        watchkeeper_allow_unpinned=["prometheus", "alertmanager"],
        watchkeeper_mirror_url="https://mirror.example.com",
        watchkeeper_ready_timeout=7,
    )
    run = run_site(tmp_path_factory.mktemp("tuned"), hosts, "--check")
    assert run.code == 0, run.output
    return run


def documented() -> dict[str, Any]:
    """Return the options of the module's documentation."""
    text = (ROOT / "library" / "component.py").read_text(encoding="utf-8")
    found = re.search(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL)
    assert found
    options: dict[str, Any] = yaml.safe_load(found[1])["options"]
    return options


def test_arguments_are_the_documented_ones() -> None:
    """One list of options, read by people and by the task."""

    def compare(spec: dict[str, Any], options: dict[str, Any]) -> None:
        assert set(spec) == set(options)
        for name, option in options.items():
            for key in ("type", "default", "required", "choices", "elements"):
                assert spec[name].get(key) == option.get(key), name
            compare(spec[name].get("options", {}), option.get("suboptions", {}))

    compare(component.argument_spec(), documented())


@pytest.mark.parametrize("name", [name for name, entry in PROJECT.components.items() if entry.kind != "host"])
def test_roles_use_documented_arguments(name: str) -> None:
    """Down to the keys of the unit, the files, the reload and the readiness probe."""
    tasks = yaml.safe_load((ROOT / "roles" / name / "tasks" / "main.yml").read_text(encoding="utf-8"))
    [task] = [item for item in tasks if "component" in item]
    options = documented()
    assert set(task["component"]) <= set(options)
    for key, value in task["component"].items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and "suboptions" in options[key]:
                assert set(item) <= set(options[key]["suboptions"])


@every_component
def test_one_execution_for_each_component(plain: Run, tuned: Run, name: str) -> None:
    """Nothing else is executed for it: `Run.component` finds exactly one."""
    for run, host in ((plain, "server"), (tuned, "one"), (tuned, "two")):
        assert set(run.component(name, host).arguments) >= {"declaration", "secrets", "pull"}
    sent = [item for item in plain.sent if item.host == "server"]
    assert len(sent) == len([*GONE, *COMPONENTS, *INSIDE, "targets"])


def test_order_of_a_rollout(plain: Run) -> None:
    """What others report to, then the catalogue's: exporters, who scrapes them, who shows it; at last the proof.

    What every host has may come sooner: Ansible includes a role for all hosts where the first of them wants it.
    """
    everywhere = [name for name in COMPONENTS[1:] if PROJECT.entry(name).group == "nodes"]
    sent = [item.arguments.get("name", item.module) for item in plain.sent if item.host == "server"]
    assert [name for name in sent if name not in everywhere] == [
        *GONE,
        *(name for name in COMPONENTS if name not in everywhere),
        *INSIDE,
        "targets",
    ]
    assert set(everywhere) < set(sent)


@every_component
def test_declaration_is_whole(plain: Run, name: str) -> None:
    """The host can read it, and no token is left where a path should be."""
    arguments = plain.component(name, "server").arguments
    want = Declaration.from_dict(arguments["declaration"], arguments["secrets"])
    assert json.loads(json.dumps(want.to_dict())) == [arguments["declaration"], arguments["secrets"]]
    entry = PROJECT.entry(name)
    account = ACCOUNTS.get(name, name)
    assert (want.name, want.manifest.account, want.manifest.version) == (name, account, entry.version)
    assert want.manifest.listen[0].port == entry.port
    for text in (want.unit, *(item.content for item in want.files)):
        assert not re.search(r"\{(config|release|data)\}", text)
    assert set(want.artefact.sources) == set(load_lock(ROOT)[name][entry.version])
    assert arguments["pull"] is True


@every_component
def test_readiness(plain: Run, name: str) -> None:
    """The catalogue's path at the address on which the program listens."""
    entry = PROJECT.entry(name)
    manifest = plain.component(name, "server").arguments["declaration"]["manifest"]
    timeout = {"prometheus": 300, "loki": 300, "grafana": 180}.get(name, 60)
    assert manifest["ready"] == {
        "url": f"http://127.0.0.1:{entry.port}{entry.ready}",
        "status": 200,
        "timeout": timeout,
    }


@pytest.mark.parametrize(
    ("name", "port", "prefix"),
    [
        ("prometheus", 9090, "prometheus_config_last_reload"),
        ("alertmanager", 9093, "alertmanager_config_last_reload"),
        ("blackbox_exporter", 9115, "blackbox_exporter_config_last_reload"),
        ("alloy", 12345, "alloy_config_last_load"),
    ],
)
def test_reload(plain: Run, name: str, port: int, prefix: str) -> None:
    """By SIGHUP, proven by the program's own metrics."""
    declaration = plain.component(name, "server").arguments["declaration"]
    assert declaration["manifest"]["reload"] == {"metrics": f"http://127.0.0.1:{port}/metrics", "prefix": prefix}
    assert "ExecReload=/bin/kill -HUP $MAINPID" in declaration["unit"].splitlines()


def test_without_configuration_there_is_no_reload(plain: Run) -> None:
    """A changed command line is a restart."""
    declaration = plain.component("node_exporter", "server").arguments["declaration"]
    assert declaration["manifest"]["reload"] is None
    assert "ExecReload" not in declaration["unit"]
    assert declaration["files"] == []
    assert declaration["checks"] == []


@every_component
def test_unit(plain: Run, name: str) -> None:
    """The release of this version under the component's own account, in the sandbox."""
    sent = plain.component(name, "server")
    declaration = sent.arguments["declaration"]
    lines = declaration["unit"].splitlines()
    assert lines[0].startswith("# Managed by Watchkeeper")
    assert f"# run: {declaration['run']}" in lines
    assert f"Description={PROJECT.entry(name).title}" in lines
    assert f"Documentation={PROJECT.entry(name).documentation}" in lines
    program = "bin/grafana" if name == "grafana" else name
    assert sent.command()[0] == f"/opt/watchkeeper/{name}/{PROJECT.entry(name).version}/{program}"
    account = ACCOUNTS.get(name, name)
    for line in (f"User={account}", f"Group={account}", "NoNewPrivileges=true", "WantedBy=multi-user.target"):
        assert line in lines
    capabilities = "CAP_NET_RAW" if name == "blackbox_exporter" else ""
    assert f"CapabilityBoundingSet={capabilities}" in lines
    assert f"AmbientCapabilities={capabilities}" in lines


@pytest.mark.parametrize(
    ("name", "flags", "paths"),
    [
        (
            "prometheus",
            {
                "--config.file": "{config}/prometheus.yml",
                "--storage.tsdb.path": "/var/lib/prometheus",
                "--web.listen-address": "127.0.0.1:9090",
                "--web.enable-lifecycle": "",
            },
            {
                "prometheus.yml",
                "rules/targets.yml",
                "rules/infrastructure.yml",
                "targets/node.json",
                "targets/ping.json",
            },
        ),
        (
            "alertmanager",
            {
                "--config.file": "{config}/alertmanager.yml",
                "--storage.path": "/var/lib/alertmanager",
                "--web.listen-address": "127.0.0.1:9093",
                "--cluster.listen-address": "",
                # Go's durations know no days.
                "--data.retention": "432000000ms",
                "--dispatch.start-delay": "60000ms",
            },
            {"alertmanager.yml", "templates/watchkeeper.tmpl"},
        ),
        (
            "blackbox_exporter",
            {"--config.file": "{config}/blackbox.yml", "--web.listen-address": "127.0.0.1:9115"},
            {"blackbox.yml"},
        ),
        (
            "node_exporter",
            {
                "--web.listen-address": "0.0.0.0:9100",
                "--collector.textfile.directory": "/var/lib/node_exporter",
                "--collector.systemd": "",
            },
            set(),
        ),
    ],
)
def test_command_and_files(plain: Run, name: str, flags: dict[str, str], paths: set[str]) -> None:
    """Final paths in the command line; the files themselves beside them."""
    sent = plain.component(name, "server")
    config = f"/etc/watchkeeper/{name}/run-{sent.arguments['declaration']['run']}/config"
    found = dict(word.partition("=")[::2] for word in sent.command()[1:])
    for flag, value in flags.items():
        assert found[flag] == value.replace("{config}", config), flag
    assert paths <= {item["path"] for item in sent.arguments["declaration"]["files"]}


@pytest.mark.parametrize(
    ("name", "program", "words"),
    [
        ("prometheus", "promtool", ["check", "config", "{config}/prometheus.yml"]),
        ("alertmanager", "amtool", ["check-config", "{config}/alertmanager.yml"]),
        ("blackbox_exporter", "blackbox_exporter", ["--config.check", "--config.file={config}/blackbox.yml"]),
    ],
)
def test_checks(plain: Run, name: str, program: str, words: list[str]) -> None:
    """By the candidate version's own checker; the host puts the candidate's paths in."""
    check = plain.component(name, "server").arguments["declaration"]["checks"][0]
    assert check[0] == "{release}/" + program
    assert [word for word in check if word in words] == words


def test_yaml_files_say_who_wrote_them(plain: Run) -> None:
    """So that nobody edits them in vain."""
    for name, path in (("prometheus", "prometheus.yml"), ("alertmanager", "alertmanager.yml")):
        assert plain.component(name, "server").file(path).startswith("# Managed by Watchkeeper: ")


def test_secrets_are_files_and_nothing_else(plain: Run) -> None:
    """Not in the unit, the command line, a configuration or a check; the configuration names their final paths."""
    alertmanager = plain.component("alertmanager", "server").arguments
    assert alertmanager["secrets"] == {
        "secrets/smtp_auth_password": PASSWORD,
        "secrets/slack_api_url": SLACK_URL,
        "secrets/pagerduty_routing_key": KEY,
    }
    prometheus = plain.component("prometheus", "server")
    assert prometheus.arguments["secrets"] == {"secrets/remote": REMOTE}
    for item in plain.sent:
        assert "planted" not in json.dumps(item.arguments.get("declaration"))
    run = prometheus.arguments["declaration"]["run"]
    assert prometheus.data("prometheus.yml")["remote_write"][0]["basic_auth"] == {
        "username": "u",
        "password_file": f"/etc/watchkeeper/prometheus/run-{run}/config/secrets/remote",
    }


def test_a_run_shows_no_secret(plain: Run) -> None:
    """Neither on the terminal nor in what callbacks get, though the host's answer holds its arguments."""
    assert "planted" not in plain.output
    assert "planted" not in json.dumps(plain.results)
    for item in plain.results:
        assert item["action"] != "component" or "invocation" not in item["result"]


def test_removal_needs_no_declaration(plain: Run) -> None:
    """Name and data directories suffice."""
    arguments = plain.component("node_exporter", "web").arguments
    own = {key: value for key, value in arguments.items() if not key.startswith("_ansible")}
    assert own == {
        "name": "node_exporter",
        "state": "absent",
        "data": ["/var/lib/node_exporter"],
        "purge_data": False,
    }


def test_closing_table_gets_a_page(plain: Run, tuned: Run) -> None:
    """Loopback as it is, every address by the host's public name."""

    def page(run: Run, host: str, name: str) -> str:
        found: list[str] = [
            item["result"]["component"]["url"]
            for item in run.results
            if item["host"] == host and item["result"].get("component", {}).get("name") == name
        ]
        return found[0]

    assert page(plain, "server", "prometheus") == "http://127.0.0.1:9090/"
    assert page(plain, "server", "node_exporter") == "http://server:9100/metrics"
    assert page(tuned, "two", "alertmanager") == "http://two.example.com:9093/"
    assert page(tuned, "two", "node_exporter") == "http://10.0.0.2:9200/metrics"


@pytest.mark.parametrize(
    ("host", "flags", "retention"),
    [
        ("one", {"--storage.tsdb.retention.time": "7d", "--storage.tsdb.retention.size": "5GB"}, None),
        ("two", {}, {"time": "30d", "size": "5GB"}),
    ],
)
def test_retention_by_version(tuned: Run, host: str, flags: dict[str, str], retention: dict[str, str] | None) -> None:
    """3.5.3 has it on the command line, 3.13.2 in the file, and none in both."""
    sent = tuned.component("prometheus", host)
    found = dict(word.partition("=")[::2] for word in sent.command()[1:])
    assert {flag: value for flag, value in found.items() if "retention" in flag} == flags
    assert sent.data("prometheus.yml").get("storage", {}).get("tsdb", {}).get("retention") == retention


def test_lifecycle_endpoint_is_for_the_host_itself(plain: Run, tuned: Run) -> None:
    """It has no login, so it is off as soon as others can reach it."""
    lifecycle = "--web.enable-lifecycle"
    assert lifecycle in plain.component("prometheus", "server").command()
    assert lifecycle in tuned.component("prometheus", "two").command()
    one = tuned.component("prometheus", "one").command()
    assert "--web.listen-address=0.0.0.0:9090" in one
    assert lifecycle not in one


def test_settings_of_the_user_win(tuned: Run) -> None:
    """Arguments come last, unit settings replace the sandbox's, and ports and addresses are the host's own."""
    sent = tuned.component("prometheus", "one")
    lines = sent.arguments["declaration"]["unit"].splitlines()
    assert sent.command()[-1] == "--log.format=json"
    assert "--web.external-url=https://prometheus.example.com/" in sent.command()
    assert "MemoryMax=2G" in lines
    assert [line for line in lines if line.startswith("PrivateTmp=")] == ["PrivateTmp=false"]
    assert sent.arguments["declaration"]["artefact"]["sources"]["arm64"] == {
        "url": "https://mirror.example.com/prometheus/3.5.3/prometheus-3.5.3.linux-arm64.tar.gz",
        "sha256": "",
    }
    assert tuned.component("node_exporter", "one").arguments["declaration"]["manifest"]["ready"]["timeout"] == 7
    node = tuned.component("node_exporter", "two")
    assert {"--collector.processes", "--no-collector.wifi"} <= set(node.command())
    assert node.arguments["declaration"]["manifest"]["ready"]["url"] == "http://10.0.0.2:9200/metrics"
    alertmanager = tuned.component("alertmanager", "two").command()
    assert not any(word.startswith("--dispatch.start-delay") for word in alertmanager)


def test_several_alertmanagers_know_each_other(tuned: Run) -> None:
    """And one alone has no cluster port open, which the plain run shows."""
    assert "--cluster.peer=two:9094" in tuned.component("alertmanager", "one").command()
    assert "--cluster.peer=one:9094" in tuned.component("alertmanager", "two").command()


def test_check_mode_reaches_the_host(plain: Run, tuned: Run) -> None:
    """The host compares and changes nothing; the proof at the end is left out."""
    assert all(item.arguments["_ansible_check_mode"] for item in tuned.sent)
    assert {item.module for item in tuned.sent} == {"component", "sentry_self_hosted", *INSIDE}
    assert not any(item.arguments["_ansible_check_mode"] for item in plain.sent)


def test_a_change_is_a_new_run_only_where_a_restart_is_needed(plain: Run, tuned: Run) -> None:
    """The identifier follows the command line, not the content of files that are reloaded."""
    assert (
        len(
            {
                run.component("prometheus", host).arguments["declaration"]["run"]
                for run, host in ((plain, "server"), (tuned, "one"), (tuned, "two"))
            }
        )
        == 3
    )
    same = [tuned.component("blackbox_exporter", host).arguments["declaration"] for host in ("one", "two")]
    assert same[0]["run"] == same[1]["run"]
    assert same[0]["config"] == same[1]["config"]


SINGLE = """
- name: Single tasks
  hosts: all
  gather_facts: false
  tasks:
    - name: A file of each kind
      component:
        name: node_exporter
        version: 9.9.9
        data: [/var/lib/first, /var/lib/second]
        account: somebody
        replaces: [redis_exporter, alloy, redis_exporter]
        files:
          - path: rendered.conf
            template: rendered.conf.j2
          - path: deep/content.conf
            content: "at {config}/deep, not {data}, {{ word }}\\n"
            restart: true
          - path: data.yml
            yaml: {b: [1, "yes"], a: "{{ word }}"}
        secrets: {secrets/key: "{{ secret }}"}
        check: [["{release}/check", "{config}/data.yml"]]
        unit:
          description: Something else
          command:
            - "{release}/node_exporter"
            - --config={config}/rendered.conf
            - --data={data}
            - two words
            - 100%
            - $HOME
          environment: {WHERE: "{config}/here", NUMBER: 3}
        reload: {}
        ready: {url: "http://127.0.0.1:1/other", status: 204, timeout: 5}
        listen: ["[::]:9100", "127.0.0.1:9101"]
"""
REFUSED = {
    "two contents": ("files: [{path: a, content: x, yaml: {}}]", "'a' needs exactly one of template, content and yaml"),
    "no content": ("files: [{path: a}]", "'a' needs exactly one of template, content and yaml"),
    "same path": ("files: [{path: a, content: x}, {path: a, content: y}]", "'a' is declared more than once"),
    "path outside": ("files: [{path: ../a, content: x}]", "relative path inside the configuration directory"),
    "secret elsewhere": ("secrets: {key: planted}", "'key' must lie below secrets/"),
    "listen without port": ("listen: [127.0.0.1]", "'127.0.0.1' is not of the form address:port"),
    "listen on port 0": ("listen: ['127.0.0.1:0']", "'127.0.0.1:0' is not of the form address:port"),
    "unknown key": ("comand: x", "comand"),
    "replaces nobody": (
        "replaces: [promtial]",
        "component node_exporter: replaces: there is no component 'promtial'; did you mean 'promtail'?",
    ),
    "replaces itself": (
        "replaces: [node_exporter]",
        "component node_exporter: replaces: a component cannot replace itself",
    ),
    "unpinned": ("version: 9.9.8", "node_exporter 9.9.8 has no checksum"),
}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Component tasks by themselves: one that uses everything, and some that are refused."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "templates").mkdir()
    (folder / "templates" / "rendered.conf.j2").write_text(
        "{% if word %}\nword is {{ word }}\n{% endif %}\nback\\\\slash stays\nconfig: {config}/x\n", encoding="utf-8"
    )
    [play] = yaml.safe_load(SINGLE)
    unit = {"command": ["{release}/x"]}
    for title, (extra, _said) in REFUSED.items():
        arguments = {"name": "node_exporter", "unit": unit, **yaml.safe_load(extra)}
        play["tasks"].append({"name": title, "component": arguments, "ignore_errors": True})
    play["tasks"] += [
        {"name": "no unit", "component": {"name": "node_exporter"}, "ignore_errors": True},
        {"name": "no such", "component": {"name": "node_exporte", "unit": unit}, "ignore_errors": True},
    ]
    hosts = inventory({"server": {}}, word="{{ 'wo' ~ 'rd' }}", secret="planted")  # noqa: S106
    play["tasks"][0]["vars"] = {"watchkeeper_allow_unpinned": ["node_exporter"]}
    return run_site(folder, hosts, playbook=yaml.safe_dump([play], sort_keys=False))


def test_contents_of_files(single: Run) -> None:
    """Templates, plain contents and data; tokens become paths, other braces stay."""
    assert single.code == 0, single.output
    [sent] = single.sent
    config = f"/etc/watchkeeper/node_exporter/run-{sent.arguments['declaration']['run']}/config"
    assert sent.file("rendered.conf") == f"word is word\nback\\\\slash stays\nconfig: {config}/x\n"
    assert sent.file("deep/content.conf") == f"at {config}/deep, not {{data}}, word\n"
    assert sent.file("data.yml").splitlines()[1:] == ["b:", "- 1", "- 'yes'", "a: word"]
    assert sent.arguments["secrets"] == {"secrets/key": "planted"}


def test_every_part_of_a_task_arrives(single: Run) -> None:
    """Unit, environment, readiness, addresses, data and account."""
    declaration = single.sent[0].arguments["declaration"]
    config = f"/etc/watchkeeper/node_exporter/run-{declaration['run']}/config"
    lines = declaration["unit"].splitlines()
    release = "/opt/watchkeeper/node_exporter/9.9.9"
    words = f'{release}/node_exporter --config={config}/rendered.conf --data=/var/lib/first "two words" 100%% $$HOME'
    assert f"ExecStart={words}" in lines
    assert "User=somebody" in lines
    assert "Description=Something else" in lines
    assert [line for line in lines if line.startswith("Environment=")] == [
        "Environment=NUMBER=3",
        f"Environment=WHERE={config}/here",
    ]
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == [
        "ReadWritePaths=/var/lib/first",
        "ReadWritePaths=/var/lib/second",
    ]
    assert declaration["manifest"] == {
        "name": "node_exporter",
        "account": "somebody",
        "version": "9.9.9",
        "ready": {"url": "http://127.0.0.1:1/other", "status": 204, "timeout": 5},
        "reload": {"metrics": "", "prefix": ""},
        "listen": [{"address": "::", "port": 9100}, {"address": "127.0.0.1", "port": 9101}],
        "data": ["/var/lib/first", "/var/lib/second"],
        "replaces": ["redis_exporter", "alloy"],
    }
    head = lines[: lines.index("[Service]")]
    assert [line for line in head if line.endswith(".service")] == [
        "Conflicts=redis_exporter.service",
        "Before=redis_exporter.service",
        "Conflicts=alloy.service",
        "After=alloy.service",
    ]
    assert declaration["checks"] == [["{release}/check", "{config}/data.yml"]]


@pytest.mark.parametrize(
    ("title", "said"),
    [
        *((title, said) for title, (_extra, said) in REFUSED.items()),
        ("no unit", "component node_exporter: unit is required"),
        ("no such", "there is no component 'node_exporte'; did you mean 'node_exporter'?"),
    ],
)
def test_wrong_tasks_reach_no_host(single: Run, title: str, said: str) -> None:
    """A mistake in a role is told on the controller."""
    [message] = [str(item["result"]["msg"]) for item in single.results if item.get("task") == title]
    assert said in message
    assert "planted" not in message
    assert len(single.sent) == 1


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Serve one file."""
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a mirror on loopback."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    Quiet.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_archive_from_the_controller(tmp_path: Path, mirror: tuple[str, Path]) -> None:
    """Fetched and checked once for all hosts, pushed to those that ask; a wrong checksum ends the run."""
    url, folder = mirror
    archive = folder / "node_exporter" / "1.0.0" / "node_exporter-1.0.0.linux-amd64.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"an archive")
    sha256 = hashlib.sha256(b"an archive").hexdigest()
    lock = tmp_path / "lock.yml"
    lock.write_text(f"node_exporter: {{1.0.0: {{amd64: {{sha256: {sha256}}}}}}}", encoding="utf-8")
    hosts = inventory(
        {"server": {}},
        {"web": {}, "db": {}},
        node_exporter_version="1.0.0",
        watchkeeper_download="controller",
        watchkeeper_lock_file=str(lock),
        watchkeeper_mirror_url=url,
        watchkeeper_allow_unpinned=COMPONENTS[1:],
    )
    only = ("--tags", "node_exporter", "--forks=1")
    run = run_site(tmp_path / "run", hosts, *only, no_proxy="127.0.0.1")
    assert run.code == 0, run.output
    for host in ("server", "web", "db"):
        asked, brought = [item for item in run.sent if item.host == host]
        assert (asked.arguments["pull"], asked.archive) == (False, "")
        assert brought.archive == sha256
    assert Quiet.asked == ["/node_exporter/1.0.0/node_exporter-1.0.0.linux-amd64.tar.gz"]

    lock.write_text(lock.read_text(encoding="utf-8").replace(sha256, "ab" * 32), encoding="utf-8")
    wrong = run_site(tmp_path / "run", hosts, *only, no_proxy="127.0.0.1")
    assert wrong.code != 0
    assert f"has SHA-256 {sha256}, but the lock file says {'ab' * 32}" in wrong.errors["web"]
    assert not any(item.archive for item in wrong.sent)
    assert len(list((tmp_path / "run" / "cache" / "watchkeeper").iterdir())) == 1
