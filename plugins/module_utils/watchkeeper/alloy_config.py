"""Alloy's configuration from a host's plan of logs: the document in Alloy's own syntax, secrets and the unit's needs.

What is here is plain data for the role's task. `log_sources` has made the plan, which Promtail's configuration is
rendered from as well: a line has the same labels whichever of the two sends it.

Alloy keeps positions by path and by the labels of the target, and drops those of a target that has gone. So targets
carry what they are found by and nothing else, their labels are set behind them, and a component is named after its
source alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from .declaration import digest
from .durations import parse_duration
from .log_agents import HOMES, TEMPORARY, batch_problems, unit_settings
from .log_sources import (
    Json,
    Labels,
    Match,
    Multiline,
    Plan,
    Regex,
    Replace,
    Source,
    Stage,
    StaticLabels,
    StructuredMetadata,
    Template,
    Timestamp,
)
from .validation import problem

HEADER = "// Managed by Watchkeeper: changes made here are undone by the next run.\n"
LOKI_PASSWORD = "secrets/loki_password"  # noqa: S105 - a path
# Who opens Alloy's pages, and where the host keeps the password that it made for them.
UI_USER = "watchkeeper"
UI_PASSWORD = "secrets/ui_password"  # noqa: S105 - a path
# What Prometheus and the readiness probe ask for; the pages and the reload by HTTP are for who has the password.
OPEN_PATHS = ("/metrics", "/-/ready", "/-/healthy")

# How soon a new file and a new container are read.
FILES_PERIOD, DOCKER_PERIOD = "10s", "5s"
MIN_BACKOFF, MAX_BACKOFF, REMOTE_TIMEOUT = "500ms", "10s", "10s"
CONTAINER_ID = "__meta_docker_container_id"
CONTAINER_STREAM = "__meta_docker_container_log_stream"

# Alloy gives what it holds 15 seconds to reach Loki. What stops slower than this waits for a Loki that is away.
STOP_SECONDS = 60

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS = ("true", "false", "null")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


# Alloy's syntax


@dataclass(frozen=True)
class Name:
    """A reference to what another component gives."""

    text: str


Value = Union[str, int, bool, Name, Sequence["Value"], Mapping[str, "Value"]]


@dataclass(frozen=True)
class Attribute:
    """A setting inside of a block."""

    name: str
    value: Value


@dataclass(frozen=True)
class Block:
    """A block, with a label where it is a component."""

    name: str
    label: str
    body: tuple[Statement, ...]


Statement = Union[Attribute, Block]


def literal(text: str) -> str:
    """Return a text as a string of Alloy's syntax, whose escapes are those of Go."""
    found = []
    for char in text:
        code = ord(char)
        if 0xD800 <= code < 0xE000:
            raise ValueError(f"{text!r} holds half of a character, which Alloy cannot read")
        if char in _ESCAPES:
            found.append(_ESCAPES[char])
        elif char.isprintable():
            found.append(char)
        else:
            # A byte order mark and NUL are refused as they are.
            found.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(found) + '"'


def _key(text: str) -> str:
    return text if _NAME.fullmatch(text) and text not in _KEYWORDS else literal(text)


def _value(value: Value, indent: str) -> str:
    if isinstance(value, Name):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, Mapping):
        inner = indent + "\t"
        width = max((len(_key(name)) for name in value), default=0)
        lines = [f"{inner}{_key(name):<{width}} = {_value(item, inner)},\n" for name, item in value.items()]
        return "{\n" + "".join(lines) + indent + "}" if lines else "{}"
    if any(isinstance(item, Mapping) for item in value):
        inner = indent + "\t"
        return "[\n" + "".join(f"{inner}{_inline(item)},\n" for item in value) + indent + "]"
    return "[" + ", ".join(_value(item, indent) for item in value) + "]"


def _inline(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_inline(item)}" for name, item in value.items()) + "}"
    return _value(value, "")


def document(statements: Sequence[Statement], indent: str = "") -> str:
    """Return statements as `alloy fmt` writes them: tabs, blocks apart, the signs of neighbours below each other."""
    lines: list[str] = []
    index = 0
    while index < len(statements):
        statement = statements[index]
        if isinstance(statement, Block):
            if not _NAME.fullmatch(statement.label or "_"):
                raise ValueError(f"{statement.label!r} cannot be the name of a source: letters, digits and '_' can")
            label = f' "{statement.label}"' if statement.label else ""
            body = document(statement.body, indent + "\t")
            lines.append(("\n" if index else "") + f"{indent}{statement.name}{label} {{\n{body}{indent}}}\n")
            index += 1
            continue
        # A value of several lines is the last of its neighbours.
        run: list[tuple[str, str]] = []
        while index < len(statements) and not (run and "\n" in run[-1][1]):
            following = statements[index]
            if isinstance(following, Block):
                break
            run.append((following.name, _value(following.value, indent)))
            index += 1
        width = max(len(name) for name, _ in run)
        lines += [f"{indent}{name:<{width}} = {value}\n" for name, value in run]
    return "".join(lines)


# The document


def go_duration(text: str) -> str:
    """Return a duration in Prometheus notation as Go reads it, which has no unit above the hour."""
    seconds = parse_duration(text)
    if not re.search("[dwy]", text):
        return text
    return f"{int(seconds // 3600)}h" if seconds % 3600 == 0 else f"{int(seconds)}s"


def capturing(expression: str) -> str:
    """Return an expression with a group, around the whole where it has none: what no group captures stays as it is."""
    index, size = 0, len(expression)
    while index < size:
        char = expression[index]
        if char == "\\":
            end = expression.find("\\E", index + 2) if expression.startswith("\\Q", index) else index
            index = size if end < 0 else end + 2
        elif char == "[":
            # A bracket is a member of the class where it comes first.
            index += 2 if expression.startswith("[^", index) else 1
            index += expression.startswith("]", index)
            while index < size and expression[index] != "]":
                named = expression.find(":]", index + 2) if expression.startswith("[:", index) else -1
                index = named + 2 if named >= 0 else index + (2 if expression[index] == "\\" else 1)
            index += 1
        elif char == "(" and not re.match(r"\(\?(?!P?<)", expression[index:]):
            return expression
        else:
            index += 1
    return f"({expression})"


def _attributes(values: Mapping[str, Value]) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, value) for name, value in values.items())


def _stage(stage: Stage) -> Block | None:
    """Return the block of a stage, or nothing for one that does nothing."""
    if isinstance(stage, Match):
        inner = _stages(stage.stages)
        return Block("stage.match", "", (Attribute("selector", stage.selector), *inner)) if inner else None
    values: dict[str, Value]
    if isinstance(stage, Multiline):
        values = {
            "firstline": stage.first_line,
            "max_lines": stage.max_lines,
            "max_wait_time": go_duration(stage.max_wait),
            # As Promtail does.
            "trim_newlines": False,
        }
        return Block("stage.multiline", "", _attributes(values))
    if isinstance(stage, Replace):
        values = {"expression": capturing(stage.expression), "replace": stage.replace}
        return Block("stage.replace", "", _attributes(values))
    if isinstance(stage, Regex):
        return Block("stage.regex", "", (Attribute("expression", stage.expression),))
    if isinstance(stage, Template):
        values = {"source": stage.source, "template": stage.template}
        return Block("stage.template", "", _attributes(values))
    if isinstance(stage, Timestamp):
        # By default Alloy would move equal times apart, and a line that is read again would be another one to Loki.
        values = {"source": stage.source, "format": stage.formats[0], "action_on_duplicate_timestamp": "keep"}
        if stage.formats[1:]:
            values["fallback_formats"] = list(stage.formats[1:])
        if stage.location:
            values["location"] = stage.location
        return Block("stage.timestamp", "", _attributes(values))
    if isinstance(stage, Json):
        return _mapping("stage.json", "expressions", stage.fields)
    names = {Labels: "labels", StaticLabels: "static_labels", StructuredMetadata: "structured_metadata"}
    return _mapping(f"stage.{names[type(stage)]}", "values", stage.values)


def _mapping(name: str, attribute: str, values: Mapping[str, str]) -> Block | None:
    return Block(name, "", (Attribute(attribute, dict(values)),)) if values else None


def _stages(stages: Sequence[Stage]) -> tuple[Block, ...]:
    return tuple(block for block in map(_stage, stages) if block)


def _leading_labels(source: Source) -> dict[str, str]:
    """Return the static labels with which a source's stages begin, `job` among them."""
    found = {"job": source.name}
    for stage in source.stages:
        if not isinstance(stage, StaticLabels):
            break
        found.update(stage.values)
    return found


def _relabel(source: Source) -> Block:
    """Return the rules from what the agent knows to labels; no line passes this component itself."""
    rules = tuple(
        Block(
            "rule",
            "",
            _attributes(
                {
                    "source_labels": [rule.source],
                    "regex": rule.regex,
                    "replacement": rule.replacement,
                    "target_label": rule.target,
                }
            ),
        )
        for rule in source.relabel
    )
    return Block("loki.relabel", source.name, (Attribute("forward_to", []), *rules))


def _alternatives(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else "{" + ",".join(patterns) + "}"


def _files(source: Source, forward: Attribute) -> tuple[Block, ...]:
    excluded: dict[str, Value] = {"__path_exclude__": _alternatives(source.exclude)} if source.exclude else {}
    targets = [{"__path__": path, **excluded} for path in source.paths]
    match = Block("file_match", "", _attributes({"enabled": True, "sync_period": FILES_PERIOD}))
    return (Block("loki.source.file", source.name, (Attribute("targets", targets), forward, match)),)


def _journal(source: Source, forward: Attribute) -> tuple[Block, ...]:
    values: dict[str, Value] = {"max_age": go_duration(source.max_age)}
    if source.matches:
        values["matches"] = source.matches
    if source.relabel:
        values["relabel_rules"] = Name(f"loki.relabel.{source.name}.rules")
    # Without a job of ours Alloy puts in a name of its own.
    values["labels"] = _leading_labels(source)
    block = Block("loki.source.journal", source.name, (*_attributes(values), forward))
    return (_relabel(source), block) if source.relabel else (block,)


def _kept(source: Source) -> list[str]:
    """Return the labels of a container's target. The rest, such as its address, changes while it lives."""
    return sorted({CONTAINER_ID, *(rule.source for rule in source.relabel)} - {CONTAINER_STREAM})


def _docker(source: Source, forward: Attribute) -> tuple[Block, ...]:
    name, host = source.name, source.docker_host
    keep = Block("rule", "", _attributes({"action": "labelkeep", "regex": "|".join(_kept(source))}))
    found: tuple[Block, ...] = (
        Block("discovery.docker", name, _attributes({"host": host, "refresh_interval": DOCKER_PERIOD})),
        Block("discovery.relabel", name, (Attribute("targets", Name(f"discovery.docker.{name}.targets")), keep)),
    )
    values: dict[str, Value] = {"host": host, "targets": Name(f"discovery.relabel.{name}.output")}
    if source.relabel:
        found = (*found, _relabel(source))
        values["relabel_rules"] = Name(f"loki.relabel.{name}.rules")
    return (*found, Block("loki.source.docker", name, (*_attributes(values), forward)))


_INPUTS = {"files": _files, "journal": _journal, "docker": _docker}


def _source(source: Source) -> tuple[Block, ...]:
    """Return the components of one source, from where its lines come to where they are sent."""
    forward = Attribute("forward_to", [Name(f"loki.process.{source.name}.receiver")])
    onward = Attribute("forward_to", [Name("loki.write.default.receiver")])
    process = Block("loki.process", source.name, (onward, *_stages(source.stages)))
    return (*_INPUTS[source.input](source, forward), process)


def _endpoint(plan: Plan, values: Mapping[str, Any]) -> Block:
    endpoint: dict[str, Value] = {
        "url": plan.url,
        "batch_size": values["alloy_batch_size"],
        "batch_wait": go_duration(values["alloy_batch_wait"]),
        "min_backoff_period": MIN_BACKOFF,
        "max_backoff_period": MAX_BACKOFF,
        # For ever: while Loki is away, lines wait where they were written.
        "max_backoff_retries": 0,
        "remote_timeout": REMOTE_TIMEOUT,
        "retry_on_http_429": True,
    }
    if plan.tenant:
        endpoint["tenant_id"] = plan.tenant
    body: list[Statement] = list(_attributes(endpoint))
    if plan.username:
        login: dict[str, Value] = {"username": plan.username}
        if plan.password:
            login["password_file"] = f"{{config}}/{LOKI_PASSWORD}"
        body.append(Block("basic_auth", "", _attributes(login)))
    return Block("endpoint", "", tuple(body))


def _write(plan: Plan, values: Mapping[str, Any]) -> Block:
    labels = (Attribute("external_labels", dict(plan.labels)),) if plan.labels else ()
    return Block("loki.write", "default", (*labels, _endpoint(plan, values)))


def _pages(password: Name) -> Block:
    basic = Block("basic", "", _attributes({"username": UI_USER, "password": password}))
    allowed = Block("filter", "", _attributes({"paths": OPEN_PATHS, "authenticate_matching_paths": False}))
    return Block("http", "", (Block("auth", "", (basic, allowed)),))


def config(plan: Plan, values: Mapping[str, Any]) -> str:
    """Return the text of config.alloy."""
    password = _attributes({"filename": f"{{config}}/{UI_PASSWORD}", "is_secret": True})
    statements: list[Statement] = [
        Block("logging", "", _attributes({"level": values["alloy_log_level"], "format": "logfmt"})),
        Block("local.file", "ui_password", password),
        _pages(Name("local.file.ui_password.content")),
        _write(plan, values),
        *(block for source in plan.sources for block in _source(source)),
    ]
    return HEADER + "\n" + document(statements)


# What the role hands to the engine


@dataclass(frozen=True)
class Rendered:
    """Arguments of the component's task; `settings` are those of the unit."""

    files: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    generate: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def carry(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program needs to know that brings Promtail's positions to Alloy before a start."""
    files, journals, docker = ([item for item in plan.sources if item.input == kind] for kind in _INPUTS)
    return {
        "to": "alloy",
        "promtail": f"{values['promtail_data_dir']}/positions.yaml",
        "alloy": f"{values['alloy_data_dir']}/data",
        "files": [{"name": source.name, "paths": list(source.paths)} for source in files],
        "journals": [source.name for source in journals],
        "docker": [{"name": source.name, "host": source.docker_host, "labels": _kept(source)} for source in docker],
    }


def settings(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unit's settings: whose files the agent may read, and what its sandbox must leave visible."""
    # systemd reads past this. Alloy cannot leave an address at a reload as long as nobody answers there: it waits to be
    # rid of what it has for that one. So another address is another unit, and a restart.
    own = {"X-Loki": digest(document([_write(plan, values)]))}
    return unit_settings(plan, values["watchkeeper_log_groups"], STOP_SECONDS, own)


def render(plan: Plan, values: Mapping[str, Any]) -> Rendered:
    """Return everything for the task; `values` are the role's variables and those that it takes from others."""
    return Rendered(
        files=[
            {"path": "config.alloy", "content": config(plan, values)},
            {"path": "carry.json", "content": json.dumps(carry(plan, values), indent=1) + "\n"},
        ],
        secrets={LOKI_PASSWORD: plan.password} if plan.password else {},
        generate=[UI_PASSWORD],
        settings=settings(plan, values),
    )


def problems(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the role's variables beyond their types."""
    found = batch_problems("alloy", values)
    data = values["alloy_data_dir"]
    if not re.fullmatch(r"(/[\w.+-]+)+", data, re.ASCII) or f"{data}/".startswith((*HOMES, *TEMPORARY)):
        allowed = (
            "an absolute path of letters, digits, '.', '_', '+' and '-' outside of homes and temporary directories"
        )
        found.append(problem("alloy_data_dir", data, allowed))
    return found
