"""What a variable may hold beyond its type, and how a wrong one is reported.

The house's names carry the format: `<role>_port` is a TCP port, `<role>_*_interval` a duration, and so on. Roles need
no list of their own; what is particular to one role is checked by that role's code.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from . import slo
from .catalogue import DEFAULT_GROUPS, Project, group_of, suggestion
from .durations import parse_duration
from .prices import allowed_currency, allowed_price

WHERE = "set it in the inventory's group_vars or host_vars"
_SIZE = re.compile(r"\d+(\.\d+)?(B|[KMGTPE]i?B)")
_VERSION = re.compile(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.-]+)?")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# Keys by which Prometheus's own configuration takes a secret in the clear, each with a *_file twin.
INLINE_SECRETS = {
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "secret_key",
    "api_key",
    "key",
}


def problem(name: str, value: Any, allowed: str, hidden: bool = False) -> str:
    """Return the sentence that tells a person what is wrong with a variable and what to do."""
    shown = "(hidden)" if hidden or _inline_secrets(value, name) else repr(value)
    return f"{name} is {shown}, but must be {allowed}; {WHERE}"


def allowed_port(value: Any) -> str:
    """Return what a TCP port must be, or nothing when this is one."""
    return "" if 0 < int(value) < 65536 else "a TCP port from 1 to 65535"


def _version(value: Any) -> str:
    return (
        ""
        if value == "" or _VERSION.fullmatch(str(value))
        else "a version such as 3.13.2, or empty for the catalogue's"
    )


def allowed_url(value: Any) -> str:
    """Return what a URL must be, or nothing when this is one or is empty."""
    allowed = "a URL that starts with http:// or https://, or empty"
    if value == "":
        return ""
    try:
        parts = urlsplit(str(value))
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return allowed
    return "" if fine and not re.search(r"\s", str(value)) else allowed


def _address(value: Any) -> str:
    text = str(value)
    try:
        # A port follows, so an IPv6 address stands in brackets.
        fine = ipaddress.ip_address(text.strip("[]")).version == (6 if text.startswith("[") else 4)
    except ValueError:
        fine = text == "localhost"
    return "" if fine else "an IP address of the host (IPv6 in brackets), 0.0.0.0, [::] or localhost"


def _duration(value: Any) -> str:
    try:
        fine = parse_duration(str(value)) > 0
    except ValueError:
        fine = False
    return "" if fine else "a Prometheus duration above zero, such as 15s, 5m, 1h30m or 30d"


def _size(value: Any) -> str:
    return "" if value == "" or _SIZE.fullmatch(str(value)) else "a size such as 512MB or 50GiB, or empty for no limit"


def _seconds(value: Any) -> str:
    return "" if int(value) > 0 else "a number of seconds above zero"


FORMATS = {
    ("_port", "int"): allowed_port,
    ("_timeout", "int"): _seconds,
    ("_version", "str"): _version,
    ("_url", "str"): allowed_url,
    ("_listen_address", "str"): _address,
    ("_interval", "str"): _duration,
    ("_timeout", "str"): _duration,
    # 0s keeps logs for ever; Loki's own checks judge it.
    ("loki_retention", "str"): lambda _value: "",
    ("_retention", "str"): _duration,
    ("_retention_time", "str"): _duration,
    ("_size", "str"): _size,
    ("_price", "float"): allowed_price,
    ("_currency", "str"): allowed_currency,
}


def check_format(name: str, value: Any, option: Mapping[str, Any]) -> str:
    """Return what is wrong with a value of the right type, by its variable's name; empty when nothing is."""
    for (suffix, kind), check in FORMATS.items():
        if name.endswith(suffix) and option.get("type", "str") == kind:
            allowed = check(value)
            return problem(name, value, allowed, bool(option.get("no_log"))) if allowed else ""
    return ""


def check_labels(name: str, labels: Mapping[str, Any]) -> list[str]:
    """Check names of labels that a user gives."""
    return [
        problem(f"{name}.{label}", labels[label], "under a label name of letters, digits and _, which is not reserved")
        for label in labels
        if not _LABEL.fullmatch(str(label)) or label in ("instance", "host", "job") or str(label).startswith("__")
    ]


def check_names(
    variables: Iterable[str], known: Iterable[str], prefixes: Iterable[str], renamed: Mapping[str, str]
) -> list[str]:
    """Find variables with a prefix of ours that nothing reads: renamed ones, and typing errors."""
    options = set(known)
    marks = tuple(f"{prefix}_" for prefix in prefixes)
    found = []
    for name in sorted(variables):
        mark = next((mark for mark in marks if name.startswith(mark)), "")
        if name in options or not mark:
            continue
        if name in renamed:
            found.append(f"{name} is no longer read; use {renamed[name]} instead")
        else:
            near = [option for option in options if option.startswith(mark)]
            found.append(f"{name} is not a variable of this project{suggestion(name, near)}; {WHERE}")
    return found


def check_tags(wanted: Iterable[str], components: Iterable[str]) -> list[str]:
    """Find words after --tags that name no component: such a run would do nothing and look fine."""
    known = set(components)
    every = known | {"all", "tagged", "untagged", "always", "never"}
    return [f"--tags {tag} names no component{suggestion(tag, known)}" for tag in wanted if tag not in every]


def check_groups(project: Project, groups: Mapping[str, list[str]], mapping: Mapping[str, Any]) -> list[str]:
    """Check that the parts of `watchkeeper_groups` exist and that somebody plays the ones we cannot do without."""
    parts = {entry.group for entry in project.components.values()}
    found = []
    for part, group in mapping.items():
        if part not in parts:
            found.append(f"watchkeeper_groups.{part} is not a part of this project{suggestion(str(part), parts)}")
        elif not isinstance(group, str):
            found.append(problem(f"watchkeeper_groups.{part}", group, "the name of one group of the inventory"))
        elif not groups.get(group):
            found.append(
                f"watchkeeper_groups.{part} is {group!r}, but that group has no hosts; name a group of the inventory "
                f"that has{suggestion(str(group), [name for name in groups if groups[name]])}"
            )
    for part in ("monitoring", *DEFAULT_GROUPS):
        if part not in mapping and not groups.get(group_of(part, mapping)):
            found.append(
                f"the inventory has no host in the group {group_of(part, mapping)!r}; add one, or say with "
                f"watchkeeper_groups.{part} which group plays this part"
            )
    return found


def check_ports(components: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Find components of one host that want the same port."""
    seen: dict[int, str] = {}
    found = []
    for component in components:
        if values.get(f"{component}_state") == "absent":
            continue
        for name in sorted(key for key in values if key.startswith(f"{component}_") and key.endswith("_port")):
            port = int(values[name])
            if seen.setdefault(port, name) != name:
                found.append(problem(name, port, f"another port than {seen[port]} on the same host"))
    return found


def check_probes(probes: Sequence[Mapping[str, Any]], modules: Mapping[str, Any]) -> list[str]:
    """Check what the blackbox exporter is to probe; `modules` are its modules in its own form."""
    found = []
    for index, probe in enumerate(probes):
        where = f"watchkeeper_probes[{index}]"
        module = str(probe.get("module") or "http_2xx")
        url = str(probe["url"])
        if module not in modules:
            found.append(f"{where}.module is {module!r}, which is no module{suggestion(module, modules)}; {WHERE}")
            continue
        prober = modules[module].get("prober") if isinstance(modules[module], Mapping) else None
        host, _colon, port = url.rpartition(":")
        if prober == "http" and (url == "" or allowed_url(url)):
            found.append(problem(f"{where}.url", url, "a URL that starts with http:// or https://"))
        elif prober in ("tcp", "grpc") and (not host or "/" in host or not port.isdigit() or allowed_port(port)):
            found.append(problem(f"{where}.url", url, f"host:port for the module {module}"))
        elif prober in ("icmp", "dns") and (not url or "/" in url):
            found.append(problem(f"{where}.url", url, f"a host name or an address for the module {module}"))
        found += check_labels(f"{where}.labels", probe.get("labels") or {})
    urls = [str(probe["url"]) for probe in probes]
    found += [
        f"watchkeeper_probes names {url!r} twice; one probe for each URL; {WHERE}"
        for url in sorted({url for url in urls if urls.count(url) > 1})
    ]
    return found


def check_prometheus(values: Mapping[str, Any], own_jobs: Iterable[str], own_rules: Iterable[str]) -> list[str]:
    """Check what the types of Prometheus's variables cannot say; `own_rules` are the project's rule files."""
    found = []
    interval, timeout = values["prometheus_scrape_interval"], values["prometheus_scrape_timeout"]
    if not _duration(interval) and not _duration(timeout) and parse_duration(timeout) > parse_duration(interval):
        allowed = f"at most prometheus_scrape_interval ({interval})"
        found.append(problem("prometheus_scrape_timeout", timeout, allowed))
    jobs = list(own_jobs)
    for index, job in enumerate(values["prometheus_scrape_configs"]):
        where = f"prometheus_scrape_configs[{index}]"
        name = job.get("job_name")
        if not name:
            found.append(f"{where} needs a job_name; {WHERE}")
        elif name in jobs:
            found.append(problem(f"{where}.job_name", name, f"a name that no other job has (taken: {', '.join(jobs)})"))
        jobs.append(str(name))
    for variable in ("prometheus_scrape_configs", "prometheus_remote_write"):
        found += [
            f"{path} holds a secret in the clear; put it into prometheus_secrets and refer to it with "
            f"{path.rsplit('.', 1)[1]}_file: '{{config}}/secrets/NAME'"
            for path in _inline_secrets(values[variable], variable)
        ]
    taken = set(own_rules)
    for name, rules in values["prometheus_rules"].items():
        if not isinstance(rules, Mapping) or "groups" not in rules or not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
            allowed = "a mapping with groups, under a name of letters, digits, - and _"
            found.append(problem(f"prometheus_rules.{name}", rules, allowed))
        elif name in taken:
            found.append(f"prometheus_rules.{name} has the name of a rule file of the project; choose another; {WHERE}")
    for name in values["prometheus_secrets"]:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", str(name)):
            allowed = "under a name of letters, digits, '.', '-' and '_'"
            found.append(problem(f"prometheus_secrets.{name}", None, allowed, hidden=True))
    return found


def _inline_secrets(value: Any, path: str) -> list[str]:
    if isinstance(value, Mapping):
        found = [f"{path}.{key}" for key in value if key in INLINE_SECRETS and isinstance(value[key], str)]
        return found + [item for key in value for item in _inline_secrets(value[key], f"{path}.{key}")]
    if isinstance(value, list):
        return [item for index, part in enumerate(value) for item in _inline_secrets(part, f"{path}[{index}]")]
    return []


def _label_value(value: Any) -> str:
    return 'a text without ", \\ and line breaks' if re.search(r'["\\\n]', str(value)) else ""


def _job(value: Any) -> str:
    return _label_value(value) if value else "the name of a scrape job"


def _objective(value: Any) -> str:
    return "" if 0 < float(value) < 100 else "a percentage above 0 and below 100, such as 99.9"


def _latency(value: Any) -> str:
    fine = 0 <= float(value) < float("inf")
    return "" if fine else "a bucket of http_request_duration_ms, such as 500, or 0 for an objective about errors"


def _routes(value: Any) -> str:
    try:
        re.compile(str(value))
    except re.error as error:
        return f"a regular expression ({error})"
    unfit = _label_value(value)
    return f"{unfit} (write [.] instead of \\.)" if unfit else ""


_SLO_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_SLO_FORMATS = {
    "job": _job,
    "service": _label_value,
    "objective": _objective,
    "latency_threshold_ms": _latency,
    "window": _duration,
    "ignored_routes": _routes,
}


def check_slos(values: Mapping[str, Any], jobs: Iterable[str] = ()) -> list[str]:
    """Check the objectives; `jobs` are the project's scrape jobs. Without them any name of a job will do."""
    known = set(jobs)
    if known:
        known |= {str(job.get("job_name")) for job in values["prometheus_scrape_configs"]}
    ours = {str(entry["name"]) for entry in values[f"{slo.VARIABLE}_default"]}
    found = []
    for variable in (f"{slo.VARIABLE}_default", slo.VARIABLE):
        names = [str(entry["name"]) for entry in values[variable]]
        for index, entry in enumerate(values[variable]):
            where, name = f"{variable}[{index}]", names[index]
            if name in names[:index]:
                found.append(f"{variable} names {name!r} twice; one entry for each objective; {WHERE}")
            if not _SLO_NAME.fullmatch(name):
                found.append(problem(f"{where}.name", name, "a name of lower-case letters, digits, - and _"))
            if entry.get("state") == "absent":
                if name not in ours:
                    found.append(f"{where}: there is no {name!r} to take out{suggestion(name, ours)}; {WHERE}")
                continue
            for key, check in _SLO_FORMATS.items():
                allowed = check(entry[key]) if key in entry else ""
                if allowed:
                    found.append(problem(f"{where}.{key}", entry[key], allowed))
            job = entry.get("job")
            if job and known and job not in known:
                found.append(f"{where}.job is {job!r}, which is no scrape job{suggestion(str(job), known)}; {WHERE}")
    return found
