"""From inventory to scrape jobs: every component's hosts become targets, and nobody writes a host or a port twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import alerts, prices, slo
from .catalogue import Entry, Project, group_of
from .instances import Question
from .settings import documented
from .validation import check_slos

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
    questions: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    price: prices.Price | None = None


@dataclass(frozen=True)
class Fleet:
    """All hosts, read once, and which of them run which component. `own` is the host that scrapes."""

    own: str
    hosts: Mapping[str, Host]
    members: Mapping[str, list[str]] = field(default_factory=dict)

    def running(self, component: str) -> list[Host]:
        """Return the hosts that run a component, in the inventory's order."""
        return [self.hosts[name] for name in self.members[component] if component not in self.hosts[name].absent]

    def reach(self, host: Host, component: str, port: int = 0) -> str:
        """Return `address:port` of a component on a host as the scraping host sees it; its own port unless given."""
        listen = host.listens.get(component, "")
        address = host.address
        if host.name == self.own:
            address = "127.0.0.1" if listen in ANYWHERE else listen
        if ":" in address and not address.startswith("["):
            address = f"[{address}]"
        return f"{address}:{port or host.ports[component]}"


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
            absent=frozenset(key for key, entry in project.components.items() if not entry.wanted(variables)),
            questions={
                key: _questions(project, entry, variables)
                for key, entry in project.components.items()
                if entry.instances and name in members[key]
            },
            price=prices.read(name, variables),
        )
    return Fleet(own, hosts, members)


def _questions(project: Project, entry: Entry, variables: Mapping[str, Any]) -> tuple[Question, ...]:
    """Return what is asked of an exporter on a host for all its instances."""
    if entry.instances is None:
        return ()
    option = documented(project.root, entry.name)[entry.instances.variable]
    items = variables.get(entry.instances.variable, option["default"])
    port = int(variables.get(f"{entry.name}_port", entry.port))
    return tuple(item for item in entry.instances.questions(entry.job, port, option, items) if item.port)


def alert_rules(project: Project, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule files by name: the shipped alerts and the user's, as `watchkeeper_alerts` wants them, and what is
    recorded for the objectives.

    Raises AlertError, which names the variable and what is allowed.
    """
    for wrong in check_slos(settings):
        raise alerts.AlertError(wrong)
    shipped = alerts.load_catalogue(project.root / "files" / "alerts")
    entries = alerts_as_wanted(shipped, settings)
    files: dict[str, Any] = alerts.render_rules(entries, settings["watchkeeper_runbooks_url"])
    slos = slo.read_slos(settings, documented(project.root, "watchkeeper")[slo.VARIABLE])
    if slos:
        recording = slo.recording_rules(slos, slo.windows_of((*shipped, *entries)))
        files.setdefault(slo.GROUP, {"groups": []})["groups"].append(recording)
    return files


def alerts_as_wanted(shipped: Sequence[alerts.Alert], settings: Mapping[str, Any]) -> tuple[alerts.Alert, ...]:
    """Return the shipped alerts and the user's own as `watchkeeper_alerts` wants them, without those that are off."""
    entries = alerts.add_extras(shipped, settings["watchkeeper_alerts_extra"])
    return alerts.apply_overrides(entries, settings["watchkeeper_alerts"])


def _target(address: str, host: Host, labels: Mapping[str, str] | None = None, name: str = "") -> dict[str, Any]:
    instance = f"{host.name}/{name}" if name else host.name
    return {
        "targets": [address],
        "labels": {**host.labels, "instance": instance, "host": host.name, **(labels or {})},
    }


def _targets(fleet: Fleet, entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield job and target for all that Prometheus asks of a component."""
    own = {} if entry.metrics_path == "/metrics" else {"__metrics_path__": entry.metrics_path}
    for host in fleet.running(entry.name):
        if entry.instances is None:
            yield entry.job, _target(fleet.reach(host, entry.name), host, {**own, **entry.labels})
        for item in host.questions.get(entry.name, ()):
            asked = {f"__param_{key}": value for key, value in item.parameters.items()}
            labels = {**entry.labels, **item.labels, "__metrics_path__": item.path, **asked}
            yield item.job, _target(fleet.reach(host, entry.name, item.port), host, labels, item.name)


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
    tell a target that vanished from one that was taken out of the inventory. What hosts cost is recorded, too.
    """
    jobs: list[dict[str, Any]] = []
    targets: dict[str, list[dict[str, Any]]] = {}

    for entry in project.components.values():
        detail = entry.instances.detail if entry.instances else None
        for job, target in _targets(fleet, entry) if entry.job else ():
            if job not in targets:
                jobs.append({"job_name": job, **_by_file(job)})
                if detail and job == detail.job:
                    kept = {"source_labels": ["__name__"], "regex": detail.keep, "action": "keep"}
                    jobs[-1]["metric_relabel_configs"] = [kept]
            targets.setdefault(job, []).append(target)
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
    priced = prices.recording_rules({host.name: host.price for host in fleet.hosts.values() if host.price})
    every_rule = {TARGET_RULES: {"groups": [{"name": TARGET_RULES, "rules": expected}]}, **priced, **rules}
    return [
        {"path": "prometheus.yml", "yaml": whole},
        *({"path": f"rules/{name}.yml", "yaml": content} for name, content in every_rule.items()),
        *(
            {"path": f"targets/{job}.json", "content": json.dumps(items, indent=1) + "\n"}
            for job, items in targets.items()
        ),
    ]
