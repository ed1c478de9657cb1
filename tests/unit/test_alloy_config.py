"""Alloy's configuration: every variant is one that Alloy takes, and says the same of a line as Promtail's."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2.nativetypes
import pytest
import yaml
from ansible.module_utils.watchkeeper import alloy_config, log_masks, log_sources
from ansible.module_utils.watchkeeper.log_sources import (
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
from ansible.module_utils.watchkeeper.release import unpack_program

from tests.unit import alloy_schema
from tests.unit.alloy_schema import Block, Reference, parse, problems
from tests.unit.live import ARCH, MIRROR, Program, answers, free_port, get, sample, wait_until
from tests.unit.runs import ROOT, Run, inventory, run_site

VALUES: dict[str, Any] = {
    "alloy_batch_size": "1MiB",
    "alloy_batch_wait": "1s",
    "alloy_log_level": "info",
    "alloy_data_dir": "/var/lib/alloy",
    "promtail_data_dir": "/var/lib/promtail",
    "watchkeeper_log_groups": [],
}
META = "__meta_docker_container_"
JOURNAL = Source(
    "system",
    "journal",
    matches="_TRANSPORT=kernel PRIORITY=3",
    max_age="2d",
    relabel=(Relabel("__journal__systemd_unit", "(.+)", "$1", "unit"),),
    stages=(StaticLabels({"job": "journal", "team": "ops"}), Labels({"level": "level"})),
)
NGINX = Source(
    "nginx_access",
    "files",
    paths=("/var/log/nginx/*access.log", "/srv/**/access.{log,txt}"),
    exclude=("/var/log/nginx/old/**", "*.gz"),
    stages=(
        StaticLabels({"job": "nginx"}),
        Replace(r"(?i)token=([^\s&\"]+)", "***"),
        Replace(r'"password":\s*"[^"]*"', '"password": "***"'),
        Regex(r'^(?P<ip>\S+) \S+ \S+ \[(?P<at>[^\]]+)\] "(?P<method>\w+) [^"]*" (?P<status>\d)'),
        Timestamp("at", ("02/Jan/2006:15:04:05 -0700",)),
        Template("status", '{{ printf "%sxx" .Value }}'),
        Labels({"method": "", "status": "status"}),
    ),
)
APPLICATION = Source(
    "application",
    "files",
    paths=("/var/log/app/app.log",),
    stages=(
        StaticLabels({"job": "app"}),
        Multiline(r"^(\{|\d{4}-\d{2}-\d{2})", 500, "3s"),
        Match(
            '{job="app"} |~ "^\\\\{"',
            (
                Json({"level": "level", "context": "context", "at": "timestamp", "trace id": 'a."b-c"'}),
                Match('{job="app"} |= "x"', (Labels({"q": "q"}),)),
            ),
        ),
        Timestamp("at", ("RFC3339Nano", "2006-01-02 15:04:05"), "Europe/Berlin"),
        StructuredMetadata({"context": "context", "trace_id": "trace id"}),
    ),
)
CONTAINERS = Source(
    "containers",
    "docker",
    docker_host="unix:///var/run/docker.sock",
    relabel=(
        Relabel(f"{META}name", "/(.*)", "$1", "container"),
        Relabel(f"{META}log_stream", "(.+)", "$1", "stream"),
        Relabel(f"{META}label_com_docker_compose_project", "(.+)", "$1", "compose_project"),
    ),
    stages=(StaticLabels({"job": "docker"}),),
)
PLAN = Plan(
    "http://192.0.2.7:3100/loki/api/v1/push",
    {"host": "web-1", "environment": "production"},
    (JOURNAL, NGINX, APPLICATION, CONTAINERS),
)
VARIANTS = {
    "everything": PLAN,
    "nothing": replace(PLAN, labels={}, sources=()),
    "a tenant": replace(PLAN, tenant="team-a"),
    "a login": replace(PLAN, username="agent", password="the-secret"),  # noqa: S106
    "a name without password": replace(PLAN, username="agent"),
    "bare sources": replace(
        PLAN,
        sources=(
            Source("a", "journal"),
            Source("b", "files", paths=("/a.log",)),
            Source("c", "docker", docker_host="tcp://127.0.0.1:2375"),
        ),
    ),
    **{f"{source.name} alone": replace(PLAN, sources=(source,)) for source in PLAN.sources},
}
# Each stage alone, and those that have nothing to do.
STAGES: list[Stage] = [
    *(stage for source in PLAN.sources for stage in source.stages),
    Labels({}),
    StaticLabels({}),
    StructuredMetadata({}),
    Json({}),
    Match('{job="x"}', ()),
    Match('{job="x"}', (Labels({}),)),
]
every_variant = pytest.mark.parametrize("plan", VARIANTS.values(), ids=VARIANTS)


def config(plan: Plan, **values: Any) -> str:
    """The document for a plan."""
    return alloy_config.config(plan, {**VALUES, **values})


def blocks(plan: Plan, name: str) -> list[Block]:
    """The top-level blocks of a name."""
    return [block for block in parse(config(plan)) if block.name == name]


def of_source(*sources: Source) -> Plan:
    """A plan of these sources alone."""
    return replace(PLAN, sources=sources)


# What Alloy takes


@every_variant
def test_every_variant_is_one_that_alloy_takes(plan: Plan) -> None:
    assert problems(config(plan)) == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize("source", PLAN.sources, ids=lambda source: source.input)
def test_every_stage_fits_behind_every_input(source: Source, stage: Stage) -> None:
    assert problems(config(of_source(replace(source, stages=(stage,))))) == []


def test_what_is_declared_is_what_alloy_takes() -> None:
    """Every type of source, with the masks that every line passes."""
    declared: list[dict[str, Any]] = [
        {"name": "journal", "type": "journal"},
        {"name": "syslog", "type": "syslog", "paths": ["/var/log/syslog"]},
        {"name": "nginx_access", "type": "nginx_access", "paths": ["/var/log/nginx/*access.log"]},
        {"name": "nginx_error", "type": "nginx_error", "paths": ["/var/log/nginx/*error.log"]},
        {"name": "app", "type": "json", "paths": ["/var/log/app/*.log"]},
        {"name": "docker", "type": "docker"},
    ]
    logs = {
        "watchkeeper_log_agent": "alloy",
        "watchkeeper_log_sources_default": declared,
        "watchkeeper_log_sources": [],
        "watchkeeper_log_masks_default": [dict(mask) for mask in log_masks.DEFAULTS],
        "watchkeeper_log_masks": [],
        "watchkeeper_log_labels": {"environment": "production"},
        "watchkeeper_log_url": "",
        "watchkeeper_log_tenant": "",
        "watchkeeper_log_username": "",
        "watchkeeper_log_password": "",
        "watchkeeper_log_groups": [],
    }
    plan = log_sources.plan(log_sources.variables_of(logs, "web-1", PLAN.url))
    assert problems(config(plan)) == []
    assert [block.label for block in blocks(plan, "loki.process")] == [item["name"] for item in declared]
    assert all(block.inner("stage.replace") for block in blocks(plan, "loki.process"))


@pytest.mark.parametrize(
    ("written", "instead", "complaint"),
    [
        ("max_backoff_retries = 0", "max_backoff_tries = 0", "there is no attribute max_backoff_tries"),
        ("forward_to = [loki.write", "forward = [loki.write", "forward_to is missing"),
        ("max_backoff_retries = 0", 'max_backoff_retries = "0"', "max_backoff_retries is '0'"),
        ('max_age       = "48h"', 'max_age       = "2d"', "max_age is '2d'"),
        ("loki.write.default.receiver", "loki.write.other.receiver", "does not exist"),
        ("loki.write.default.receiver", "loki.write.default.rules", "forward_to is"),
        ("file_match {", "file_matching {", "there is no block file_matching"),
        ("external_labels =", "queue_config { }\n\texternal_labels =", "there is no block queue_config"),
        ('loki.process "nginx_access"', 'loki.process "system"', "stands there twice"),
        ('loki.process "system"', 'loki.procession "system"', "there is no such component"),
        ("logging {", "loggings {", "there is no such block"),
        ('regex         = "/(.*)"', 'regex         = "/(.*"', "not a regular expression"),
        ('format = "logfmt"', "format = 'logfmt'", "unreadable"),
        ('format = "logfmt"', 'format = "\\d"', "unknown escape"),
        ('format = "logfmt"', 'level = "debug"', "stands there twice"),
    ],
)
def test_what_alloy_refuses_is_found(written: str, instead: str, complaint: str) -> None:
    """The judge of the tests above is one that finds something."""
    text = config(PLAN)
    assert written in text
    assert any(complaint in problem for problem in problems(text.replace(written, instead, 1)))


def test_the_layout_is_that_of_alloys_own_formatter() -> None:
    source = Source(
        "app",
        "files",
        paths=("/var/log/a.log", "/var/log/b.log"),
        exclude=("*.gz",),
        stages=(Json({"level": "level", "a b": "x"}), Timestamp("at", ("RFC3339",))),
    )
    text = config(replace(PLAN, labels={"host": "web"}, sources=(source,)))
    assert text.startswith("// Managed by Watchkeeper")
    assert text[text.index("loki.write") :] == (
        'loki.write "default" {\n'
        "\texternal_labels = {\n"
        '\t\thost = "web",\n'
        "\t}\n"
        "\n"
        "\tendpoint {\n"
        '\t\turl                 = "http://192.0.2.7:3100/loki/api/v1/push"\n'
        '\t\tbatch_size          = "1MiB"\n'
        '\t\tbatch_wait          = "1s"\n'
        '\t\tmin_backoff_period  = "500ms"\n'
        '\t\tmax_backoff_period  = "10s"\n'
        "\t\tmax_backoff_retries = 0\n"
        '\t\tremote_timeout      = "10s"\n'
        "\t\tretry_on_http_429   = true\n"
        "\t}\n"
        "}\n"
        "\n"
        'loki.source.file "app" {\n'
        "\ttargets = [\n"
        '\t\t{__path__ = "/var/log/a.log", __path_exclude__ = "*.gz"},\n'
        '\t\t{__path__ = "/var/log/b.log", __path_exclude__ = "*.gz"},\n'
        "\t]\n"
        "\tforward_to = [loki.process.app.receiver]\n"
        "\n"
        "\tfile_match {\n"
        "\t\tenabled     = true\n"
        '\t\tsync_period = "10s"\n'
        "\t}\n"
        "}\n"
        "\n"
        'loki.process "app" {\n'
        "\tforward_to = [loki.write.default.receiver]\n"
        "\n"
        "\tstage.json {\n"
        "\t\texpressions = {\n"
        '\t\t\tlevel = "level",\n'
        '\t\t\t"a b" = "x",\n'
        "\t\t}\n"
        "\t}\n"
        "\n"
        "\tstage.timestamp {\n"
        '\t\tsource                        = "at"\n'
        '\t\tformat                        = "RFC3339"\n'
        '\t\taction_on_duplicate_timestamp = "keep"\n'
        "\t}\n"
        "}\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        r'^\d{4}-"x"\\\\"$',
        "\\",
        '"',
        "tab\tnewline\nreturn\r",
        "{{ .Value }} ${x} $1 `backquotes` 'single' // no comment",
        "".join(map(chr, [*range(0x120), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0x1F600, 0xE000, 0x10FFFF])),
    ],
)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    found = blocks(of_source(replace(NGINX, stages=(Regex(text),))), "loki.process")[0]
    assert found.inner("stage.regex")[0].attributes["expression"] == text


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="half of a character"):
        alloy_config.literal("\ud800")


@pytest.mark.parametrize("key", ["true", "null", "with space", "1st", 'quo"te', "a-b", ""])
def test_a_key_that_is_no_name_is_quoted(key: str) -> None:
    found = blocks(of_source(replace(NGINX, stages=(Json({key: "x"}),))), "loki.process")[0]
    assert found.inner("stage.json")[0].attributes["expressions"] == {key: "x"}


def test_a_source_whose_name_cannot_be_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="'my-app' cannot be the name of a source"):
        config(of_source(replace(NGINX, name="my-app")))


# What becomes of a line


def read_back(block: Block) -> Stage:
    """The stage that a block stands for."""
    values = block.attributes
    match block.name.removeprefix("stage."):
        case "multiline":
            return Multiline(values["firstline"], values["max_lines"], values["max_wait_time"])
        case "replace":
            return Replace(values["expression"], values["replace"])
        case "json":
            return Json(values["expressions"])
        case "regex":
            return Regex(values["expression"])
        case "template":
            return Template(values["source"], values["template"])
        case "timestamp":
            formats = (values["format"], *values.get("fallback_formats", []))
            return Timestamp(values["source"], formats, values.get("location", ""))
        case "labels":
            return Labels(values["values"])
        case "static_labels":
            return StaticLabels(values["values"])
        case "structured_metadata":
            return StructuredMetadata(values["values"])
        case "match":
            return Match(values["selector"], tuple(map(read_back, block.blocks)))
    raise AssertionError(block.name)


def test_every_stage_is_there_in_its_order() -> None:
    found = {block.label: tuple(map(read_back, block.blocks)) for block in blocks(PLAN, "loki.process")}
    grouped = replace(NGINX, stages=tuple(map(with_group, NGINX.stages)))
    assert found == {source.name: source.stages for source in (JOURNAL, grouped, APPLICATION, CONTAINERS)}


def with_group(stage: Stage) -> Stage:
    """A mask as Alloy needs it: the second of the two in `NGINX` has no group."""
    if isinstance(stage, Replace) and "password" in stage.expression:
        return Replace(f"({stage.expression})", stage.replace)
    return stage


@pytest.mark.parametrize(
    ("expression", "groups"),
    [
        (r"password=\S+", False),
        (r"password=(\S+)", True),
        (r"(?P<x>a)", True),
        (r"(?<x>a)", True),
        (r"(?i)(?:a|b)", False),
        (r"(?i:a)(b)", True),
        (r"\(a\)", False),
        (r"\\(a)", True),
        (r"[(]a", False),
        (r"[](]a", False),
        (r"[^](]a", False),
        (r"[\](]a", False),
        (r"[[:alpha:](]a", False),
        (r"[[:alpha:]](a)", True),
        (r"[a](b)", True),
        (r"[[(]", False),
        (r"\Q(a)\E", False),
        (r"\Q(a)\E(b)", True),
        (r"\Q(a", False),
        ("", False),
    ],
)
def test_a_mask_without_a_group_hides_the_whole_match(expression: str, groups: bool) -> None:
    assert alloy_config.capturing(expression) == (expression if groups else f"({expression})")


def test_stages_with_nothing_to_do_are_left_out() -> None:
    idle = (Labels({}), StaticLabels({}), StructuredMetadata({}), Json({}), Match("{}", (Labels({}),)))
    assert blocks(of_source(replace(NGINX, stages=idle)), "loki.process")[0].blocks == []


def test_every_line_passes_its_stages_on_the_way_to_loki() -> None:
    for source in (block for kind in ("journal", "file", "docker") for block in blocks(PLAN, f"loki.source.{kind}")):
        assert source.attributes["forward_to"] == [Reference("loki.process", source.label, "receiver")]
    for process in blocks(PLAN, "loki.process"):
        assert process.attributes["forward_to"] == [Reference("loki.write", "default", "receiver")]


# Sources


def test_targets_of_files_have_no_labels_of_their_own() -> None:
    """Alloy keeps positions by path and labels: `{}` is what the carrying from Promtail writes."""
    [source] = blocks(of_source(NGINX), "loki.source.file")
    exclude = "{/var/log/nginx/old/**,*.gz}"
    assert source.label == "nginx_access"
    assert source.attributes["targets"] == [
        {"__path__": "/var/log/nginx/*access.log", "__path_exclude__": exclude},
        {"__path__": "/srv/**/access.{log,txt}", "__path_exclude__": exclude},
    ]
    assert source.inner("file_match")[0].attributes["enabled"] is True
    [plain] = blocks(of_source(APPLICATION), "loki.source.file")
    assert plain.attributes["targets"] == [{"__path__": "/var/log/app/app.log"}]


def test_the_journal_says_its_job_before_alloy_does() -> None:
    [source] = blocks(of_source(JOURNAL), "loki.source.journal")
    assert source.attributes["labels"] == {"job": "journal", "team": "ops"}
    assert source.attributes["matches"] == "_TRANSPORT=kernel PRIORITY=3"
    assert source.attributes["max_age"] == "48h"
    assert source.attributes["relabel_rules"] == Reference("loki.relabel", "system", "rules")
    [rules] = blocks(of_source(JOURNAL), "loki.relabel")
    assert rules.attributes == {"forward_to": []}
    assert [rule.attributes for rule in rules.blocks] == [
        {
            "source_labels": ["__journal__systemd_unit"],
            "regex": "(.+)",
            "replacement": "$1",
            "target_label": "unit",
        }
    ]
    [bare] = blocks(of_source(Source("bare", "journal")), "loki.source.journal")
    assert bare.attributes["labels"] == {"job": "bare"}
    assert not {"relabel_rules", "matches"} & set(bare.attributes)


def test_targets_of_containers_keep_what_lasts() -> None:
    """Their labels are part of the position's key: the address in a network would be another one after each start."""
    [discovered] = blocks(of_source(CONTAINERS), "discovery.relabel")
    [keep] = discovered.blocks
    assert keep.attributes["action"] == "labelkeep"
    known = (f"{META}id", f"{META}name", f"{META}network_mode", "__meta_docker_network_ip")
    kept = [name for name in known if re.fullmatch(keep.attributes["regex"], name)]
    assert kept == [f"{META}id", f"{META}name"]
    [source] = blocks(of_source(CONTAINERS), "loki.source.docker")
    assert source.attributes["targets"] == Reference("discovery.relabel", "containers", "output")
    assert source.attributes["host"] == "unix:///var/run/docker.sock"
    # Labels given here would be part of the key as well.
    assert "labels" not in source.attributes
    [rules] = blocks(of_source(CONTAINERS), "loki.relabel")
    assert [rule.attributes["target_label"] for rule in rules.blocks] == ["container", "stream", "compose_project"]


def test_what_the_agents_know_of_each_other_is_enough_to_carry_positions(tmp_path: Path) -> None:
    """The program that carries them reads our file, and keys containers by the labels that their targets keep."""
    rendered = {item["path"]: item["content"] for item in alloy_config.render(PLAN, VALUES).files}
    assert json.loads(rendered["carry.json"]) == {
        "to": "alloy",
        "promtail": "/var/lib/promtail/positions.yaml",
        "alloy": "/var/lib/alloy/data",
        "files": [
            {"name": "nginx_access", "paths": list(NGINX.paths)},
            {"name": "application", "paths": list(APPLICATION.paths)},
        ],
        "journals": ["system"],
        "docker": [
            {
                "name": "containers",
                "host": "unix:///var/run/docker.sock",
                "labels": [f"{META}id", f"{META}label_com_docker_compose_project", f"{META}name"],
            }
        ],
    }
    file = tmp_path / "carry.json"
    file.write_text(rendered["carry.json"], encoding="utf-8")
    path = ROOT / "files" / "log_agent" / "carry_positions.py"
    spec = importlib.util.spec_from_file_location("carry_positions_of_alloy", path)
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    plan = program.read_plan(str(file))
    assert plan.to == "alloy"
    assert [source.name for source in plan.files] == ["nginx_access", "application"]


# Towards Loki


def test_lines_wait_for_loki_for_ever() -> None:
    [write] = blocks(PLAN, "loki.write")
    assert write.attributes["external_labels"] == {"host": "web-1", "environment": "production"}
    [endpoint] = write.blocks
    assert endpoint.attributes["url"] == PLAN.url
    assert endpoint.attributes["max_backoff_retries"] == 0
    assert endpoint.attributes["retry_on_http_429"] is True
    assert not {"tenant_id"} & set(endpoint.attributes)
    assert endpoint.blocks == []
    other = parse(config(PLAN, alloy_batch_size="256KiB", alloy_batch_wait="500ms", alloy_log_level="debug"))
    [write] = [block for block in other if block.name == "loki.write"]
    assert write.blocks[0].attributes["batch_size"] == "256KiB"
    assert write.blocks[0].attributes["batch_wait"] == "500ms"
    assert other[0].attributes["level"] == "debug"


def test_the_password_is_in_its_file_alone() -> None:
    plan = VARIANTS["a login"]
    rendered = alloy_config.render(plan, VALUES)
    assert rendered.secrets == {"secrets/loki_password": "the-secret"}
    [login] = blocks(plan, "loki.write")[0].blocks[0].inner("basic_auth")
    assert login.attributes == {"username": "agent", "password_file": "{config}/secrets/loki_password"}
    assert "the-secret" not in json.dumps([rendered.files, rendered.settings, rendered.generate])
    assert "the-secret" not in repr(rendered)
    assert alloy_config.render(PLAN, VALUES).secrets == {}
    tenant = blocks(VARIANTS["a tenant"], "loki.write")[0].blocks[0]
    assert tenant.attributes["tenant_id"] == "team-a"


def test_strangers_get_metrics_and_health_and_nothing_else() -> None:
    [auth] = blocks(PLAN, "http")[0].blocks
    [basic], [allowed] = auth.inner("basic"), auth.inner("filter")
    assert allowed.attributes["authenticate_matching_paths"] is False
    assert allowed.attributes["paths"] == ["/metrics", "/-/ready", "/-/healthy"]
    assert basic.attributes["password"] == Reference("local.file", "ui_password", "content")
    [file] = blocks(PLAN, "local.file")
    assert file.attributes == {"filename": "{config}/secrets/ui_password", "is_secret": True}
    # The host makes it, so that it differs from host to host.
    assert alloy_config.render(PLAN, VALUES).generate == ["secrets/ui_password"]


# The unit


@pytest.mark.parametrize(
    ("plan", "more", "groups"),
    [
        (of_source(JOURNAL), [], "adm systemd-journal"),
        (of_source(JOURNAL, CONTAINERS), [], "adm systemd-journal docker"),
        (of_source(replace(CONTAINERS, docker_host="tcp://127.0.0.1:2375")), [], "adm systemd-journal"),
        (of_source(NGINX), ["www-data", "adm"], "adm systemd-journal www-data"),
    ],
)
def test_the_agent_is_in_the_groups_that_may_read(plan: Plan, more: list[str], groups: str) -> None:
    found = alloy_config.settings(plan, {**VALUES, "watchkeeper_log_groups": more})
    assert found["SupplementaryGroups"] == groups


@pytest.mark.parametrize(
    ("path", "opened"),
    [
        ("/var/log/app/*.log", {}),
        ("/home/deploy/app/logs/*.log", {"ProtectHome": "read-only"}),
        ("/tmp/app.log", {"PrivateTmp": False}),  # noqa: S108
    ],
)
def test_the_sandbox_hides_no_declared_source(path: str, opened: dict[str, Any]) -> None:
    found = alloy_config.settings(of_source(replace(APPLICATION, paths=(path,))), VALUES)
    assert {key: found[key] for key in ("ProtectHome", "PrivateTmp") if key in found} == opened


def test_positions_are_carried_before_a_start() -> None:
    command = "/usr/bin/python3 {config}/carry_positions.py {config}/carry.json"
    assert alloy_config.settings(PLAN, VALUES)["ExecStartPre"] == command


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, url="http://192.0.2.8:3100/loki/api/v1/push"),
        replace(PLAN, labels={"host": "web-2"}),
        VARIANTS["a tenant"],
        VARIANTS["a login"],
    ],
)
def test_another_loki_is_a_restart(other: Plan) -> None:
    """A reload would wait for the old one, which may be away for good."""
    assert alloy_config.settings(other, VALUES)["X-Loki"] != alloy_config.settings(PLAN, VALUES)["X-Loki"]


def test_other_sources_are_a_reload() -> None:
    """The unit stays as it is, unless a source needs another group."""
    other = of_source(JOURNAL, replace(CONTAINERS, stages=()))
    assert alloy_config.settings(other, VALUES) == alloy_config.settings(PLAN, VALUES)


# Variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1s", "1s"), ("500ms", "500ms"), ("1h30m", "1h30m"), ("7d", "168h"), ("1w", "168h"), ("1d30s", "86430s")],
)
def test_durations_are_those_of_go(text: str, expected: str) -> None:
    assert alloy_config.go_duration(text) == expected


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        alloy_config.go_duration("soon")


def test_good_variables_are_taken() -> None:
    assert alloy_config.problems(VALUES) == []
    assert alloy_config.problems({**VALUES, "alloy_batch_size": "4MiB", "alloy_batch_wait": "1m"}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("alloy_batch_size", value) for value in ("", "1000", "0MiB", "5MiB", "1GiB", "1.5MiB", "512B")),
        *(("alloy_batch_wait", value) for value in ("", "0s", "2m", "1", "soon")),
        *(("alloy_data_dir", value) for value in ("", "data", "/", "/var/lib/a b", "/home/alloy", "/var/tmp")),  # noqa: S108
    ],
)
def test_bad_variables_are_named(name: str, value: str) -> None:
    [problem] = alloy_config.problems({**VALUES, name: value})
    assert problem.startswith(f"{name} is {value!r}, but must be ")
    assert "group_vars" in problem


# The role


def role(part: str) -> Any:
    """A file of the role."""
    return yaml.safe_load((ROOT / "roles" / "alloy" / part).read_text(encoding="utf-8"))


def command(arguments: list[str]) -> list[str]:
    """The command line as the role puts it together."""
    template = jinja2.nativetypes.NativeEnvironment().from_string(role("vars/main.yml")["__alloy_command"])
    values = {**role("defaults/main.yml"), "alloy_arguments": arguments}
    found: Any = template.render(values)
    return [str(word) for word in found]


def test_the_command_line() -> None:
    found = command(["--cluster.name=x"])
    assert found[:2] == ["{release}/alloy", "run"]
    assert found[-2:] == ["--cluster.name=x", "{config}/config.alloy"]
    assert set(found[2:-2]) == {
        "--server.http.listen-addr=0.0.0.0:12345",
        "--storage.path={data}/data",
        "--disable-reporting",
        "--server.http.enable-pprof=false",
        "--server.http.disable-support-bundle",
    }


def test_the_task_takes_over_from_promtail_in_its_account() -> None:
    [task] = role("tasks/main.yml")
    component = task["component"]
    assert component["account"] == "log_agent"
    assert component["replaces"] == ["promtail"]
    assert component["check"] == [["{release}/alloy", "validate", "{config}/config.alloy"]]
    assert component["reload"] == {"prefix": "alloy_config_last_load"}
    assert "carry_positions.py" in str(role("vars/main.yml")["__alloy_programs"])


PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: alloy}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The role on hosts with each choice of an agent."""
    agents = {"old": "promtail", "moved": "promtail", "none": "none"}
    nodes: dict[str, dict[str, Any]] = {name: {"watchkeeper_log_agent": agent} for name, agent in agents.items()}
    nodes["moved"]["promtail_state"] = "absent"
    nodes["web"] = {"promtail_data_dir": "/srv/promtail", "alloy_unit_settings": {"MemoryMax": "1G"}}
    shared = {
        "watchkeeper_log_username": "agent",
        "watchkeeper_log_password": "the-secret",
        "watchkeeper_log_groups": ["www-data", "adm"],
    }
    hosts = inventory({"mon": {}}, nodes, {"docker": ["web"]}, **shared)
    found = run_site(tmp_path_factory.mktemp("run"), hosts, playbook=PLAYBOOK)
    assert found.code == 0, found.output
    return found


def test_a_host_gets_what_its_sources_need(run: Run) -> None:
    sent = run.component("alloy", "web")
    assert sent.arguments["secrets"] == {"secrets/loki_password": "the-secret"}
    assert sent.arguments["declaration"]["generate"] == ["secrets/ui_password"]
    assert problems(sent.file("config.alloy")) == []
    assert {block.name for block in parse(sent.file("config.alloy"))} >= {"loki.source.journal", "loki.source.docker"}
    assert sent.data("carry.json")["promtail"] == "/srv/promtail/positions.yaml"
    program = ROOT / "files" / "log_agent" / "carry_positions.py"
    assert sent.file("carry_positions.py") == program.read_text(encoding="utf-8")
    unit = sent.arguments["declaration"]["unit"].splitlines()
    assert "User=log_agent" in unit
    assert "Conflicts=promtail.service" in unit
    assert "SupplementaryGroups=adm systemd-journal docker www-data" in unit
    assert "MemoryMax=1G" in unit
    assert "SupplementaryGroups=adm systemd-journal www-data" in (
        run.component("alloy", "mon").arguments["declaration"]["unit"].splitlines()
    )
    assert "the-secret" not in run.output
    assert "the-secret" not in json.dumps(sent.arguments["declaration"])


def test_alloy_goes_where_it_is_not_the_agent_and_no_other_takes_over(run: Run) -> None:
    """Where Promtail does, its role takes Alloy away, once it has proven itself."""
    sent = {item.host: item.arguments.get("state", "present") for item in run.sent}
    assert sent == {"mon": "present", "web": "present", "none": "absent", "moved": "absent"}


# A real Alloy


PACKED = sorted(
    MIRROR.glob(f"alloy/*/alloy-linux-{ARCH}.zip"),
    key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)],
)
real = pytest.mark.skipif(not PACKED, reason=f"needs a release archive of alloy in the mirror {MIRROR}")


@pytest.fixture(scope="module")
def alloy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program."""
    place = tmp_path_factory.mktemp("alloy") / "alloy"
    unpack_program(PACKED[-1], place, str(PACKED[-1]))
    place.chmod(0o755)
    return str(place)


@real
@every_variant
def test_a_real_alloy_takes_every_variant(alloy: str, plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "config.alloy"
    file.write_text(config(plan), encoding="utf-8")
    for words in (["validate"], ["fmt", "--test"]):
        done = subprocess.run([alloy, *words, str(file)], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr


@real
def test_a_real_alloy_refuses_what_the_schema_refuses(alloy: str, tmp_path: Path) -> None:
    file = tmp_path / "config.alloy"
    file.write_text(config(PLAN).replace("max_backoff_retries", "max_backoff_tries"), encoding="utf-8")
    done = subprocess.run([alloy, "validate", str(file)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "max_backoff_tries" in done.stderr


class Sink(BaseHTTPRequestHandler):
    """Stands for Loki: takes whatever comes."""

    def do_POST(self) -> None:
        """Take a batch."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def loki() -> Iterator[str]:
    """Where batches are taken."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/push"
        server.shutdown()


class Running:
    """A real Alloy that reads the files of one folder."""

    def __init__(self, alloy: str, loki: str, folder: Path) -> None:
        self.folder, self.loki, self.port = folder, loki, free_port()
        self.log = folder / "app.log"
        (folder / "config" / "secrets").mkdir(parents=True)
        (folder / "config" / "secrets" / "ui_password").write_text("let me in", encoding="utf-8")
        self.write(APPLICATION.stages)
        words = [word.replace("{release}/alloy", alloy).replace("{config}", f"{folder}/config") for word in command([])]
        words = [
            word.replace("{data}", str(folder)).replace("0.0.0.0:12345", f"127.0.0.1:{self.port}") for word in words
        ]
        self.program = Program(words, folder / "output", answers(self.port))

    def write(self, stages: tuple[Stage, ...]) -> None:
        """Write a configuration."""
        source = replace(APPLICATION, paths=(str(self.folder / "*.log"),), stages=stages)
        text = config(replace(PLAN, url=self.loki, sources=(source,)))
        file = self.folder / "config" / "config.alloy"
        file.write_text(text.replace("{config}", str(file.parent)), encoding="utf-8")

    def get(self, path: str, login: str = "") -> int:
        """The status of a page."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def loaded(self) -> float:
        """When the last configuration was taken."""
        page = get(f"http://127.0.0.1:{self.port}/metrics")[1]
        found = re.search(r"^alloy_config_last_load_success_timestamp_seconds (\S+)$", page, re.MULTILINE)
        assert found
        assert re.search(r"^alloy_config_last_load_successful 1$", page, re.MULTILINE)
        return float(found[1])


@pytest.fixture(scope="module")
def running(alloy: str, loki: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """It runs."""
    found = Running(alloy, loki, tmp_path_factory.mktemp("running"))
    with found.program:
        wait_until(lambda: found.get("/-/healthy") == 200, "readiness", lambda: found.program.log)
        yield found


@real
def test_a_real_alloy_shows_its_pages_to_who_has_the_password(running: Running) -> None:
    for path in ("/metrics", "/-/ready", "/-/healthy"):
        assert running.get(path) == 200, path
    for path in ("/", "/-/reload", "/-/support", "/api/v0/web/components", "/debug/pprof/"):
        assert running.get(path) == 401, path
    assert running.get("/api/v0/web/components", "watchkeeper:let me in") == 200
    assert running.get("/api/v0/web/components", "watchkeeper:wrong") == 401
    assert running.get("/-/support", "watchkeeper:let me in") == 403


@real
def test_a_real_alloy_keeps_positions_where_the_carrying_looks(alloy: str, loki: str, tmp_path: Path) -> None:
    """While it runs they are those of some seconds ago; when it has ended, those of the last line."""
    found = Running(alloy, loki, tmp_path)
    found.log.write_text("one\ntwo\n", encoding="utf-8")
    file = tmp_path / "data" / "loki.source.file.application" / "positions.yml"
    with found.program:
        wait_until(lambda: found.get("/-/healthy") == 200, "readiness", lambda: found.program.log)
        page = f"http://127.0.0.1:{found.port}/metrics"
        wait_until(lambda: sample(get(page)[1], "loki_write_sent_entries_total") == [2.0], "two lines")
    assert found.program.process.returncode == 0
    assert file.read_text(encoding="utf-8") == (f"positions:\n  ? path: {found.log}\n    labels: '{{}}'\n  : \"8\"\n")


@real
def test_a_real_alloy_says_how_a_reload_went(running: Running) -> None:
    """One of a stage that cannot be built leaves the metric as it is after a good one; only its health shows it."""
    before = running.loaded()
    running.write((Labels({"a": "a"}),))
    running.program.process.send_signal(1)
    wait_until(lambda: running.loaded() > before, "a reload", lambda: running.program.log)
    assert running.get("/-/healthy") == 200
    before = running.loaded()
    running.write((Regex("(?P<x>a"),))
    running.program.process.send_signal(1)
    wait_until(lambda: running.loaded() > before, "a reload", lambda: running.program.log)
    assert running.get("/-/healthy") == 500


def test_the_schema_knows_every_block_that_is_written() -> None:
    """And nothing in it is left over from something that is no longer written, stages included."""
    used = {block.name for block in parse(config(PLAN))}
    assert used == {*alloy_schema.COMPONENTS, *alloy_schema.CONFIGURATION}
    stages = [inner for block in blocks(PLAN, "loki.process") for inner in block.blocks]
    stages += [inner for stage in stages for inner in stage.blocks]
    assert {stage.name for stage in stages} == set(alloy_schema.STAGES)


def test_the_program_for_carrying_needs_nothing_but_python() -> None:
    """It runs with the Python that the host has."""
    if not (python := shutil.which("python3", path="/usr/bin")):
        pytest.skip("needs the program /usr/bin/python3")
    program = ROOT / "files" / "log_agent" / "carry_positions.py"
    done = subprocess.run([python, "-I", str(program)], capture_output=True, text=True, check=False)
    assert "usage: carry_positions.py" in done.stderr
