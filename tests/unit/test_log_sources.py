"""The declared sources of logs: what becomes of lines, what is refused in which words, what never leaves a host."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import alloy_config, log_masks, log_sources, promtail_config
from ansible.module_utils.watchkeeper.catalogue import Entry, Project
from ansible.module_utils.watchkeeper.log_sources import (
    Json,
    Labels,
    LogSourceError,
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
    compile_expression,
)
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT, Run, inventory, run_site

URL = "http://192.0.2.1:3100/loki/api/v1/push"
DEFAULTS: dict[str, Any] = {
    name: value
    for name, value in yaml.safe_load((ROOT / "roles/watchkeeper/defaults/main.yml").read_text()).items()
    if name.startswith("watchkeeper_log_")
}
NGINX: list[dict[str, Any]] = [
    {"name": "nginx_access", "type": "nginx_access", "paths": ["/var/log/nginx/*access.log"]},
    {"name": "nginx_error", "type": "nginx_error", "paths": ["/var/log/nginx/*error.log"]},
]
JOURNAL: dict[str, Any] = {"name": "journal", "type": "journal"}
APP: dict[str, Any] = {"name": "shop", "type": "json", "paths": ["/var/log/shop/*.log"]}
TEXT: dict[str, Any] = {"name": "batch", "type": "text", "paths": ["/var/log/batch/batch.log"]}


def variables(*sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Settings with these sources beside the journal."""
    known = {
        **DEFAULTS,
        "watchkeeper_log_sources_default": [JOURNAL],
        "watchkeeper_log_masks_default": log_masks.DEFAULTS,
        "watchkeeper_log_sources": list(sources),
        **changes,
    }
    return copy.deepcopy(log_sources.variables_of(known, "app-01", URL) | {key: changes[key] for key in changes})


def planned(*sources: dict[str, Any], **changes: Any) -> Plan:
    return log_sources.plan(variables(*sources, **changes))


def source(item: dict[str, Any], **changes: Any) -> Source:
    """One source, without the journal beside it."""
    [found] = planned(item, watchkeeper_log_sources_default=[], **changes).sources
    return found


def stage_of(kind: type[Any], stages: Sequence[Stage]) -> Any:
    return next(stage for stage in stages if isinstance(stage, kind))


def wrong(*sources: dict[str, Any], **changes: Any) -> list[str]:
    return log_sources.problems(variables(*sources, **changes))


# --- lines --------------------------------------------------------------------------------------------------------


def evaluate(template: str, **values: str) -> str:
    """Evaluate those templates of Go's that the project writes."""
    found = re.fullmatch(r"(?:{{ (\$\w+) := \.(\w+) \| default \"\" \| toString(.*?) }})?(.*)", template)
    assert found, template
    variable, name, pipes, rest = found.groups()
    scope = {}
    if variable:
        text = values.get(name, "")
        assert pipes in ("", " | trim | lower")
        scope[variable] = text.strip().lower() if pipes else text
    for condition, result in re.findall(r"{{ (?:if|else if|else) ?(.*?)}}((?:{{ [.$]\w+ }}|[^{])*)", rest):
        words = condition.split()
        if not words:
            true = True
        elif words[0] == "eq":
            true = scope[words[1]] in [json.loads(word) for word in words[2:]]
        else:
            true = bool(values.get(words[0].removeprefix(".")))
        if true:
            return re.sub(r"{{ ([.$]\w+) }}", lambda m: scope.get(m[1]) or values[m[1][1:]], result)
    raise AssertionError(template)


def labels_of(found: Source, line: str) -> tuple[dict[str, str], str]:
    """Return the labels that a line gets from the stages, and the text of its time."""
    extracted: dict[str, str] = {}
    labels: dict[str, str] = {}
    for stage in found.stages:
        if isinstance(stage, Regex):
            match = compile_expression(stage.expression).search(line)
            extracted |= {name: value or "" for name, value in match.groupdict().items()} if match else {}
        elif isinstance(stage, Template):
            extracted[stage.source] = evaluate(stage.template, **extracted)
        elif isinstance(stage, Labels):
            labels |= {label: extracted[name] for label, name in stage.values.items()}
    return labels, extracted.get("entry_time", "")


ACCESS = (
    (
        '192.0.2.7 - - [24/Nov/2026:00:00:01 +0100] "GET /a?b=c HTTP/1.1" 200 512 "https://x/" "curl/8"',
        {"method": "GET", "status": "2xx"},
        "24/Nov/2026:00:00:01 +0100",
    ),
    (
        '2001:db8::1 - bob smith [24/Nov/2026:00:00:01 +0000] "POST /login HTTP/2.0" 503 0 "-" "-" "10.0.0.1" 0.004',
        {"method": "POST", "status": "5xx"},
        "24/Nov/2026:00:00:01 +0000",
    ),
    ('192.0.2.7 - - [24/Nov/2026:00:00:01 +0000] "" 400 0 "-" "-"', {"method": "OTHER", "status": "4xx"}, None),
    (
        r'192.0.2.7 - - [24/Nov/2026:00:00:01 +0000] "\x16\x03\x01\x22" 400 157 "-" "-"',
        {"method": "OTHER", "status": "4xx"},
        None,
    ),
    (
        '192.0.2.7 - - [24/Nov/2026:00:00:01 +0000] "PROPFIND / HTTP/1.1" 405 157 "-" "-"',
        {"method": "OTHER", "status": "4xx"},
        None,
    ),
    ('{"status": 200, "request": "GET / HTTP/1.1"}', {"method": "OTHER", "status": "unknown"}, ""),
    ("", {"method": "OTHER", "status": "unknown"}, ""),
)


@pytest.mark.parametrize(("line", "labels", "time"), ACCESS)
def test_nginx_access(line: str, labels: dict[str, str], time: str | None) -> None:
    """Few values for each label, whatever a client sends."""
    found, text = labels_of(source(NGINX[0]), line)
    assert found == labels
    assert time is None or text == time


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("emerg", "critical"),
        ("alert", "critical"),
        ("crit", "critical"),
        ("error", "error"),
        ("warn", "warning"),
        ("notice", "info"),
        ("info", "info"),
        ("debug", "debug"),
    ],
)
def test_nginx_error(word: str, level: str) -> None:
    """nginx's levels become ours; the time has the zone that is declared."""
    found = source({**NGINX[1], "timestamp": {"zone": "Europe/Berlin"}})
    line = f"2026/11/24 00:00:01 [{word}] 42#42: *7 open() failed (2: No such file), client: 192.0.2.7"
    assert labels_of(found, line) == ({"level": level}, "2026/11/24 00:00:01")
    assert stage_of(Timestamp, found.stages) == Timestamp("entry_time", ("2006/01/02 15:04:05",), "Europe/Berlin")
    assert labels_of(found, "PHP message: something") == ({"level": "unknown"}, "")


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("2026-11-24T00:00:01.123456+01:00 app-01 sshd[7]: Accepted", "2026-11-24T00:00:01.123456+01:00"),
        ("Nov 24 00:00:01 app-01 sshd[7]: Accepted", "Nov 24 00:00:01"),
        ("Nov  4 00:00:01 app-01 sshd[7]: Accepted", "Nov  4 00:00:01"),
        ("  at Object.<anonymous>", ""),
    ],
)
def test_syslog(line: str, time: str) -> None:
    """Both forms of time; a layout without a year is one to whose times the agents add it."""
    found = source({"name": "syslog", "type": "syslog", "paths": ["/var/log/syslog"]})
    assert labels_of(found, line)[1] == time
    timestamp = stage_of(Timestamp, found.stages)
    assert timestamp.formats == ("RFC3339Nano", "Jan _2 15:04:05")
    assert "06" not in timestamp.formats[1]
    # As the agents have no need of a database of zones for it.
    assert timestamp.location == ""


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("fatal", "critical"),
        ("CRIT", "critical"),
        ("60", "critical"),
        ("err", "error"),
        ("Error", "error"),
        ("50", "error"),
        ("warn", "warning"),
        (" WARNING ", "warning"),
        ("notice", "info"),
        ("http", "info"),
        ("log", "info"),
        ("30", "info"),
        ("verbose", "debug"),
        ("silly", "debug"),
        ("trace", "debug"),
        ("10", "debug"),
        ("errors", "unknown"),
        ("shop-1234", "unknown"),
        ("", "unknown"),
    ],
)
def test_levels_of_json(word: str, level: str) -> None:
    """What libraries call them becomes one of ours, and nothing else becomes a label's value."""
    template = stage_of(Template, source(APP).stages)
    assert template.source == "entry_level"
    assert evaluate(template.template, entry_level=word) == level


def test_json() -> None:
    """Level is a label, ids are structured metadata, times are of either form."""
    found = source({**APP, "timestamp": {"zone": "Europe/Berlin"}})
    assert stage_of(Json, found.stages).fields == {
        "entry_level": '"level"',
        "entry_time": '"timestamp"',
        "field_context": '"context"',
        "field_request_id": '"request_id"',
        "field_trace_id": '"trace_id"',
    }
    timestamp = stage_of(Timestamp, found.stages)
    assert timestamp.formats[0] == "RFC3339Nano"
    assert "2006-01-02 15:04:05" in timestamp.formats
    assert timestamp.location == "Europe/Berlin"
    assert stage_of(Labels, found.stages).values == {"level": "entry_level"}
    kept = {"context": "field_context", "request_id": "field_request_id", "trace_id": "field_trace_id"}
    assert stage_of(StructuredMetadata, found.stages).values == kept


def test_fields_of_json() -> None:
    """Names of their own, also with dots in them or of objects inside."""
    found = source(
        {
            **APP,
            "level": "severity",
            "fields": {"trace_id": "trace.id", "user_id": "@user-id"},
            "timestamp": {"field": "time", "formats": ["UnixMs"]},
        }
    )
    assert stage_of(Json, found.stages).fields == {
        "entry_level": '"severity"',
        "entry_time": '"time"',
        "field_trace_id": '"trace.id" || "trace"."id"',
        "field_user_id": '"@user-id"',
    }
    assert stage_of(Timestamp, found.stages).formats == ("UnixMs",)
    assert not [stage for stage in source({**APP, "fields": {}}).stages if isinstance(stage, StructuredMetadata)]


def relabelled(rules: Sequence[Relabel], **known: str) -> dict[str, str]:
    """Return the labels that rules make, as Prometheus's rules do: anchored, and the last one wins."""
    labels: dict[str, str] = {}
    for rule in rules:
        match = compile_expression(f"^(?s:{rule.regex})$").search(known.get(rule.source, ""))
        if match:
            text = rule.replacement
            for index, value in enumerate(match.groups(), 1):
                text = text.replace(f"${{{index}}}", value)
            labels[rule.target] = text
    return labels


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("nginx.service", "nginx.service"),
        ("postgresql@15-main.service", "postgresql@15-main.service"),
        ("getty@tty1.service", "getty@tty1.service"),
        ("init.scope", "init.scope"),
        ("run-parts.service", "run-parts.service"),
        ("apt-daily.timer", "apt-daily.timer"),
        ("session-123.scope", "session.scope"),
        ("session-c2.scope", "session.scope"),
        ("user@1000.service", "user@.service"),
        ("user-runtime-dir@0.service", "user-runtime-dir@.service"),
        ("run-u42.service", "run.service"),
        (f"run-r{HEX[:32]}.scope", "run.scope"),
        ("run-p4711-i4712.service", "run.service"),
        ("ssh@3-192.0.2.1:22-192.0.2.7:50412.service", "ssh@.service"),
        ("ssh@3-[2001:db8::1]:22-[2001:db8::2]:50412.service", "ssh@.service"),
        ("systemd-coredump@3-123456-0.service", "systemd-coredump@.service"),
        (f"docker-{HEX}.scope", "docker.scope"),
        (f"libpod-conmon-{HEX}.scope", "libpod-conmon.scope"),
        (f"{HEX}.service", "transient.service"),
        ("dbus-:1.2-org.freedesktop.hostname1@0.service", "org.freedesktop.hostname1.service"),
        ("snap.lxd.hook-0b9f1c5e-6d1a-4f0e-9a57-0123456789ab.scope", "snap.lxd.hook.scope"),
    ],
)
def test_units_of_the_journal_are_bounded(name: str, unit: str) -> None:
    """Services keep their names; what counts up or holds an address is named after its kind."""
    rules = source(JOURNAL).relabel
    assert relabelled(rules, __journal__systemd_unit=name, __journal__transport="stdout")["unit"] == unit


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("emerg", "critical"),
        ("alert", "critical"),
        ("crit", "critical"),
        ("error", "error"),
        ("warning", "warning"),
        ("notice", "info"),
        ("info", "info"),
        ("debug", "debug"),
        ("9", "unknown"),
        ("", "unknown"),
    ],
)
def test_levels_of_the_journal(keyword: str, level: str) -> None:
    """The agents' words for syslog's numbers; and what has no unit is named after the way it came."""
    known = {"__journal_priority_keyword": keyword, "__journal__transport": "kernel"}
    assert relabelled(source(JOURNAL).relabel, **known) == {"level": level, "unit": "kernel"}


def test_json_in_the_journal() -> None:
    """Only entries of the units that write JSON are read as such; other levels stay, and the time is the journal's."""
    found = source({**JOURNAL, "json_units": ["health_app.service", "shop@1.service"], "matches": "A=b C=d"})
    match = stage_of(Match, found.stages)
    assert match.selector == '{unit=~"health_app[.]service|shop@1[.]service"}'
    assert not [stage for stage in match.stages if isinstance(stage, Timestamp)]
    template = stage_of(Template, match.stages).template
    assert [evaluate(template, entry_level=word) for word in ("", "fatal", "odd")] == ["", "critical", "unknown"]
    assert (found.matches, found.max_age) == ("A=b C=d", "12h")
    assert not [stage for stage in source({**JOURNAL, "json_units": []}).stages if isinstance(stage, Match)]


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("/shop-web-1", "shop-web-1"),
        ("/shop-web-run-0123456789ab", "shop-web-run"),
        ("/shop_web.1.abcdefghijklmnopqrstuvwxy", "shop_web.1"),
    ],
)
def test_containers(name: str, container: str) -> None:
    """Without the slash, and without the random words of one-off containers and of a swarm's tasks."""
    found = source({"name": "docker", "type": "docker"})
    known = {
        "__meta_docker_container_name": name,
        "__meta_docker_container_log_stream": "stderr",
        "__meta_docker_container_label_com_docker_compose_project": "shop",
    }
    assert relabelled(found.relabel, **known) == {"container": container, "stream": "stderr", "compose_project": "shop"}
    assert "compose_project" not in relabelled(found.relabel, __meta_docker_container_name="/a")
    assert found.docker_host == "unix:///var/run/docker.sock"
    assert not [stage for stage in found.stages if isinstance(stage, (Json, Labels))]
    assert stage_of(Labels, source({"name": "docker", "type": "docker", "json": True}).stages)


# --- plan ---------------------------------------------------------------------------------------------------------


def test_order_of_stages() -> None:
    """Labels that never change, lines joined, secrets masked, and only then anything read out of a line."""
    item = {**APP, "labels": {"team": "shop", "tier": 2}, "multiline": {"first_line": r"^\{", "max_wait": "2d"}}
    kinds = list(dict.fromkeys(type(stage) for stage in source(item).stages))
    assert kinds == [StaticLabels, Multiline, Replace, Json, Template, Timestamp, Labels, StructuredMetadata]
    assert source(item).stages[:2] == (
        StaticLabels({"job": "shop", "team": "shop", "tier": "2"}),
        Multiline(r"^\{", 128, "172800s"),
    )
    assert source({**item, "job": "web"}).stages[0] == StaticLabels({"job": "web", "team": "shop", "tier": "2"})


def test_every_source_is_masked() -> None:
    """None leaves the host otherwise."""
    plan = planned(*NGINX, APP, TEXT, {"name": "docker", "type": "docker"})
    assert [item.name for item in plan.sources] == ["journal", "nginx_access", "nginx_error", "shop", "batch", "docker"]
    for item in plan.sources:
        assert sum(isinstance(stage, Replace) for stage in item.stages) == len(log_masks.DEFAULTS)


def test_plan() -> None:
    """What holds for all sources."""
    plan = planned(
        watchkeeper_log_labels={"site": "fra"},
        watchkeeper_log_tenant="shop",
        watchkeeper_log_username="agent",
        watchkeeper_log_password="planted",  # noqa: S106
    )
    assert (plan.url, plan.labels) == (URL, {"host": "app-01", "site": "fra"})
    assert (plan.tenant, plan.username, plan.password) == ("shop", "agent", "planted")
    assert "planted" not in repr(plan)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", URL),
        ("https://logs.example.com", "https://logs.example.com/loki/api/v1/push"),
        ("https://logs.example.com/", "https://logs.example.com/loki/api/v1/push"),
        ("https://example.com/logs/loki/api/v1/push", "https://example.com/logs/loki/api/v1/push"),
    ],
)
def test_url(given: str, url: str) -> None:
    """The inventory's Loki unless another is named."""
    assert planned(watchkeeper_log_url=given).url == url


def loki_at(hosts: dict[str, dict[str, Any]], own: str) -> str:
    entry = Entry(name="loki", title="Loki", kind="binary", group="monitoring", port=3100)
    groups = {"monitoring": list(hosts), "all": [*hosts, "app-01"]}
    return log_sources.push_url(Project(Path("/"), {"loki": entry}), own, groups, hosts, {})


def test_loki_is_found() -> None:
    """The first host that wants it, under its address, or over loopback where that is the host itself."""
    one, two = {"ansible_host": "192.0.2.1"}, {"ansible_host": "2001:db8::2", "loki_port": 3101}
    assert loki_at({"one": one, "two": two}, "app-01") == URL
    assert loki_at({"one": one, "two": two}, "one") == "http://127.0.0.1:3100/loki/api/v1/push"
    assert loki_at({"one": {**one, "loki_listen_address": "192.0.2.9"}}, "one").startswith("http://192.0.2.9:3100/")
    absent = {**one, "loki_state": "absent"}
    assert loki_at({"one": absent, "two": two}, "app-01") == "http://[2001:db8::2]:3101/loki/api/v1/push"
    assert loki_at({"one": absent}, "app-01") == ""


def test_merging() -> None:
    """By name; what the inventory names is there unless it says otherwise."""
    default = [JOURNAL, {**NGINX[0], "state": "absent"}, {**NGINX[1], "state": "absent"}]
    plan = planned(
        {"name": "nginx_access", "labels": {"site": "shop"}},
        {"name": "journal", "state": "absent"},
        watchkeeper_log_sources_default=default,
    )
    [found] = plan.sources
    assert (found.name, found.paths) == ("nginx_access", ("/var/log/nginx/*access.log",))
    assert found.stages[0] == StaticLabels({"job": "nginx_access", "site": "shop"})
    # Another type is another source.
    [found] = planned({**APP, "name": "nginx_access"}, watchkeeper_log_sources_default=[NGINX[0]]).sources
    assert found.paths == ("/var/log/shop/*.log",)


def test_none_is_nothing() -> None:
    """Where no agent runs nobody reads the sources."""
    assert wrong({"name": "x"}, watchkeeper_log_agent="none", url="") == []
    assert log_sources.warnings(variables(watchkeeper_log_agent="none")) == []


def test_both_agents_take_every_plan() -> None:
    """Each type, with everything it can say."""
    plan = planned(
        *NGINX, {**APP, "exclude": ["/var/log/shop/x.log"]}, {**TEXT, "multiline": {"first_line": "^x"}},
        {"name": "docker", "type": "docker", "json": True},
    )  # fmt: skip
    for item in plan.sources:
        assert promtail_config.scrape_config(item)["job_name"] == item.name
        assert alloy_config._source(item)


# --- refusals -----------------------------------------------------------------------------------------------------

SOURCES = "watchkeeper_log_sources"
WRONG: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "agent": (
        [],
        {"watchkeeper_log_agent": "fluentd"},
        ["watchkeeper_log_agent is 'fluentd'", "alloy, promtail, none"],
    ),
    "no-loki": ([], {"url": ""}, ["watchkeeper_log_url is empty", "no host of the inventory runs Loki"]),
    "account-in-url": (
        [],
        {"watchkeeper_log_url": "https://us:planted@logs.example.com"},
        ["watchkeeper_log_url holds an account", "watchkeeper_log_password"],
    ),
    "lone-username": ([], {"watchkeeper_log_username": "us"}, ["without watchkeeper_log_password"]),
    "tenant": ([], {"watchkeeper_log_tenant": "a/b"}, ["watchkeeper_log_tenant is 'a/b'"]),
    "no-mapping": (["journal"], {}, [f"{SOURCES}[0] is 'journal'", "a mapping with"]),
    "name": ([{**APP, "name": "My App"}], {}, [f"{SOURCES}[0].name is 'My App'", "lower-case"]),
    "twice": ([APP, {**TEXT, "name": "shop"}], {}, [f"{SOURCES} names 'shop' twice"]),
    "type": ([{**APP, "type": "jsn"}], {}, [f"{SOURCES}[0].type is 'jsn'", "nginx_access", "did you mean 'json'?"]),
    "no-type": ([{"name": "x", "paths": ["/x"]}], {}, [f"{SOURCES}[0].type is None", "one of journal"]),
    "key": ([{**APP, "path": ["/x"]}], {}, [f"{SOURCES}[0].path is no key", "did you mean 'paths'?"]),
    "key-of-another-type": ([{**APP, "matches": "A=b"}], {}, [f"{SOURCES}[0].matches does not go with the type json"]),
    "key-of-a-part": (
        [{**TEXT, "multiline": {"first_line": "^x", "maxlines": 7}}],
        {},
        [f"{SOURCES}[0].multiline.maxlines is no key", "did you mean 'max_lines'?"],
    ),
    "state": ([{**APP, "state": "gone"}], {}, [f"{SOURCES}[0].state is 'gone'", "present, absent"]),
    "absent": (
        [{"name": "jurnal", "state": "absent"}],
        {},
        [f"{SOURCES}[0] takes 'jurnal' out, but there is no such entry", "did you mean 'journal'?"],
    ),
    "job": ([{**APP, "job": "{{ x }}"}], {}, [f"{SOURCES}[0].job is '{{{{ x }}}}'"]),
    "no-paths": ([{"name": "x", "type": "text"}], {}, [f"{SOURCES}[0].paths is []", "absolute paths"]),
    "relative-path": (
        [{**APP, "paths": ["log/*.log"]}],
        {},
        [f"{SOURCES}[0].paths[0] is 'log/*.log'", "absolute path"],
    ),
    "folder": ([{**APP, "paths": ["/var/log/shop/"]}], {}, [f"{SOURCES}[0].paths[0] is '/var/log/shop/'"]),
    "parent": ([{**APP, "paths": ["/var/log/../x"]}], {}, [f"{SOURCES}[0].paths[0]", "/../"]),
    "bracket": ([{**APP, "exclude": ["/var/log/[a"]}], {}, [f"{SOURCES}[0].exclude[0] is '/var/log/[a'", "closed"]),
    "expression": (
        [{**TEXT, "multiline": {"first_line": r"^(?!\s)"}}],
        {},
        [f"{SOURCES}[0].multiline.first_line is '^(?!\\\\s)'", "RE2 (Go): invalid perl operator: (?!"],
    ),
    "no-expression": ([{**TEXT, "multiline": {}}], {}, [f"{SOURCES}[0].multiline.first_line is None"]),
    "every-line": ([{**TEXT, "multiline": {"first_line": "^"}}], {}, ["does not match the empty text"]),
    "max-lines": (
        [{**TEXT, "multiline": {"first_line": "^x", "max_lines": 1}}],
        {},
        [f"{SOURCES}[0].multiline.max_lines is 1"],
    ),
    "max-wait": (
        [{**TEXT, "multiline": {"first_line": "^x", "max_wait": "soon"}}],
        {},
        [f"{SOURCES}[0].multiline.max_wait is 'soon'"],
    ),
    "zone": (
        [{**APP, "timestamp": {"zone": "Europe/Berln"}}],
        {},
        [f"{SOURCES}[0].timestamp.zone is 'Europe/Berln'", "did you mean 'Europe/Berlin'?"],
    ),
    "zone-of-the-host": ([{**APP, "timestamp": {"zone": "Local"}}], {}, [f"{SOURCES}[0].timestamp.zone is 'Local'"]),
    "format": (
        [{**APP, "timestamp": {"formats": ["YYYY-MM-DD HH:mm:ss"]}}],
        {},
        [f"{SOURCES}[0].timestamp.formats[0] is 'YYYY-MM-DD HH:mm:ss'", "a layout of Go's"],
    ),
    "field": ([{**APP, "level": 'a"b'}], {}, [f"{SOURCES}[0].level is 'a\"b'", "field of the JSON"]),
    "field-like-a-label": ([{**APP, "fields": {"level": "level"}}], {}, [f"{SOURCES}[0].fields.level", "another name"]),
    "age": ([{**JOURNAL, "max_age": 12}], {}, [f"{SOURCES}[0].max_age is 12", "a duration"]),
    "matches": ([{**JOURNAL, "matches": "unit = ssh"}], {}, [f"{SOURCES}[0].matches is 'unit = ssh'"]),
    "json-units": ([{**JOURNAL, "json_units": ["shop"]}], {}, [f"{SOURCES}[0].json_units is ['shop']", "shop.service"]),
    "docker-host": ([{"name": "d", "type": "docker", "host": "/run/x"}], {}, [f"{SOURCES}[0].host is '/run/x'"]),
    "docker-json": ([{"name": "d", "type": "docker", "json": "si"}], {}, [f"{SOURCES}[0].json is 'si'"]),
    "mask": (
        [],
        {"watchkeeper_log_masks": [{"name": "mine", "expression": "(a"}]},
        ["watchkeeper_log_masks[0].expression is '(a'", "missing )"],
    ),
    "mask-without": (
        [],
        {"watchkeeper_log_masks": [{"name": "mine"}]},
        ["watchkeeper_log_masks[0].expression is None"],
    ),
    "mask-of-everything": (
        [],
        {"watchkeeper_log_masks": [{"name": "mine", "expression": "x*"}]},
        ["watchkeeper_log_masks[0].expression is 'x*'", "does not match the empty text"],
    ),
    "mask-with-a-name": (
        [],
        {"watchkeeper_log_masks": [{"name": "mine", "expression": "a(?P<entry_level>b)"}]},
        ["watchkeeper_log_masks[0].expression", "without names of groups (entry_level)"],
    ),
    "mask-template": (
        [],
        {"watchkeeper_log_masks": [{"name": "mine", "expression": "a", "replace": "{{ .Value }}"}]},
        ["watchkeeper_log_masks[0].replace is '{{ .Value }}'", "JSON"],
    ),
    "mask-absent": (
        [],
        {"watchkeeper_log_masks": [{"name": "jwts", "state": "absent"}]},
        ["watchkeeper_log_masks[0] takes 'jwts' out", "did you mean 'jwt'?"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused(case: str) -> None:
    """With the variable's full path and what is allowed; the plan fails in the same words."""
    items, changes, words = WRONG[case]
    [found] = wrong(*items, **changes)
    for word in words:
        assert word in found
    assert "inventory's group_vars or host_vars" in found
    assert "planted" not in found
    with pytest.raises(LogSourceError, match=re.escape(found)):
        planned(*items, **changes)


def test_all_at_once() -> None:
    """A person mends everything after one run."""
    assert len(wrong({**APP, "paths": ["x"], "job": "-"}, {**TEXT, "multiline": {"first_line": "("}}, url="")) == 4


@pytest.mark.parametrize("name", ["request_id", "traceId", "trace_id", "user_id", "ip", "remote_addr", "path", "url"])
@pytest.mark.parametrize("place", ["watchkeeper_log_labels", "labels"])
def test_labels_without_bounds(name: str, place: str) -> None:
    """Refused as labels, with the way they may be kept."""
    labels = {name: "x"}
    [found] = wrong({**APP, "labels": labels}) if place == "labels" else wrong(watchkeeper_log_labels=labels)
    assert f"{place}.{name} would be a label with a value for every request" in found
    assert f"fields: {{{name}: {name}}}" in found
    assert wrong({**APP, "fields": labels}) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("host", "x", "host is set for every line already"),
        ("job", "x", "job is set for every line already"),
        ("level", "x", "level is set for every line already"),
        ("filename", "x", "filename is set for every line already"),
        ("instance", "x", "instance is set for every line already"),
        ("__path__", "x", "a label name"),
        ("my-label", "x", "a label name"),
        ("team", "{{ app_team }}", "a plain text"),
        ("team", "", "not empty"),
        ("team", True, "not empty"),
        ("team", ["x"], "not empty"),
        ("team", "x\ny", "on one line"),
    ],
)
def test_labels(name: str, value: Any, words: str) -> None:
    """One plain value under a name of its own."""
    [found] = wrong({**APP, "labels": {name: value}})
    assert f"{SOURCES}[0].labels.{name} is " in found
    assert words in found


def test_labels_of_the_type() -> None:
    """A static value would hide what lines say."""
    assert "method is set for every line already" in wrong({**NGINX[0], "labels": {"method": "GET"}})[0]
    assert wrong({**APP, "labels": {"method": "GET"}}) == []


@pytest.mark.parametrize(
    ("paths", "exclude", "others", "refused"),
    [
        (["/var/log/a.log"], [], ["/var/log/a.log"], True),
        (["/var/log/*.log"], [], ["/var/log/a.log"], True),
        (["/var/log/**/*.log"], [], ["/var/log/nginx/*.log"], True),
        (["/var/log/**/*.log"], [], ["/var/log/a.log"], True),
        (["/var/log/{a,b}.log"], [], ["/var/log/b.log"], True),
        (["/var/log/[ab].log"], [], ["/var/log/b.log"], True),
        (["/var/log/**/*.log"], ["/var/log/nginx/*"], ["/var/log/nginx/*.log"], False),
        (["/var/log/*.log"], ["/var/log/a.log"], ["/var/log/a.log"], False),
        (["/var/log/*.log"], [], ["/var/log/nginx/a.log"], False),
        (["/var/log/a?.log"], [], ["/var/log/a.log"], False),
        (["/var/log/[!ab].log"], [], ["/var/log/b.log"], False),
        (["/var/log/*access.log"], [], ["/var/log/*error.log"], False),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_files_read_twice(paths: list[str], exclude: list[str], others: list[str], refused: bool, turned: bool) -> None:
    """Two sources that read the same files would store each line twice."""
    items = [{**TEXT, "paths": paths, "exclude": exclude}, {**APP, "paths": others}]
    found = wrong(*(reversed(items) if turned else items))
    assert len(found) == int(refused)
    assert all("stored twice" in text and "watchkeeper_log_sources[1].paths[0]" in text for text in found)
    if refused and paths != others:
        assert f"add {others[0]!r} to exclude of the other" in found[0]


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/var/lib/loki/rules/x.log", True),
        ("/var/lib/alloy/**/*.log", True),
        ("/var/lib/**/*.log", True),
        ("/var/lib/*/*.log", True),
        ("/srv/loki/wal/*", True),
        ("/var/log/journal/*/system.journal", True),
        ("/var/log/**", True),
        ("/var/lib/docker/containers/*/*-json.log", True),
        ("/var/log/*.log", False),
        ("/var/lib/shop/*.log", False),
    ],
)
def test_files_of_our_own(path: str, refused: bool) -> None:
    """An agent that reads what its lines make would never come to an end."""
    docker = {"name": "docker", "type": "docker"}
    found = wrong({**TEXT, "paths": [path]}, docker, loki_data_dir="/srv/loki")
    assert bool(found) == refused
    folders = ["/var/lib/loki", "/srv/loki", "/var/lib/alloy", "/var/lib/promtail", "/var/log/journal"]
    exclude = [f"{folder}/**" for folder in (*folders, "/var/lib/docker/containers")]
    assert not wrong({**TEXT, "paths": [path], "exclude": exclude}, docker, loki_data_dir="/srv/loki")


def test_files_of_containers() -> None:
    """Without a source of type docker they may be read as files."""
    item = {**APP, "paths": ["/var/lib/docker/containers/*/*-json.log"]}
    assert wrong(item) == []
    [found] = wrong(item, {"name": "docker", "type": "docker"})
    assert "which a source of type docker reads already" in found


def test_journal_and_docker_read_twice() -> None:
    """Unless each reads a part of its own."""
    assert "read the same journal" in wrong({**JOURNAL, "name": "second"})[0]
    assert "read the same journal" in wrong({**JOURNAL, "name": "second", "matches": "A=b"})[0]
    parts = [{**JOURNAL, "matches": "A=b"}, {**JOURNAL, "name": "second", "matches": "A=c"}]
    assert wrong(*parts) == []
    docker = {"name": "docker", "type": "docker"}
    assert "read the same docker" in wrong(docker, {**docker, "name": "second"})[0]
    assert wrong(docker, {**docker, "name": "second", "host": "tcp://192.0.2.5:2375"}) == []


def test_warnings() -> None:
    """What works but should be known."""
    assert log_sources.warnings(variables(*NGINX, APP)) == []
    [end] = log_sources.warnings(variables(watchkeeper_log_agent="promtail"))
    assert "2 March 2026" in end
    assert "alloy" in end
    syslog = {"name": "syslog", "type": "syslog", "paths": ["/var/log/syslog"]}
    [twice] = log_sources.warnings(variables(syslog))
    assert twice.startswith(f"{SOURCES}[0] reads syslog files beside the journal")
    assert log_sources.warnings(variables(syslog, {"name": "journal", "state": "absent"})) == []


@pytest.mark.parametrize(
    ("path", "exclude", "warned"),
    [
        ("/var/log/shop/*", [], True),
        ("/var/log/shop/app.log*", [], True),
        ("/var/log/shop/**", [], True),
        ("/var/log/shop/*", ["/var/log/shop/*.[0-9]*"], False),
        ("/var/log/shop/app-*.log", [], False),
        ("/var/log/shop/app.log", [], False),
    ],
)
def test_files_that_are_turned_over(path: str, exclude: list[str], warned: bool) -> None:
    """Under its new name a file would be read again."""
    found = log_sources.warnings(variables({**TEXT, "paths": [path], "exclude": exclude}))
    assert bool(found) == warned
    assert all("turned-over files" in text for text in found)


# --- masks --------------------------------------------------------------------------------------------------------


def mask(line: str, replaces: Sequence[Replace] | None = None) -> str:
    """Replace as both agents do: what groups capture, from left to right, one mask after the other."""
    stages = source(TEXT).stages if replaces is None else replaces
    for stage in (item for item in stages if isinstance(item, Replace)):
        found, end = "", 0
        for match in compile_expression(stage.expression).finditer(line):
            for first, last in (match.span(group) for group in range(1, len(match.groups()) + 1)):
                if first != -1 and (end == 0 or end <= first):
                    found += line[end:first] + stage.replace
                    end = last
        line = found + line[end:]
    return line


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
# S is a secret of which nothing may be left.
SECRET_LINES = (
    ("Authorization: Bearer S", "planted-1234"),
    ("> authorization: Basic S", "dXM6cGxhbnRlZA=="),
    ("authorization=S;", "planted-value-of-some-length"),
    ('{"headers":{"authorization":"Bearer S","accept":"*/*"}}', "planted-1234"),
    (r'{"m":"{\"authorization\":\"Token S\",\"a\":1}"}', "planted-1234"),
    ("x-api-key: S", "planted"),
    ("sent with bearer S to the API", "planted.0123456789-abcdef"),
    ("curl -H 'Basic S'", "cGxhbnRlZDpwbGFudGVk="),
    ("session S ended", JWT),
    ('{"jwt_in_text":"got S"}', JWT),
    ('{"password":"S","user":"bob"}', 'pla\\"nted'),
    ('{"user":{"clientSecret" : "S"},"n":1}', "planted with spaces, and {marks}"),
    ('{"DB_PASSWORD": "S"}', "pl\\\\anted"),
    (r'{"body":"{\"password\":\"S\",\"user\":\"bob\"}"}', "planted"),
    ('{"refresh_token":"S"}', "planted"),
    ("{ password: 'S', user: 'bob' }", "planted"),
    ("{'api_key': 'S', 'a': 1}", "planted"),
    ("password=S", "planted"),
    ("password = S", "planted"),
    ("mysql --password=S --user bob", "pl,an)ted"),
    ("Config{user=x, password=S, db=z}", "pl,anted"),
    ('{"msg":"login failed for password=S","level":"warn"}', "planted"),
    (r'{"msg":"login with password=\"S\" failed"}', "planted two"),
    ('"GET /cb?access_token=S&state=7 HTTP/1.1" 200 5', "planted.def-1"),
    ("api_key=S", '"planted two"'),
    ("Server=db;Uid=sa;Pwd=S;Database=x", "z!planted"),
    ("https://x.example/a?sv=1&sig=S&se=2", "planted%2Fdef"),
    ("connect postgres://app:S@db:5432/x?sslmode=off failed", "planted"),
    ("redis://:S@192.0.2.1:6379/0", "pl@nted"),
    ("key S used", "AKIAIOSFODNN7EXAMPLE"),
    ("token S revoked", "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789"),
    ("posting with S", "xoxb-" + "123456789012-abcdefghijkl"),
    ("stripe S", "sk_" + "live_abcdefghij0123456789"),
    ("https://hooks.slack.com/services/S", "T000/B000/planted"),
    ("-----BEGIN RSA PRIVATE KEY-----S-----END RSA PRIVATE KEY-----", "\nProc-Type: 4,ENCRYPTED\n\nMIIEplanted+/=\n"),
    (r'{"key":"-----BEGIN PRIVATE KEY-----S","a":1}', r"\nMIIE\nplanted\n"),
)


@pytest.mark.parametrize(("line", "secret"), SECRET_LINES)
def test_secrets_are_masked(line: str, secret: str) -> None:
    """All of the secret and nothing else, and JSON is JSON afterwards."""
    found = mask(re.sub(r"\bS\b", lambda _match: secret, line))
    # A secret in quotation marks leaves them where they are.
    assert found == re.sub(r"\bS\b", '"***"' if secret.startswith('"') else "***", line)
    if line.startswith('{"'):
        assert json.loads(found).keys() == json.loads(line).keys()


@pytest.mark.parametrize(
    "line",
    [
        "sudo:   bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/apt",
        "Failed password for invalid user root from 192.0.2.1 port 22 ssh2",
        "Accepted publickey for bob: ED25519 SHA256:6q6CPMYOEzJ6pI1nPCjvvbvHSgY5sYjfNzmwDd0pBfk",
        "SyntaxError: Unexpected token: '}' in JSON at position 4",
        "SyntaxError: Unexpected token < in JSON",
        "Invalid token at line 3",
        "max_tokens=4096 token_count=5 tokens=12 tokenizer=bpe",
        "Authorization: required for this route",
        "basic authentication is required; bearer authentication too",
        "http://host:8080/path?x=a@b.de",
        "ssh://git@github.com:22/x.git",
        "https://example.com/a:b@c, mail to me@example.com",
        "user changed password: done",
        "password= is empty",
        "GET /auth/token HTTP/1.1",
        "task-abcdefghijklmnopqrstuvwxyzabcdefghijklmnop done",
        'time="2026-11-24T00:00:01Z" level=info msg="key rotated" key=abc',
        "image sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef pulled",
        "-----BEGIN CERTIFICATE-----MIIE-----END CERTIFICATE-----",
        '{"message":"Invalid password","code":401,"field":"password"}',
        '{"secret":null,"token":true,"password":123,"pass":""}',
        '{"password":"","user":"bob"}',
        '{"token_type":"Bearer","expires_in":3600}',
        '{"request_id":"0b9f1c5e-6d1a-4f0e-9a57-0123456789ab","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}',
        '192.0.2.7 - - [24/Nov/2026:00:00:01 +0100] "GET /a?b=c HTTP/1.1" 200 512 "https://x/" "curl/8"',
    ],
)
def test_ordinary_lines_stay(line: str) -> None:
    """A mask that eats what people look for is switched off."""
    assert mask(line) == line


def test_masks_of_the_inventory() -> None:
    """By name; without a group the whole match is replaced, as the agents would replace nothing."""
    added = [
        {"name": "customer", "expression": "C-[0-9]{6}", "replace": "C-(hidden)"},
        {"name": "jwt", "state": "absent"},
        {"name": "bearer", "replace": "?"},
    ]
    [found] = planned(watchkeeper_log_masks=added).sources
    stages = [stage for stage in found.stages if isinstance(stage, Replace)]
    assert stages[-1] == Replace("(C-[0-9]{6})", "C-(hidden)")
    assert mask("order of C-123456", stages) == "order of C-(hidden)"
    assert mask(JWT, stages) == JWT
    assert mask("bearer abcdefghijklmnopqrstuvwxyz", stages) == "bearer ?"


def test_masks_suit_both_agents() -> None:
    """Each compiles, captures something, and nothing of it is a template or a name among the extracted values."""
    for name, expression in log_masks.EXPRESSIONS.items():
        compiled = compile_expression(expression)
        assert compiled.groups > 0, name
        assert not compiled.groupindex, name
        assert compiled.search("") is None, name
        assert "{{" not in expression, name


def test_default_masks_are_documented() -> None:
    """By their names, as the inventory has to use them."""
    told = " ".join(documented(ROOT, "watchkeeper")["watchkeeper_log_masks_default"]["description"])
    assert set(re.findall(r"C\((\w+)\)", told)) == set(log_masks.EXPRESSIONS)


def expressions(stages: Sequence[Stage]) -> Iterator[str]:
    for stage in stages:
        if isinstance(stage, (Regex, Replace)):
            yield stage.expression
        elif isinstance(stage, Match):
            yield from expressions(stage.stages)


def test_extracted_values_are_no_labels() -> None:
    """Both agents put labels among the extracted values, and take a label away that is kept as metadata."""
    for item in planned(*NGINX, APP, {"name": "docker", "type": "docker", "json": True}).sources:
        for text in expressions(item.stages):
            assert all(name.startswith("entry_") for name in compile_expression(text).groupindex)
        stages = [*item.stages, *(inner for stage in item.stages if isinstance(stage, Match) for inner in stage.stages)]
        for stage in stages:
            if isinstance(stage, Json):
                assert all(name.startswith(("entry_", "field_")) for name in stage.fields)


# --- in a run -----------------------------------------------------------------------------------------------------

PLAY = """
- name: Check the inventory
  hosts: all
  gather_facts: false
  tasks:
    - name: Check
      preflight:
      ignore_errors: true
    - name: Render
      ansible.builtin.debug:
        msg: "{{ lookup('watchkeeper', 'logs') | combine(files) }}"
      vars:
        files: "{{ {'promtail': promtail, 'alloy': alloy} if inventory_hostname in ['web', 'old'] else {} }}"
        promtail: "{{ (lookup('watchkeeper', 'logs') | promtail_config(settings)).files }}"
        alloy: "{{ (lookup('watchkeeper', 'logs') | alloy_config(settings)).files }}"
        settings:
          promtail_listen_address: 0.0.0.0
          promtail_port: 9080
          promtail_data_dir: /var/lib/promtail
          promtail_log_level: info
          promtail_batch_size: 1048576
          promtail_batch_wait: 1s
          alloy_batch_size: 1MiB
          alloy_batch_wait: 1s
          alloy_log_level: info
          alloy_data_dir: /var/lib/alloy
          watchkeeper_log_groups: []
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Hosts that each say something else about their logs."""
    nodes: dict[str, dict[str, Any]] = {
        "web": {"ansible_host": "192.0.2.7"},
        "engine": {"watchkeeper_log_masks": [{"name": "jwt", "state": "absent"}]},
        "bad": {"watchkeeper_log_sources": [{**APP, "paths": ["shop.log"]}], "watchkeeper_log_password": "planted"},
        "odd": {"watchkeeper_log_agent": "fluentd"},
        "old": {"watchkeeper_log_agent": "promtail", "watchkeeper_log_url": "https://logs.example.com"},
        "off": {"watchkeeper_log_agent": "none", "watchkeeper_log_sources": [{"name": "?"}]},
        "gone": {"alloy_state": "absent", "watchkeeper_log_sources": [{"name": "?"}]},
    }
    hosts = inventory(
        {"mon": {"ansible_host": "192.0.2.1", "loki_port": 3101}},
        nodes,
        {"edge": ["web"], "docker": ["engine"]},
        watchkeeper_groups={"nginx": "edge"},
    )
    return run_site(tmp_path_factory.mktemp("logs"), hosts, playbook=PLAY)


def rendered(run: Run, host: str) -> dict[str, Any]:
    found: dict[str, Any] = run.of("ansible.builtin.debug", host)["msg"]
    return found


def test_default_sources(checked: Run) -> None:
    """By the parts that a host plays, whatever their groups are called."""
    names = {
        host: [item.name for item in log_sources.plan(rendered(checked, host)).sources]
        for host in ("mon", "web", "engine")
    }
    assert names == {
        "mon": ["journal"],
        "web": ["journal", "nginx_access", "nginx_error"],
        "engine": ["journal", "docker"],
    }


def test_default_masks_in_a_run(checked: Run) -> None:
    """They are there without being written into the inventory, and can be taken out."""
    counts = {
        host: sum(isinstance(stage, Replace) for stage in log_sources.plan(rendered(checked, host)).sources[0].stages)
        for host in ("web", "engine")
    }
    assert counts == {"web": len(log_masks.DEFAULTS), "engine": len(log_masks.DEFAULTS) - 1}


def test_where_a_host_sends_its_logs(checked: Run) -> None:
    """To the host that runs Loki, by its own port; to itself over loopback; or where it is told to."""
    urls = {host: rendered(checked, host)["url"] for host in ("mon", "web", "old")}
    assert urls == {
        "mon": "http://127.0.0.1:3101/loki/api/v1/push",
        "web": "http://192.0.2.1:3101/loki/api/v1/push",
        "old": "https://logs.example.com/loki/api/v1/push",
    }
    assert rendered(checked, "web")["host"] == "web"


@pytest.mark.parametrize(("agent", "path"), [("promtail", "promtail.yml"), ("alloy", "config.alloy")])
def test_filters(checked: Run, agent: str, path: str) -> None:
    """Values as a run has them become files, in which Ansible leaves the agents' own templates alone."""
    [content] = [item["content"] for item in rendered(checked, "web")[agent] if item["path"] == path]
    assert "{{ $method := .entry_method" in content
    assert URL.replace("3100", "3101") in content


def test_preflight_refuses(checked: Run) -> None:
    """Before anything changes; hosts without an agent are not asked."""
    assert "watchkeeper_log_sources[0].paths[0] is 'shop.log'" in checked.errors["bad"]
    assert "one of alloy, promtail, none" in checked.errors["odd"]
    assert not {"web", "engine", "old", "off", "gone"} & set(checked.errors)
    assert "planted" not in " ".join(checked.errors.values())


def test_preflight_warns(checked: Run) -> None:
    """Of Promtail's end, in the run's own notes."""
    assert log_sources.PROMTAIL_END in checked.of("preflight", "old")["notes"]
    assert checked.of("preflight", "web")["notes"] == []
