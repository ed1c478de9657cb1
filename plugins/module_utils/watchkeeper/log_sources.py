"""What a host's logs are and how they become lines in Loki, the same for Promtail and for Alloy.

:func:`plan` turns the variables `watchkeeper_log_*` into sources with stages. The two agents' own configurations are
rendered from the plan, so that a change of agent changes neither labels nor contents. :func:`problems` and
:func:`warnings` say what is wrong with the variables, before anything changes.

Regular expressions are Go's: they are read by RE2, which is the same language. What stages extract has names beginning
with `entry_` or `field_`, because both agents put the labels of a line among the extracted values.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union
from urllib.parse import urlsplit

from .catalogue import Project
from .durations import parse_duration
from .scrape import ANYWHERE, address_of, hosts_of
from .validation import WHERE, problem

SOURCES, MASKS = "watchkeeper_log_sources", "watchkeeper_log_masks"
AGENTS = ("alloy", "promtail", "none")
PUSH_PATH = "/loki/api/v1/push"
PROMTAIL_END = (
    "Promtail, which watchkeeper_log_agent chooses here, reached its end of life on 2 March 2026 and gets no more "
    "corrections. Alloy reads the same sources and goes on where Promtail stopped: set watchkeeper_log_agent to alloy."
)

_FILES = ("state", "name", "type", "job", "labels", "paths", "exclude")
_JSON = ("level", "fields")
# What an item may say, by its type.
_KEYS: dict[str, tuple[str, ...]] = {
    "journal": ("state", "name", "type", "job", "labels", "matches", "max_age", "json_units", *_JSON),
    "syslog": (*_FILES, "multiline", "timestamp"),
    "text": (*_FILES, "multiline"),
    "json": (*_FILES, "multiline", "timestamp", *_JSON),
    "nginx_access": _FILES,
    "nginx_error": (*_FILES, "multiline", "timestamp"),
    "docker": ("state", "name", "type", "job", "labels", "host", "json", "multiline", *_JSON),
}
_MULTILINE = ("first_line", "max_lines", "max_wait")
_TIMESTAMP = {"json": ("field", "zone", "formats"), "syslog": ("zone",), "nginx_error": ("zone",)}
_MASK_KEYS = ("name", "state", "expression", "replace")

# Labels that a source of the type gets from its lines.
_OWN_LABELS: dict[str, tuple[str, ...]] = {
    "journal": ("unit", "level"),
    "nginx_access": ("method", "status"),
    "nginx_error": ("level",),
    "json": ("level",),
    "docker": ("container", "stream", "compose_project", "level"),
}
_RESERVED = ("host", "job", "level", "filename", "instance")
# Each value of such a label would be a stream of its own, and Loki is slow and refuses to write with many of them.
_UNBOUNDED = re.compile(
    r"((request|req|trace|span|correlation|transaction|session|user|client|customer|account|order|message)_?id"
    r"|user(name)?|e?mail|ip|(remote|client|source|src)_?(ip|addr(ess)?)|path|ur[il]|request_uri|referer|user_?agent"
    r"|time(stamp)?|message|msg|uuid|pid)",
    re.IGNORECASE,
)

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TENANT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9!_.*'()-]{1,150}")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|scope|socket|timer|mount|swap|path|slice|target|device)")
_MATCH_TERM = re.compile(r"[A-Z_][A-Z0-9_]*=[^\s=]+")
_JINJA = ("{{", "{%", "{#")
_ZONE = "a time zone of the IANA database, such as Europe/Berlin or UTC"


class LogSourceError(ValueError):
    """A variable about logs cannot be used; the text names it, what is allowed and where to set it."""


@dataclass(frozen=True)
class Multiline:
    """Lines up to the next one that begins an entry are one entry."""

    first_line: str
    max_lines: int
    max_wait: str


@dataclass(frozen=True)
class Replace:
    """What the groups of an expression capture is replaced. There is at least one: without, agents replace nothing."""

    expression: str
    replace: str


@dataclass(frozen=True)
class Json:
    """Values of a JSON line by JMESPath, under the names by which later stages know them."""

    fields: Mapping[str, str]


@dataclass(frozen=True)
class Regex:
    """Values of a line by named groups."""

    expression: str


@dataclass(frozen=True)
class Template:
    """A value put together by a Go template with the functions that both agents have."""

    source: str
    template: str


@dataclass(frozen=True)
class Timestamp:
    """The entry's time from an extracted value; the first format that fits is taken.

    A time that is there is not moved: what is sent twice after a crash is then the same entry to Loki, which keeps one.
    An entry without one comes right after the entry before it.
    """

    source: str
    formats: tuple[str, ...]
    location: str = ""


@dataclass(frozen=True)
class Labels:
    """Labels from extracted values."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class StructuredMetadata:
    """Values kept beside a line without being labels."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class StaticLabels:
    """Labels with the same value for every line of a source."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Match:
    """Stages for those lines only that a LogQL selector matches."""

    selector: str
    stages: tuple[Stage, ...]


Stage = Union[Multiline, Replace, Json, Regex, Template, Timestamp, Labels, StructuredMetadata, StaticLabels, Match]


@dataclass(frozen=True)
class Relabel:
    """A label from what the agent knows of a journal entry or a container."""

    source: str
    regex: str
    replacement: str
    target: str


@dataclass(frozen=True)
class Source:
    """One source: how it is read, and what happens to its lines, in this order."""

    name: str
    input: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    matches: str = ""
    max_age: str = "12h"
    docker_host: str = ""
    relabel: tuple[Relabel, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that an agent needs to know on one host."""

    url: str
    labels: Mapping[str, str]
    sources: tuple[Source, ...]
    tenant: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


# --- what lines look like -----------------------------------------------------------------------------------------

# Names of formats that the agents know beside layouts of Go's.
_NAMED_TIMES = (
    "RFC3339Nano",
    "RFC3339",
    "RFC1123Z",
    "RFC1123",
    "RFC850",
    "RFC822Z",
    "RFC822",
    "RubyDate",
    "UnixDate",
    "ANSIC",
    "Unix",
    "UnixMs",
    "UnixUs",
    "UnixNs",
)
# A layout shows the time 15:04 (or 3:04 PM) in its own way.
_LAYOUT = re.compile(r"(15|3)\D?04")
# Fractions of a second may follow the seconds of each. Those without a zone take that of the source.
_JSON_TIMES = ("RFC3339Nano", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05", "2006-01-02T15:04:05")
_JSON_FIELDS = {"context": "context", "request_id": "request_id", "trace_id": "trace_id"}
_JSON_UNITS = ("health_app.service",)

# What programs call our levels: syslog, nginx, Python, log4j and winston, and by numbers pino and bunyan.
_LEVELS = {
    "critical": ("critical", "crit", "fatal", "alert", "emerg", "emergency", "panic", "60"),
    "error": ("error", "err", "severe", "50"),
    "warning": ("warning", "warn", "40"),
    "info": ("info", "information", "informational", "notice", "log", "success", "http", "30"),
    "debug": ("debug", "verbose", "trace", "silly", "fine", "finer", "finest", "20", "10"),
}


def _is_one_of(variable: str, names: Iterable[str]) -> str:
    """Return the condition of a Go template that a variable has one of these values."""
    words = " ".join(f'"{name}"' for name in names)
    return f"eq {variable} {words}"


def _level_template(missing: str) -> str:
    """Return the template that maps `entry_level` to our levels; `missing` is for lines without one."""
    conditions = {level: _is_one_of("$level", names) for level, names in _LEVELS.items()}
    branches = [f"if {condition} }}}}{level}" for level, condition in conditions.items()]
    branches.append(f'if eq $level "" }}}}{missing}')
    start = '{{ $level := .entry_level | default "" | toString | trim | lower }}{{ '
    return start + "{{ else ".join(branches) + "{{ else }}unknown{{ end }}"


def _syslog(zone: str) -> tuple[Stage, ...]:
    """Return the stages of syslog lines: RFC 3339, and the old form, whose year both agents take from the clock."""
    time = r"\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    return (Regex(rf"^(?P<entry_time>{time}) "), Timestamp("entry_time", ("RFC3339Nano", "Jan _2 15:04:05"), zone))


def _nginx_error(zone: str) -> tuple[Stage, ...]:
    time = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
    return (
        Regex(rf"^(?P<entry_time>{time}) \[(?P<entry_level>[a-z]+)\] "),
        Template("entry_level", _level_template("unknown")),
        Timestamp("entry_time", ("2006/01/02 15:04:05",), zone),
        Labels({"level": "entry_level"}),
    )


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# nginx writes a quotation mark inside of a request as \x22. Further fields may follow those of the combined format.
_NGINX_ACCESS: tuple[Stage, ...] = (
    Regex(
        r"^\S+ \S+ [^\[]*\[(?P<entry_time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
        r'"(?:(?P<entry_method>[A-Z]+) )?[^"]*" (?P<entry_status>[1-5])\d\d(?: |$)'
    ),
    Template(
        "entry_method",
        '{{ $method := .entry_method | default "" | toString }}{{ if '
        + _is_one_of("$method", _METHODS)
        + " }}{{ $method }}{{ else }}OTHER{{ end }}",
    ),
    Template("entry_status", "{{ if .entry_status }}{{ .entry_status }}xx{{ else }}unknown{{ end }}"),
    Timestamp("entry_time", ("02/Jan/2006:15:04:05 -0700",)),
    Labels({"method": "entry_method", "status": "entry_status"}),
)


def _unit(regex: str, name: str) -> Relabel:
    return Relabel("__journal__systemd_unit", regex, name, "unit")


def _level(regex: str, level: str) -> Relabel:
    return Relabel("__journal_priority_keyword", regex, level, "level")


# Later rules win. What has no unit is named after the way it came: kernel, audit, syslog and so on. Units whose names
# count up, or hold a process, an address or a container, are named after their kind.
_JOURNAL_LABELS = (
    Relabel("__journal__transport", "(.+)", "${1}", "unit"),
    _unit("(.+)", "${1}"),
    _unit(r"session-c?[0-9]+\.scope", "session.scope"),
    _unit(r"run-(?:r[0-9a-f]{32}|u[0-9]+|p[0-9]+-i[0-9]+|[0-9]+)\.(scope|service)", "run.${1}"),
    _unit(r"(user|user-runtime-dir)@[0-9]+\.service", "${1}@.service"),
    _unit(r"(.+)@[0-9]+-(?:[0-9]|\[|\\x5b).*\.service", "${1}@.service"),
    _unit(r"dbus-:[0-9.]+-(.+)@[0-9]+\.service", "${1}.service"),
    _unit(r"([a-z-]+)-[0-9a-f]{64}\.scope", "${1}.scope"),
    _unit(r"(.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(scope|service)", "${1}.${2}"),
    _unit(r"[0-9a-f]{32,64}(?:-[0-9a-f]+)?\.(scope|service|timer)", "transient.${1}"),
    _level("(.*)", "unknown"),
    _level("emerg|alert|crit", "critical"),
    _level("error", "error"),
    _level("warning", "warning"),
    _level("notice|info", "info"),
    _level("debug", "debug"),
)
# The names of one-off containers and of the tasks of a swarm end in a random word.
_DOCKER_LABELS = (
    Relabel("__meta_docker_container_name", "/?(.+)", "${1}", "container"),
    Relabel("__meta_docker_container_name", "/?(.+[-_]run)[-_][0-9a-f]{12}", "${1}", "container"),
    Relabel("__meta_docker_container_name", r"/?(.+\.[0-9]+)\.[0-9a-z]{25}", "${1}", "container"),
    Relabel("__meta_docker_container_log_stream", "(.+)", "${1}", "stream"),
    Relabel("__meta_docker_container_label_com_docker_compose_project", "(.+)", "${1}", "compose_project"),
)


# --- where logs go ------------------------------------------------------------------------------------------------


def push_url(
    project: Project,
    own: str,
    groups: Mapping[str, list[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    mapping: Mapping[str, str],
) -> str:
    """Return where a host sends its logs: the first host that runs Loki, as it is reached; empty where none does."""
    entry = project.entry("loki")
    for name in hosts_of(project, entry.name, groups, mapping):
        variables = hostvars[name]
        if not entry.wanted(variables):
            continue
        address = address_of(variables, name)
        if name == own:
            listen = str(variables.get("loki_listen_address", "")).strip("[]")
            address = "127.0.0.1" if listen in ANYWHERE else listen
        if ":" in address and not address.startswith("["):
            address = f"[{address}]"
        return f"http://{address}:{int(variables.get('loki_port', entry.port))}{PUSH_PATH}"
    return ""


def variables_of(settings: Mapping[str, Any], host: str, derived_url: str) -> dict[str, Any]:
    """Return what :func:`plan` reads: the settings about logs, the host's name, and the address of Loki as `url`."""
    own = {name: value for name, value in settings.items() if name.startswith("watchkeeper_log_")}
    url = str(own["watchkeeper_log_url"])
    if url and urlsplit(url).path in ("", "/"):
        url = url.rstrip("/") + PUSH_PATH
    return {**own, "host": host, "url": url or derived_url}


def plan(values: Mapping[str, Any]) -> Plan:
    """Return what the agent of a host reads and where it sends it; `values` are those of :func:`variables_of`.

    Raises LogSourceError, which names the variable, what is allowed and where to set it.
    """
    reading = _Reading(values)
    found = reading.plan()
    if reading.problems:
        raise LogSourceError("\n".join(reading.problems))
    return found


def problems(values: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the variables about logs; nothing on a host without an agent."""
    if values["watchkeeper_log_agent"] == "none":
        return []
    reading = _Reading(values)
    reading.plan()
    return reading.problems


def warnings(values: Mapping[str, Any]) -> list[str]:
    """Return what works but should be known; `values` are without problems."""
    if values["watchkeeper_log_agent"] == "none":
        return []
    found = [PROMTAIL_END] if values["watchkeeper_log_agent"] == "promtail" else []
    items = _Reading(values).sources()
    if any(item.type == "journal" for item in items):
        found += [
            f"{item.where()} reads syslog files beside the journal. Since Debian 12 what is in them is in the journal, "
            "too: such lines are stored twice. Keep one of the two."
            for item in items
            if item.type == "syslog"
        ]
    for item in items:
        for path, excluded in ((path, item.values.get("exclude", ())) for path in item.values.get("paths", ())):
            sample = _sample(path)
            if _matches(path, sample) and _matches(path, f"{sample}.1") and not _any_matches(excluded, f"{sample}.1"):
                found.append(
                    f"{item.where('paths')} names {path!r}, which fits turned-over files as well ({sample}.1): their "
                    "lines would be read again under the new name. End the path in .log, or name them in exclude."
                )
    return found


# --- reading the variables ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Item:
    """An entry of a list merged by name, and for each key where the inventory says it."""

    name: str
    values: Mapping[str, Any]
    places: Mapping[str, str]

    @property
    def type(self) -> str:
        return str(self.values.get("type", ""))

    def where(self, key: str = "") -> str:
        """Return the full path of a key, or of the entry."""
        place = self.places.get(key) or self.places["name"]
        return f"{place}.{key}" if key else place


class _Reading:
    """One pass over the variables that goes on after a problem, so that all of them are told at once."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.problems: list[str] = []

    def plan(self) -> Plan:
        """Return the plan; it is of use only where there are no problems."""
        values = self._values
        if values["watchkeeper_log_agent"] not in AGENTS:
            self._wrong("watchkeeper_log_agent", values["watchkeeper_log_agent"], f"one of {', '.join(AGENTS)}")
        labels = {"host": str(values["host"])}
        labels.update(self._labels("watchkeeper_log_labels", values["watchkeeper_log_labels"], ()))
        self._destination()
        masks = tuple(self._masks())
        items = self.sources()
        sources = [self._source(item, masks) for item in items]
        self._overlaps(items)
        self._readers(items)
        return Plan(
            url=str(values["url"]),
            labels=labels,
            sources=tuple(source for source in sources if source),
            tenant=str(values["watchkeeper_log_tenant"]),
            username=str(values["watchkeeper_log_username"]),
            password=str(values["watchkeeper_log_password"]),
        )

    def sources(self) -> list[_Item]:
        """Return the sources that are wanted, with the keys that they may have."""
        found = []
        for item in self._merged(SOURCES, sorted({key for keys in _KEYS.values() for key in keys})):
            if item.type in _KEYS:
                unfit = [key for key in item.values if key not in _KEYS[item.type]]
                known = ", ".join(_KEYS[item.type])
                self.problems += [
                    f"{item.where(key)} does not go with the type {item.type}, which has {known}; {WHERE}"
                    for key in unfit
                ]
                found.append(item)
            else:
                near = _near(item.type, _KEYS)
                self._wrong(item.where("type"), item.values.get("type"), f"one of {', '.join(_KEYS)}{near}")
        return found

    # What goes wrong

    def _wrong(self, path: str, value: Any, allowed: str) -> None:
        self.problems.append(problem(path, value, allowed))

    def _keys(self, path: str, entry: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in entry:
            if key not in known:
                self.problems.append(
                    f"{path}.{key} is no key of this entry{_near(str(key), known)}; known: {', '.join(known)}; {WHERE}"
                )

    def _merged(self, variable: str, known: Sequence[str]) -> list[_Item]:
        """Return `<variable>_default` and `<variable>` merged by name; `state: absent` takes one out."""
        merged: dict[str, _Item] = {}
        absent: set[str] = set()
        for place in (f"{variable}_default", variable):
            own: set[str] = set()
            for index, entry in enumerate(self._values[place]):
                where = f"{place}[{index}]"
                if not isinstance(entry, Mapping):
                    self._wrong(where, entry, f"a mapping with {', '.join(known)}")
                    continue
                name = entry.get("name")
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    self._wrong(f"{where}.name", name, "a name of lower-case letters, digits and _")
                    continue
                if name in own:
                    self.problems.append(f"{place} names {name!r} twice; one entry for each name; {WHERE}")
                    continue
                own.add(name)
                self._keys(where, entry, known)
                state = entry.get("state", "present")
                if state == "absent":
                    if place == variable and name not in merged:
                        near = _near(name, merged) or f"; there are: {', '.join(merged) or 'none'}"
                        self.problems.append(f"{where} takes {name!r} out, but there is no such entry{near}; {WHERE}")
                    absent.add(name)
                elif state == "present":
                    absent.discard(name)
                else:
                    self._wrong(f"{where}.state", state, "one of present, absent")
                before = merged.get(name)
                # Another type is another source: nothing of the former one fits it.
                if before and entry.get("type", before.type or None) != (before.type or None):
                    before = None
                values = {key: value for key, value in entry.items() if key in known}
                places = dict.fromkeys(values, where)
                if before:
                    values, places = {**before.values, **values}, {**before.places, **places}
                merged[name] = _Item(name, values, {**places, "name": where})
        return [item for name, item in merged.items() if name not in absent]

    def _labels(self, path: str, labels: Any, own: Sequence[str]) -> dict[str, str]:
        """Return static labels; `own` are those that lines of the source get in another way."""
        if not isinstance(labels, Mapping):
            self._wrong(path, labels, "a mapping of labels to values")
            return {}
        found = {}
        for name, value in labels.items():
            where = f"{path}.{name}"
            if not isinstance(name, str) or not _LABEL.fullmatch(name) or name.startswith("__"):
                self._wrong(where, value, "under a label name of letters, digits and _")
            elif name in _RESERVED or name in own:
                self._wrong(where, value, f"under another name: {name} is set for every line already")
            elif _UNBOUNDED.fullmatch(name):
                self.problems.append(
                    f"{where} would be a label with a value for every request or person, and each value is a stream of "
                    "its own to Loki. Keep it as structured metadata: a source of type json takes it from its lines "
                    f"with fields: {{{name}: {name}}}; {WHERE}"
                )
            elif isinstance(value, bool) or not isinstance(value, (str, int, float)) or str(value).strip() == "":
                self._wrong(where, value, "a text that is not empty")
            elif any(mark in str(value) for mark in _JINJA):
                self._wrong(where, value, "a plain text, the same for every line: neither agent renders templates here")
            elif len(str(value)) > 256 or re.search(r"[\x00-\x1f]", str(value)):
                self._wrong(where, value, "a text of at most 256 characters on one line")
            else:
                found[name] = str(value)
        return found

    def _destination(self) -> None:
        values = self._values
        url, tenant = str(values["watchkeeper_log_url"]), str(values["watchkeeper_log_tenant"])
        username, password = str(values["watchkeeper_log_username"]), str(values["watchkeeper_log_password"])
        if not values["url"]:
            self.problems.append(
                "watchkeeper_log_url is empty, and no host of the inventory runs Loki. Put a host into the group of "
                "Loki, name a Loki elsewhere in watchkeeper_log_url, or set watchkeeper_log_agent to none; " + WHERE
            )
        if "@" in (urlsplit(url).netloc if url else ""):
            self.problems.append(
                "watchkeeper_log_url holds an account (it is not shown), but must be an address alone; put the account "
                f"into watchkeeper_log_username and watchkeeper_log_password; {WHERE}"
            )
        if tenant and not _TENANT.fullmatch(tenant):
            self._wrong("watchkeeper_log_tenant", tenant, "up to 150 letters, digits and any of !-_.*'()")
        if bool(username) != bool(password):
            lone, missing = ("username", "password") if username else ("password", "username")
            self.problems.append(f"watchkeeper_log_{lone} is set without watchkeeper_log_{missing}; set both; {WHERE}")

    # Regular expressions

    def _expression(self, path: str, value: Any) -> Any:
        """Return a compiled expression that does not match everything, or nothing after a problem."""
        if not isinstance(value, str) or not value:
            self._wrong(path, value, "a regular expression in the syntax of RE2 (Go)")
            return None
        try:
            compiled = compile_expression(value)
        except LogSourceError as error:
            self._wrong(path, value, f"a regular expression in the syntax of RE2 (Go): {error}")
            return None
        if compiled.search("") is not None:
            self._wrong(path, value, "an expression that does not match the empty text, as every line contains that")
            return None
        return compiled

    def _masks(self) -> Iterator[Replace]:
        for item in self._merged(MASKS, _MASK_KEYS):
            compiled = self._expression(item.where("expression"), item.values.get("expression"))
            replace = item.values.get("replace", "***")
            if not isinstance(replace, str) or re.search(r'[{}"\\\x00-\x1f]', replace):
                allowed = 'a text without ", \\, braces and line breaks, which could break lines of JSON'
                self._wrong(item.where("replace"), replace, allowed)
            elif compiled is not None and compiled.groupindex:
                names = ", ".join(compiled.groupindex)
                path, expression = item.where("expression"), item.values["expression"]
                self._wrong(path, expression, f"without names of groups ({names}): write (…) for what is replaced")
            elif compiled is not None:
                expression = str(item.values["expression"])
                # Both agents replace what groups capture, and nothing where there are none.
                yield Replace(expression if compiled.groups else f"({expression})", replace)

    def _multiline(self, item: _Item) -> tuple[Stage, ...]:
        if "multiline" not in item.values:
            return ()
        path, entry = item.where("multiline"), item.values["multiline"]
        if not isinstance(entry, Mapping):
            self._wrong(path, entry, f"a mapping with {', '.join(_MULTILINE)}")
            return ()
        self._keys(path, entry, _MULTILINE)
        self._expression(f"{path}.first_line", entry.get("first_line"))
        lines = entry.get("max_lines", 128)
        if isinstance(lines, bool) or not isinstance(lines, int) or not 2 <= lines <= 10000:
            self._wrong(f"{path}.max_lines", lines, "a whole number from 2 to 10000")
        wait = self._duration(f"{path}.max_wait", entry.get("max_wait", "3s"))
        return (Multiline(str(entry.get("first_line")), lines if isinstance(lines, int) else 128, wait),)

    def _duration(self, path: str, value: Any) -> str:
        """Return a duration in Go's notation, which knows neither days nor anything above."""
        try:
            seconds = parse_duration(value)
        except ValueError:
            seconds = 0
        if seconds <= 0:
            self._wrong(path, value, "a duration above zero, such as 3s, 30m, 12h or 2d")
            return "1s"
        return str(value) if not re.search("[dwy]", str(value)) else f"{int(seconds)}s"

    # Kinds of sources

    def _source(self, item: _Item, masks: tuple[Replace, ...]) -> Source | None:
        kind = item.type
        job = item.values.get("job", item.name)
        if not isinstance(job, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*", job):
            self._wrong(item.where("job"), job, "a text of letters, digits and any of _.:/-")
        own = _OWN_LABELS.get(kind, ())
        labels = self._labels(item.where("labels"), item.values.get("labels", {}), own)
        first: tuple[Stage, ...] = (StaticLabels({"job": str(job), **labels}), *self._multiline(item), *masks)
        if kind == "journal":
            return self._journal(item, first)
        if kind == "docker":
            return self._docker(item, first)
        paths, exclude = self._globs(item, "paths"), self._globs(item, "exclude")
        stages = first
        if kind == "json":
            zone, formats = self._timestamp(item)
            stages += self._json(item, "unknown", zone, formats)
        elif kind in _TIMESTAMP:
            zone, _formats = self._timestamp(item)
            stages += _syslog(zone) if kind == "syslog" else _nginx_error(zone)
        elif kind == "nginx_access":
            stages += _NGINX_ACCESS
        return Source(name=item.name, input="files", paths=paths, exclude=exclude, stages=stages)

    def _globs(self, item: _Item, key: str) -> tuple[str, ...]:
        path, globs = item.where(key), item.values.get(key, [])
        if not isinstance(globs, list) or (not globs and key == "paths"):
            self._wrong(path, globs, "a list of absolute paths, in which *, ** and ? may stand for names")
            return ()
        for index, text in enumerate(globs):
            where = f"{path}[{index}]"
            if not isinstance(text, str) or not text.startswith("/") or text.endswith("/"):
                self._wrong(where, text, "the absolute path of files, such as /var/log/shop/*.log")
            elif any(mark in text for mark in _JINJA) or re.search(r"[\x00-\x1f]|//|/\.\.?(/|$)", text):
                self._wrong(where, text, "a plain path without '//', '/./' and '/../'")
            elif "," in re.sub(r"\{[^{}]*\}", "", text) or _glob(text) is None:
                self._wrong(where, text, "a path whose [ ] and { } are closed, with commas inside of { } alone")
        return tuple(str(text) for text in globs)

    def _timestamp(self, item: _Item) -> tuple[str, tuple[str, ...]]:
        """Return time zone and formats."""
        entry, path = item.values.get("timestamp", {}), item.where("timestamp")
        if not isinstance(entry, Mapping):
            self._wrong(path, entry, f"a mapping with {', '.join(_TIMESTAMP[item.type])}")
            return "", _JSON_TIMES
        self._keys(path, entry, _TIMESTAMP[item.type])
        zone, formats = entry.get("zone", "UTC"), entry.get("formats", list(_JSON_TIMES))
        if not _is_zone(zone):
            near = _near(str(zone), zoneinfo.available_timezones())
            self._wrong(f"{path}.zone", zone, f"{_ZONE}{near}")
        if not isinstance(formats, list) or not formats:
            self._wrong(f"{path}.formats", formats, "a list of formats")
            return str(zone), _JSON_TIMES
        for index, text in enumerate(formats):
            if not isinstance(text, str) or not (text in _NAMED_TIMES or _LAYOUT.search(text)):
                allowed = f"a layout of Go's, such as '2006-01-02 15:04:05', or one of {', '.join(_NAMED_TIMES)}"
                self._wrong(f"{path}.formats[{index}]", text, allowed)
        # Known to both agents without a database of zones on the host.
        return ("" if zone == "UTC" else str(zone)), tuple(str(text) for text in formats)

    def _json(self, item: _Item, unknown: str, zone: str = "", formats: tuple[str, ...] = ()) -> tuple[Stage, ...]:
        """Return the stages of JSON; other lines get the level `unknown`, or keep theirs where it is empty."""
        timestamp = item.values.get("timestamp", {})
        field_of_time = timestamp.get("field", "timestamp") if isinstance(timestamp, Mapping) else "timestamp"
        level, fields = item.values.get("level", "level"), item.values.get("fields", _JSON_FIELDS)
        names = {"entry_level": self._field(item.where("level"), level)}
        if formats:
            names["entry_time"] = self._field(f"{item.where('timestamp')}.field", field_of_time)
        kept: dict[str, str] = {}
        if not isinstance(fields, Mapping):
            self._wrong(item.where("fields"), fields, "a mapping of names to fields of the JSON")
        else:
            for name, value in fields.items():
                where = f"{item.where('fields')}.{name}"
                if not isinstance(name, str) or not _LABEL.fullmatch(name) or name.startswith("__"):
                    self._wrong(where, value, "under a name of letters, digits and _")
                elif name in (*_RESERVED, *_OWN_LABELS.get(item.type, ())):
                    self._wrong(where, value, f"under another name: {name} is a label of the line already")
                else:
                    names[f"field_{name}"] = self._field(where, value)
                    kept[name] = f"field_{name}"
        stages: list[Stage] = [Json(names), Template("entry_level", _level_template(unknown))]
        if formats:
            stages.append(Timestamp("entry_time", formats, zone))
        stages.append(Labels({"level": "entry_level"}))
        if kept:
            stages.append(StructuredMetadata(kept))
        return tuple(stages)

    def _field(self, path: str, value: Any) -> str:
        """Return the JMESPath of a field: by its name, dots and all, or else by the path that dots make of it."""
        if not isinstance(value, str) or not value or re.search(r'["\\\x00-\x1f]|^\.|\.$|\.\.', value):
            self._wrong(path, value, "the name of a field of the JSON, such as level or context.user")
            return '"x"'
        nested = ".".join(f'"{part}"' for part in value.split("."))
        return f'"{value}" || {nested}' if "." in value else nested

    def _journal(self, item: _Item, first: tuple[Stage, ...]) -> Source:
        matches, units = item.values.get("matches", ""), item.values.get("json_units", list(_JSON_UNITS))
        if not isinstance(matches, str) or not all(map(_MATCH_TERM.fullmatch, matches.split())):
            self._wrong(item.where("matches"), matches, "terms such as _SYSTEMD_UNIT=ssh.service, with spaces between")
        age = self._duration(item.where("max_age"), item.values.get("max_age", "12h"))
        stages = first
        if not isinstance(units, list) or not all(isinstance(unit, str) and _UNIT.fullmatch(unit) for unit in units):
            self._wrong(item.where("json_units"), units, "a list of units, such as shop.service")
        elif units:
            # A class instead of a backslash, which two more languages would read before LogQL does.
            names = "|".join(unit.replace(".", "[.]") for unit in units)
            # The time is the journal's: it is exact, and no two entries share it.
            stages = (*first, Match(f'{{unit=~"{names}"}}', self._json(item, "")))
        else:
            self._json(item, "")
        return Source(
            name=item.name, input="journal", matches=str(matches), max_age=age, relabel=_JOURNAL_LABELS, stages=stages
        )

    def _docker(self, item: _Item, first: tuple[Stage, ...]) -> Source:
        host, is_json = item.values.get("host", "unix:///var/run/docker.sock"), item.values.get("json", False)
        if not isinstance(host, str) or not re.fullmatch(r"unix:///\S+|(tcp|https?)://[^\s/@]+(:\d+)?/?", host):
            self._wrong(item.where("host"), host, "a socket such as unix:///var/run/docker.sock, or tcp://HOST:PORT")
        if not isinstance(is_json, bool):
            self._wrong(item.where("json"), is_json, "true or false")
        stages = first + (self._json(item, "unknown") if is_json else ())
        return Source(name=item.name, input="docker", docker_host=str(host), relabel=_DOCKER_LABELS, stages=stages)

    # What would be stored twice, or feed on itself

    def _overlaps(self, items: Sequence[_Item]) -> None:
        containers = any(item.type == "docker" for item in items)
        read: list[tuple[_Item, str, str]] = []
        for item in items:
            paths = item.values.get("paths", [])
            for index, path in enumerate(paths if isinstance(paths, list) else []):
                if not isinstance(path, str) or _glob(path) is None:
                    continue
                where = f"{item.where('paths')}[{index}]"
                self._forbidden(item, where, path, containers)
                for other, there, former in read:
                    inner = _within(item, path, former) or _within(other, former, path)
                    if inner:
                        advice = "keep one of them" if path == former else f"add {inner!r} to exclude of the other"
                        self.problems.append(
                            f"{where} ({path}) and {there} ({former}) read the same files, whose lines would be stored "
                            f"twice; {advice}; {WHERE}"
                        )
                        break
                read.append((item, where, path))

    def _forbidden(self, item: _Item, where: str, path: str, containers: bool) -> None:
        """Refuse a path that takes in what the programs themselves write."""
        usual = {f"{name}_data_dir": f"/var/lib/{name}" for name in ("loki", "promtail", "alloy")}
        own = {*usual.values(), *(str(self._values.get(name) or folder) for name, folder in usual.items())}
        loop = "the data of Loki or of an agent: each line that is sent would make another one"
        binary = "the journal, which is no text: a source of type journal reads it"
        places = {
            **dict.fromkeys(sorted(own), (loop, ("x.log", "x/x.log", "x", "x/x"))),
            **dict.fromkeys(("/var/log/journal", "/run/log/journal"), (binary, ("x/x.journal",))),
        }
        if containers:
            reason = "the logs of containers, which a source of type docker reads already"
            places["/var/lib/docker/containers"] = (reason, ("x/x-json.log",))
        for folder, (reason, names) in places.items():
            inside = path.startswith(f"{folder}/")
            samples = [_sample(path)] if inside else [f"{folder}/{name}" for name in names]
            hit = [sample for sample in samples if inside or _matches(path, sample)]
            if any(not _any_matches(item.values.get("exclude", []), sample) for sample in hit):
                self.problems.append(
                    f"{where} ({path}) takes in files below {folder}. That is {reason}; leave it out with "
                    f"exclude: [{folder}/**]; {WHERE}"
                )

    def _readers(self, items: Sequence[_Item]) -> None:
        """Refuse two sources that read the same journal or the same containers."""
        for kind, key, default in (("journal", "matches", ""), ("docker", "host", "unix:///var/run/docker.sock")):
            seen: list[_Item] = []
            for item in (item for item in items if item.type == kind):
                own = item.values.get(key, default)
                for other in seen:
                    theirs = other.values.get(key, default)
                    if own == theirs or (kind == "journal" and "" in (own, theirs)):
                        self.problems.append(
                            f"{item.where()} and {other.where()} read the same {kind}, whose lines would be stored "
                            f"twice; take one out with state: absent, or part them by {key}; {WHERE}"
                        )
                        break
                seen.append(item)


def compile_expression(expression: str) -> Any:
    """Return an expression as RE2 compiles it; LogSourceError in RE2's words where it does not."""
    try:
        import re2
    except ImportError:
        raise LogSourceError(
            "the Python package google-re2 is missing on this machine; install requirements/controller.lock"
        ) from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options=options)
    except re2.error as error:
        text = error.args[0] if error.args else error
        raise LogSourceError(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from None


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, [str(name) for name in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _is_zone(name: Any) -> bool:
    if not isinstance(name, str) or not name:
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # A controller may have no database of zones at all; the agents have their own.
        return name == "UTC" or not zoneinfo.available_timezones()
    return True


# --- paths --------------------------------------------------------------------------------------------------------


def _glob(text: str) -> re.Pattern[str] | None:
    """Return a path with *, **, ?, [ ] and { } as an expression; nothing where brackets are left open."""
    found, index, depth = "", 0, 0
    while index < len(text):
        char = text[index]
        if text.startswith("/**/", index):
            found, index = found + "/(?:.*/)?", index + 4
        elif text.startswith("**", index):
            found, index = found + ".*", index + 2
        elif char == "[":
            end = text.find("]", index + 2)
            if end < 0:
                return None
            inside = text[index + 1 : end].replace("\\", "\\\\")
            found += "[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]"
            index = end + 1
        elif char == "\\" and index + 1 < len(text):
            found, index = found + re.escape(text[index + 1]), index + 2
        else:
            depth += {"{": 1, "}": -1}.get(char, 0)
            if depth < 0:
                return None
            special = {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
            found += "|" if char == "," and depth else special.get(char, re.escape(char))
            index += 1
    try:
        return None if depth else re.compile(found)
    except re.error:
        return None


def _matches(glob: str, path: str) -> bool:
    compiled = _glob(glob) if isinstance(glob, str) else None
    return bool(compiled and compiled.fullmatch(path))


def _sample(glob: str) -> str:
    """Return the path of a file such as a glob reads."""
    return re.sub(r"\*+|\?", "x", glob)


def _any_matches(globs: Any, path: str) -> bool:
    return isinstance(globs, (list, tuple)) and any(_matches(glob, path) for glob in globs)


def _within(item: _Item, glob: str, other: str) -> str:
    """Return the path of the two that lies in the other: `other` when all it stands for is read by `glob`, too."""
    # As a text a path with stars fits a wider one: each star stands for itself.
    if not _matches(glob, other) or _any_matches(item.values.get("exclude", []), other):
        return ""
    return other
