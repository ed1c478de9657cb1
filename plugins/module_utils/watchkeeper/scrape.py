"""From inventory to scrape jobs: every component's hosts become targets, and nobody writes a host or a port twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import alerts
from .catalogue import Entry, Project, group_of

PING_JOB = "ping"
PROBE_JOB = "blackbox"
PROBER = "blackbox_exporter"
# The rule file with the number of targets that each job should have.
TARGET_RULES = "targets"
# A rename of the configuration directory is nothing that a file watch sees, so files are looked at this often.
REFRESH = "30s"
ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class Host:
    """What the monitoring host needs to know of another host."""

    name: str
    address: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    listens: Mapping[str, str]
    absent: frozenset[str]


@dataclass(frozen=True)
class Fleet:
    """All hosts, read once, and which of them run which component. `own` is the host that scrapes."""

    own: str
    hosts: Mapping[str, Host]
    members: Mapping[str, list[str]] = field(default_factory=dict)

    def running(self, component: str) -> list[Host]:
        """Return the hosts that run a component, in the inventory's order."""
        return [self.hosts[name] for name in self.members[component] if component not in self.hosts[name].absent]

    def reach(self, host: Host, component: str) -> str:
        """Return `address:port` of a component on a host as the scraping host sees it."""
        listen = host.listens.get(component, "")
        address = host.address
        if host.name == self.own:
            address = "127.0.0.1" if listen in ANYWHERE else listen
        if ":" in address and not address.startswith("["):
            address = f"[{address}]"
        return f"{address}:{host.ports[component]}"


def hosts_of(
    project: Project, component: str, groups: Mapping[str, list[str]], mapping: Mapping[str, str]
) -> list[str]:
    """Return the names of the hosts whose groups make them run a component."""
    return list(groups.get(group_of(project.entry(component).group, mapping), []))


def address_of(variables: Mapping[str, Any], name: str) -> str:
    """Return the name or address under which other hosts reach a host."""
    return str(variables.get("watchkeeper_address") or variables.get("ansible_host") or name)


def read_fleet(
    project: Project,
    own: str,
    groups: Mapping[str, list[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    mapping: Mapping[str, str],
) -> Fleet:
    """Read each host's variables once; the cost grows with the number of hosts and with nothing else."""
    members = {name: hosts_of(project, name, groups, mapping) for name in project.components}
    hosts = {}
    for name in dict.fromkeys(host for names in members.values() for host in names):
        variables = hostvars[name]
        hosts[name] = Host(
            name=name,
            address=address_of(variables, name),
            labels={key: str(value) for key, value in (variables.get("watchkeeper_labels") or {}).items()},
            ports={key: int(variables.get(f"{key}_port", entry.port)) for key, entry in project.components.items()},
            listens={key: str(variables.get(f"{key}_listen_address", "")).strip("[]") for key in project.components},
            absent=frozenset(key for key in project.components if variables.get(f"{key}_state") == "absent"),
        )
    return Fleet(own, hosts, members)


def alert_rules(project: Project, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the alert rule files by name: the shipped alerts and the user's, as `watchkeeper_alerts` wants them.

    Raises AlertError, which names the variable and what is allowed.
    """
    entries = alerts.load_catalogue(project.root / "files" / "alerts")
    entries = alerts.add_extras(entries, settings["watchkeeper_alerts_extra"])
    entries = alerts.apply_overrides(entries, settings["watchkeeper_alerts"])
    return dict(alerts.render_rules(entries, settings["watchkeeper_runbooks_url"]))


def _target(address: str, host: Host) -> dict[str, Any]:
    return {"targets": [address], "labels": {**host.labels, "instance": host.name, "host": host.name}}


def _by_file(job: str) -> dict[str, Any]:
    return {"file_sd_configs": [{"files": [f"targets/{job}.json"], "refresh_interval": REFRESH}]}


def _probing(job: str, prober: str) -> dict[str, Any]:
    """Return a job whose targets the blackbox exporter at `prober` probes with the module each target names."""
    return {
        "job_name": job,
        "metrics_path": "/probe",
        **_by_file(job),
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["module"], "target_label": "__param_module"},
            {"target_label": "__address__", "replacement": prober},
        ],
    }


def prometheus_files(
    project: Project,
    fleet: Fleet,
    config: Mapping[str, Any],
    probes: Iterable[Mapping[str, Any]],
    rules: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the files of Prometheus: `config` with its jobs, rules and Alertmanagers, the rules, and the target lists.

    `rules` are rule files by name; how many targets each job should have is a rule of its own, so that an alert can
    tell a target that vanished from one that was taken out of the inventory.
    """
    jobs: list[dict[str, Any]] = []
    targets: dict[str, list[dict[str, Any]]] = {}

    def add(entry: Entry) -> None:
        path = {} if entry.metrics_path == "/metrics" else {"metrics_path": entry.metrics_path}
        jobs.append({"job_name": entry.job, **path, **_by_file(entry.job)})
        targets[entry.job] = [_target(fleet.reach(host, entry.name), host) for host in fleet.running(entry.name)]

    for entry in project.components.values():
        if entry.job and fleet.running(entry.name):
            add(entry)
    probers = sorted(fleet.running(PROBER), key=lambda host: host.name != fleet.own)
    if probers:
        prober = fleet.reach(probers[0], PROBER)
        pings = [_target(host.address, host) for host in fleet.running("node_exporter")]
        for item in pings:
            item["labels"]["module"] = "icmp"
        urls = [
            {
                "targets": [probe["url"]],
                "labels": {
                    **{key: str(value) for key, value in (probe.get("labels") or {}).items()},
                    "instance": probe["url"],
                    "module": probe.get("module") or "http_2xx",
                },
            }
            for probe in probes
        ]
        for job, found in ((PING_JOB, pings), (PROBE_JOB, urls)):
            if found:
                jobs.append(_probing(job, prober))
                targets[job] = found

    alertmanagers = [fleet.reach(host, "alertmanager") for host in fleet.running("alertmanager")]
    whole = {
        **config,
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]} if alertmanagers else {},
        "scrape_configs": jobs + list(config.get("scrape_configs", [])),
    }
    expected = [
        {"record": "watchkeeper_targets_expected", "labels": {"job": job}, "expr": f"vector({len(items)})"}
        for job, items in targets.items()
    ]
    every_rule = {TARGET_RULES: {"groups": [{"name": TARGET_RULES, "rules": expected}]}, **rules}
    return [
        {"path": "prometheus.yml", "yaml": whole},
        *({"path": f"rules/{name}.yml", "yaml": content} for name, content in every_rule.items()),
        *(
            {"path": f"targets/{job}.json", "content": json.dumps(items, indent=1) + "\n"}
            for job, items in targets.items()
        ),
    ]
