"""Promtail's configuration from the plan of a host's logs and the variables of its role.

:func:`render` gives two files in Promtail's form. `promtail.yml` is what runs. `check.yml` holds the stages of every
source in one pipeline: Promtail's own syntax check never builds a stage, so a run on an empty input has to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from .log_agents import batch_problems, bytes_of, unit_settings
from .log_sources import (
    Json,
    Labels,
    Match,
    Multiline,
    Plan,
    Regex,
    Relabel,
    Replace,
    Source,
    Stage,
    StaticLabels,
    StructuredMetadata,
    Template,
    Timestamp,
)
from .validation import problem

HEADER = "# Managed by Watchkeeper: changes made here are undone by the next run.\n"
CONFIG, CHECK, CARRY = "promtail.yml", "check.yml", "carry.json"
PASSWORD = "secrets/loki_password"  # noqa: S105 - where it lies, not what it is
ALLOY_DATA = "/var/lib/alloy"
# It ends when the last batch is delivered, and never while Loki does not answer: a short outage loses nothing.
STOP_SECONDS = 90

# Ten times as long as a batch waits: what is saved when the program is killed has nearly always been delivered. What
# was delivered after that is read again, and Loki knows entries with a time of their own that it already has.
POSITIONS_PERIOD = "10s"
# New containers within this time; what they wrote before is read, too.
DOCKER_PERIOD = "5s"
_GLOB = re.compile(r"[*?\[{\\]")


@dataclass(frozen=True)
class Rendered:
    """Arguments of the component's task; `settings` are those of the unit."""

    files: list[dict[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)


def problems(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the role's variables beyond their types."""
    found = batch_problems("promtail", values)
    data = str(values["promtail_data_dir"])
    if not re.fullmatch(r"(/[\w.+-]+)+", data, re.ASCII):
        allowed = "an absolute path of letters, digits, '.', '_', '+' and '-'"
        found.append(problem("promtail_data_dir", data, allowed))
    return found


def glob(paths: Sequence[str]) -> str:
    """Return one glob for several, so that a file that two of them match is read once."""
    if len(paths) == 1:
        return paths[0]
    parts = [path.split("/") for path in paths]
    common = []
    for names in zip(*(part[:-1] for part in parts)):
        if len(set(names)) > 1 or _GLOB.search(names[0]):
            break
        common.append(names[0])
    rest = ["/".join(part[len(common) :]) for part in parts]
    return "/".join([*common, "{" + ",".join(rest) + "}"])


def stages(items: Iterable[Stage]) -> list[dict[str, Any]]:
    """Return a pipeline. What has nothing to do is left out: Promtail would refuse it."""
    found = []
    for item in items:
        if isinstance(item, Match):
            inner = stages(item.stages)
            if inner:
                found.append({"match": {"selector": item.selector, "stages": inner}})
        else:
            kind, options = _stage(item)
            if options:
                found.append({kind: options})
    return found


def _stage(item: Stage) -> tuple[str, dict[str, Any]]:
    if isinstance(item, Multiline):
        options = {"firstline": item.first_line, "max_lines": item.max_lines, "max_wait_time": item.max_wait}
        return "multiline", options
    if isinstance(item, Replace):
        return "replace", {"expression": item.expression, "replace": item.replace}
    if isinstance(item, Json):
        return "json", {"expressions": dict(item.fields)} if item.fields else {}
    if isinstance(item, Regex):
        return "regex", {"expression": item.expression}
    if isinstance(item, Template):
        return "template", {"source": item.source, "template": item.template}
    if isinstance(item, Timestamp):
        return "timestamp", _timestamp(item)
    names = {Labels: "labels", StaticLabels: "static_labels", StructuredMetadata: "structured_metadata"}
    assert not isinstance(item, Match)  # noqa: S101 - has stages of its own
    return names[type(item)], dict(item.values)


def _timestamp(item: Timestamp) -> dict[str, Any]:
    found: dict[str, Any] = {"source": item.source, "format": item.formats[0]}
    if item.formats[1:]:
        found["fallback_formats"] = list(item.formats[1:])
    if item.location:
        found["location"] = item.location
    # A line without a time of its own comes after the one before it. Under the time of its reading it would, after an
    # outage, be so far ahead that Loki refuses its neighbours.
    found["action_on_failure"] = "fudge"
    return found


def _relabel(rule: Relabel) -> dict[str, Any]:
    return {
        "source_labels": [rule.source],
        "regex": rule.regex,
        "replacement": rule.replacement,
        "target_label": rule.target,
        "action": "replace",
    }


def _leading_labels(source: Source) -> dict[str, str]:
    """Return the static labels with which a source's stages begin."""
    found: dict[str, str] = {}
    for item in source.stages:
        if not isinstance(item, StaticLabels):
            break
        found.update(item.values)
    return found


def scrape_config(source: Source) -> dict[str, Any]:
    """Return how one source is read, and what happens to its lines."""
    found: dict[str, Any] = {"job_name": source.name}
    pipeline = stages(source.stages)
    if source.input == "journal":
        # An entry that has no label when it is read (no unit, no level) would not be sent.
        found["journal"] = {"max_age": source.max_age, "labels": _leading_labels(source)}
        if source.matches:
            found["journal"]["matches"] = source.matches
    elif source.input == "docker":
        found["docker_sd_configs"] = [{"host": source.docker_host, "refresh_interval": DOCKER_PERIOD}]
        # As Alloy does by itself.
        pipeline.insert(0, {"drop": {"expression": "^$", "drop_counter_reason": "empty"}})
    else:
        labels = {"__path__": glob(source.paths)}
        if source.exclude:
            labels["__path_exclude__"] = glob(source.exclude)
        found["static_configs"] = [{"labels": labels}]
    if source.relabel:
        found["relabel_configs"] = [_relabel(rule) for rule in source.relabel]
    if pipeline:
        found["pipeline_stages"] = pipeline
    return found


def _client(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"url": plan.url}
    if plan.tenant:
        found["tenant_id"] = plan.tenant
    if plan.username:
        found["basic_auth"] = {"username": plan.username}
        if plan.password:
            found["basic_auth"]["password_file"] = "{config}/" + PASSWORD
    found.update(
        batchsize=bytes_of(str(values["promtail_batch_size"])),
        batchwait=str(values["promtail_batch_wait"]),
        timeout="10s",
        # For ever: what has not been sent waits in the files and in the journal.
        backoff_config={"min_period": "500ms", "max_period": "10s", "max_retries": 0},
        external_labels=dict(plan.labels),
    )
    return found


def config(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that runs."""
    return {
        "server": {
            "http_listen_address": str(values["promtail_listen_address"]).strip("[]"),
            "http_listen_port": int(values["promtail_port"]),
            # Nobody asks it, but it cannot be switched off alone: any free port of the host itself.
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": 0,
            "log_level": values["promtail_log_level"],
            "register_instrumentation": True,
            "profiling_enabled": False,
            "enable_runtime_reload": False,
            # Else a host without a single file to read would never be ready.
            "health_check_target": False,
        },
        "tracing": {"enabled": False},
        "positions": {"filename": positions(values), "sync_period": POSITIONS_PERIOD},
        "clients": [_client(plan, values)],
        "limits_config": {"readline_rate_enabled": False},
        "target_config": {"sync_period": "10s"},
        "scrape_configs": [scrape_config(source) for source in plan.sources],
    }


def positions(values: Mapping[str, Any]) -> str:
    """Return the file that says how far the sources have been read."""
    return f"{values['promtail_data_dir']}/positions.yaml"


def _replacements(items: Iterable[Stage]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Replace):
            yield item.replace
        elif isinstance(item, Match):
            yield from _replacements(item.stages)


def check_config(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run on an empty input builds: every stage and every rule of all sources."""
    sources = [scrape_config(source) for source in plan.sources]
    pipeline = [item for source in sources for item in source.get("pipeline_stages", [])]
    # Promtail parses what a mask puts in only when a line matches, and leaves the secret where it cannot.
    texts = dict.fromkeys(text for source in plan.sources for text in _replacements(source.stages))
    pipeline += [{"template": {"source": "replace", "template": text}} for text in texts]
    only: dict[str, Any] = {"job_name": "check"}
    if pipeline:
        only["pipeline_stages"] = pipeline
    rules = [rule for source in sources for rule in source.get("relabel_configs", [])]
    if rules:
        only["relabel_configs"] = rules
    return {"clients": [_client(plan, values)], "scrape_configs": [only]}


def carry(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program needs to know that brings Alloy's positions to Promtail before a start."""
    kinds = ("files", "journal", "docker")
    files, journals, docker = ([source for source in plan.sources if source.input == kind] for kind in kinds)
    return {
        "to": "promtail",
        "promtail": positions(values),
        "alloy": f"{values.get('alloy_data_dir') or ALLOY_DATA}/data",
        "files": [{"name": source.name, "paths": list(source.paths)} for source in files],
        "journals": [source.name for source in journals],
        "docker": [{"name": source.name, "host": source.docker_host} for source in docker],
    }


def settings(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unit's settings: whose files the agent may read, and what its sandbox must leave visible."""
    groups = values.get("watchkeeper_log_groups", [])
    return unit_settings(plan, groups, STOP_SECONDS, {"LimitNOFILE": 65536})


class _Dumper(yaml.SafeDumper):
    """YAML whose texts stay texts for Promtail's parser, too."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # It takes y, n and 1e3 for something else; words of two letters and more mean the same to both parsers.
    plain = re.match(r"[A-Za-z_/]\w", value)
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def _yaml(data: Any) -> str:
    return HEADER + str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 16))


def render(plan: Plan, values: Mapping[str, Any]) -> Rendered:
    """Return everything for the task; `values` are the role's variables and those that it takes from others."""
    return Rendered(
        files=[
            {"path": CONFIG, "content": _yaml(config(plan, values))},
            {"path": CHECK, "content": _yaml(check_config(plan, values))},
            {"path": CARRY, "content": json.dumps(carry(plan, values), indent=1) + "\n"},
        ],
        secrets={PASSWORD: plan.password} if plan.username and plan.password else {},
        settings=settings(plan, values),
    )
