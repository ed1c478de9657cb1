"""The alert catalogue: one entry per alert, and everything that is derived from it.

An entry (``files/alerts/<group>.yml``) holds an alert's expression with named parameters, its texts, its runbook and
the cases that test it. From the entries come Prometheus rule files, promtool test files and runbook pages.

An entry with ``language: logql`` asks logs instead of metrics: it becomes a rule of Loki's ruler and none of
Prometheus, and its cases are lines of logs (`log_cases`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

import yaml

from .durations import parse_duration

PROMQL, LOGQL = "promql", "logql"
LANGUAGES = (PROMQL, LOGQL)
SEVERITIES = ("critical", "warning", "info", "none")
COMPONENTS = ("system", "service", "database", "cache", "application", "endpoint", "monitoring")
EXTRA_GROUP = "custom"
# The folder of Loki's rules when it has no tenants.
LOG_RULES = "rules/fake"
# Between two evaluations of a rule in LogQL: each reads the lines anew.
LOG_INTERVAL = "1m"

# With libyaml where there is one: every run reads the catalogue.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Parameter = Union[int, float, str]

_ALERT_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_SNAKE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile(r"\[\[([A-Za-z0-9_]+)\]\]")

_SETTINGS = ("enabled", "for", "severity", "summary", "description", "labels")
_RESERVED_LABELS = ("alertname", "severity", "component", "pair")
_REQUIRED_KEYS = ("name", "severity", "component", "expr", "for", "summary", "description")
_OPTIONAL_KEYS = ("language", "pair", "parameters", "keep_firing_for", "labels")
_LOG_KEYS = ("interval",)


class AlertError(ValueError):
    """An alert entry or an override that cannot be used; the message says where, what, and what is allowed."""


@dataclass(frozen=True)
class Step:
    """One step of a runbook: what to do, and the command that does it (may be empty)."""

    text: str
    command: str


@dataclass(frozen=True)
class Runbook:
    """What an alert means, what it does to users, how to find the cause and how to remove it."""

    meaning: str
    impact: str
    diagnosis: tuple[Step, ...]
    mitigation: tuple[Step, ...]


@dataclass(frozen=True)
class FiringAlert:
    """One alert that a test expects to fire; labels are those the expression yields."""

    labels: Mapping[str, str]
    summary: str
    description: str


@dataclass(frozen=True)
class Check:
    """The alerts expected to fire at one moment of a test case."""

    at: str
    firing: tuple[FiringAlert, ...]


@dataclass(frozen=True)
class Lines:
    """The same line again and again in a stream of logs: from the first time up to and without the last."""

    labels: Mapping[str, str]
    line: str
    first: str
    last: str
    every: str


@dataclass(frozen=True)
class Case:
    """Input series (series, values) in promtool's notation, or lines of logs, and what must fire when."""

    name: str
    interval: str
    series: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]
    lines: tuple[Lines, ...] = ()


@dataclass(frozen=True)
class Alert:
    """One entry of the catalogue. Durations stay in Prometheus notation; `wait` is the entry's `for`.

    `interval` is how often a rule in LogQL is evaluated; in PromQL that is up to the server.
    """

    name: str
    group: str
    severity: str
    component: str
    pair: str
    parameters: Mapping[str, Parameter]
    expr: str
    wait: str
    keep_firing_for: str
    summary: str
    description: str
    labels: Mapping[str, str]
    runbook: Runbook | None
    cases: tuple[Case, ...]
    language: str = PROMQL
    interval: str = ""

    def fill(self, text: str) -> str:
        """Return the text with every ``[[parameter]]`` replaced by its value."""
        return _PLACEHOLDER.sub(lambda match: str(self.parameters[match[1]]), text)

    def all_labels(self) -> dict[str, str]:
        """Return the labels that the rule adds to those of its expression."""
        own = {"severity": self.severity, "component": self.component}
        if self.pair:
            own["pair"] = self.pair
        return {**own, **self.labels}


# Reading and checking entries


def load_catalogue(folder: Path) -> tuple[Alert, ...]:
    """Read every ``*.yml`` of a folder; the file's name is the group's name.

    Raises AlertError on the first entry that breaks the schema, naming file, alert and key.
    """
    alerts: list[Alert] = []
    for path in sorted(folder.glob("*.yml")):
        try:
            entries = yaml.load(path.read_text(encoding="utf-8"), _LOADER)  # noqa: S506
        except yaml.YAMLError as error:
            raise AlertError(f"{path.name}: not valid YAML: {error}") from error
        alerts += _parse_entries(entries, path.stem, path.name, complete=True)
    if not alerts:
        raise AlertError(f"{folder}: no alerts found")
    _check_unique(alerts)
    _check_pairs(alerts)
    return tuple(alerts)


def add_extras(alerts: Sequence[Alert], extras: object) -> tuple[Alert, ...]:
    """Return the alerts followed by the user's own (`watchkeeper_alerts_extra`: runbook and tests are optional)."""
    own = _parse_entries(extras, EXTRA_GROUP, "watchkeeper_alerts_extra", complete=False)
    together = (*alerts, *own)
    _check_unique(together)
    return together


def apply_overrides(alerts: Sequence[Alert], overrides: object) -> tuple[Alert, ...]:
    """Return the alerts as the user's `watchkeeper_alerts` wants them, without the disabled ones.

    Raises AlertError for an unknown alert or key (listing the known ones) and for a value that is not allowed.
    """
    if not isinstance(overrides, Mapping):
        raise AlertError(f"watchkeeper_alerts: {overrides!r} is not a mapping of alert names to settings")
    known = {alert.name: alert for alert in alerts}
    for name, settings in overrides.items():
        if name not in known:
            raise AlertError(f"watchkeeper_alerts.{name}: there is no such alert{_known(name, known, 'Known alerts')}")
        if not isinstance(settings, Mapping):
            raise AlertError(f"watchkeeper_alerts.{name}: {settings!r} is not a mapping such as {{enabled: false}}")
        changed = _override(known[name], settings)
        if changed is None:
            del known[name]
        else:
            known[name] = changed
    return tuple(known.values())


def _override(alert: Alert, settings: Mapping[Any, Any]) -> Alert | None:
    changes: dict[str, Any] = {}
    parameters = dict(alert.parameters)
    enabled = True
    for key, value in settings.items():
        where = f"watchkeeper_alerts.{alert.name}.{key}"
        if key in parameters:
            parameters[key] = _parameter(value, where, like=alert.parameters[key])
        elif key == "enabled":
            if not isinstance(value, bool):
                raise AlertError(f"{where}: {value!r} is not allowed; it must be true or false")
            enabled = value
        elif key == "for":
            changes["wait"] = _duration(value, where)
        elif key == "severity":
            changes["severity"] = _choice(value, SEVERITIES, where)
        elif key in ("summary", "description"):
            changes[key] = _text(value, where)
        elif key == "labels":
            changes["labels"] = {**alert.labels, **_labels(value, where)}
        else:
            allowed = (*alert.parameters, *_SETTINGS)
            raise AlertError(f"{where}: there is no such key{_known(key, allowed, 'Allowed keys')}")
    if not enabled:
        return None
    changed = replace(alert, parameters=parameters, **changes)
    _check_placeholders(changed, f"watchkeeper_alerts.{alert.name}")
    return changed


def _parse_entries(entries: object, group: str, source: str, complete: bool) -> list[Alert]:
    if not isinstance(entries, (list, tuple)):
        raise AlertError(f"{source}: must be a list of alerts")
    return [_parse_entry(entry, group, f"{source}[{index}]", complete) for index, entry in enumerate(entries)]


def _parse_entry(entry: object, group: str, position: str, complete: bool) -> Alert:
    if not isinstance(entry, Mapping):
        raise AlertError(f"{position}: an alert must be a mapping, not {entry!r}")
    name = entry.get("name")
    if not isinstance(name, str) or not _ALERT_NAME.fullmatch(name):
        raise AlertError(f"{position}: name: {name!r} is not an alert name in CamelCase, such as HighCPUUsage")
    where = f"{position} ({name})"
    documented = ("runbook", "tests")
    language = _choice(entry.get("language", PROMQL), LANGUAGES, f"{where}: language")
    optional = (*_OPTIONAL_KEYS, *(_LOG_KEYS if language == LOGQL else ()))
    required = (*_REQUIRED_KEYS, *documented) if complete else _REQUIRED_KEYS
    _check_keys(entry, required, optional if complete else (*optional, *documented), where)
    alert = Alert(
        name=str(name),
        group=group,
        severity=_choice(entry["severity"], SEVERITIES, f"{where}: severity"),
        component=_choice(entry["component"], COMPONENTS, f"{where}: component"),
        pair=_snake_name(entry["pair"], f"{where}: pair") if "pair" in entry else "",
        parameters=_parameters(entry.get("parameters", {}), f"{where}: parameters"),
        expr=_text(entry["expr"], f"{where}: expr"),
        wait=_duration(entry["for"], f"{where}: for"),
        keep_firing_for=_duration(entry["keep_firing_for"], f"{where}: keep_firing_for")
        if "keep_firing_for" in entry
        else "",
        summary=_text(entry["summary"], f"{where}: summary"),
        description=_text(entry["description"], f"{where}: description"),
        labels=_labels(entry.get("labels", {}), f"{where}: labels"),
        runbook=_runbook(entry["runbook"], f"{where}: runbook") if "runbook" in entry else None,
        cases=_cases(entry["tests"], f"{where}: tests", language) if "tests" in entry else (),
        language=language,
        interval=_interval(entry.get("interval", LOG_INTERVAL), f"{where}: interval") if language == LOGQL else "",
    )
    _check_placeholders(alert, where)
    if complete:
        _check_cases_cover(alert, where)
    return alert


def _parameters(value: object, where: str) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, default in _mapping(value, where).items():
        if name in (*_SETTINGS, "name", "expr"):
            raise AlertError(f"{where}: {name!r} is the name of a setting, not free for a parameter")
        parameters[_snake_name(name, where)] = _parameter(default, f"{where}.{name}")
    return parameters


def _parameter(value: object, where: str, like: Parameter | None = None) -> Parameter:
    """Check a parameter: any kind without `like`, else of the same kind (number, duration or text) as `like`."""
    if like is None or not isinstance(like, str):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return value
        if like is not None:
            raise AlertError(f"{where}: {value!r} is not allowed; it must be a number")
    if like is not None and _is_duration(like):
        return _duration(value, where)
    text = _text(value, where)
    if re.search(r'["\\\n]', text):
        raise AlertError(f'{where}: {value!r} must not contain ", \\ or a line break (write [.] instead of \\.)')
    return text


def _runbook(value: object, where: str) -> Runbook:
    book = _mapping(value, where)
    _check_keys(book, ("meaning", "impact", "diagnosis", "mitigation"), (), where)
    return Runbook(
        meaning=_text(book["meaning"], f"{where}.meaning"),
        impact=_text(book["impact"], f"{where}.impact"),
        diagnosis=_steps(book["diagnosis"], f"{where}.diagnosis"),
        mitigation=_steps(book["mitigation"], f"{where}.mitigation"),
    )


def _steps(value: object, where: str) -> tuple[Step, ...]:
    steps = []
    for index, item in enumerate(_sequence(value, where)):
        step = _mapping(item, f"{where}[{index}]")
        _check_keys(step, ("text",), ("command",), f"{where}[{index}]")
        command = _text(step["command"], f"{where}[{index}].command") if "command" in step else ""
        steps.append(Step(_text(step["text"], f"{where}[{index}].text"), command))
    if not any(step.command for step in steps):
        raise AlertError(f"{where}: at least one step needs a command to copy")
    return tuple(steps)


def _cases(value: object, where: str, language: str) -> tuple[Case, ...]:
    cases = []
    for index, item in enumerate(_sequence(value, where)):
        here = f"{where}[{index}]"
        case = _mapping(item, here)
        series: tuple[tuple[str, str], ...] = ()
        lines: tuple[Lines, ...] = ()
        if language == LOGQL:
            _check_keys(case, ("case", "lines", "checks"), (), here)
            lines = tuple(
                _lines(line, f"{here}.lines[{number}]")
                for number, line in enumerate(_sequence(case["lines"], f"{here}.lines", empty=True))
            )
        else:
            _check_keys(case, ("case", "input", "checks"), ("interval",), here)
            series = tuple(
                _series(line, f"{here}.input[{number}]")
                for number, line in enumerate(_sequence(case["input"], f"{here}.input", empty=True))
            )
        checks = tuple(
            _check(check, f"{here}.checks[{number}]")
            for number, check in enumerate(_sequence(case["checks"], f"{here}.checks"))
        )
        interval = _duration(case.get("interval", "1m"), f"{here}.interval")
        cases.append(Case(_text(case["case"], f"{here}.case"), interval, series, checks, lines))
    return tuple(cases)


def _series(value: object, where: str) -> tuple[str, str]:
    pair = _mapping(value, where)
    _check_keys(pair, ("series", "values"), (), where)
    return _text(pair["series"], where), str(pair["values"])


def _lines(value: object, where: str) -> Lines:
    lines = _mapping(value, where)
    _check_keys(lines, ("labels", "line", "from", "to", "every"), (), where)
    first, last = (_duration(lines[key], f"{where}.{key}") for key in ("from", "to"))
    if parse_duration(first) >= parse_duration(last):
        raise AlertError(f"{where}.to: {last!r} is not allowed; it must be later than from, {first!r}")
    labels = {str(name): _text(label, f"{where}.labels") for name, label in _mapping(lines["labels"], where).items()}
    line = _text(lines["line"], f"{where}.line")
    return Lines(labels, line, first, last, _interval(lines["every"], f"{where}.every"))


def _check(value: object, where: str) -> Check:
    check = _mapping(value, where)
    _check_keys(check, ("at", "firing"), (), where)
    firing = []
    for index, item in enumerate(_sequence(check["firing"], f"{where}.firing", empty=True)):
        here = f"{where}.firing[{index}]"
        alert = _mapping(item, here)
        _check_keys(alert, ("labels", "summary", "description"), (), here)
        labels = {str(name): str(label) for name, label in _mapping(alert["labels"], f"{here}.labels").items()}
        firing.append(FiringAlert(labels, _text(alert["summary"], here), _text(alert["description"], here)))
    return Check(_duration(check["at"], f"{where}.at"), tuple(firing))


def _check_placeholders(alert: Alert, where: str) -> None:
    texts = {"expr": alert.expr, "summary": alert.summary, "description": alert.description}
    if alert.runbook:
        steps = (*alert.runbook.diagnosis, *alert.runbook.mitigation)
        prose = (
            alert.runbook.meaning,
            alert.runbook.impact,
            *(part for step in steps for part in (step.text, step.command)),
        )
        texts["runbook"] = "\n".join(prose)
    for key, text in texts.items():
        for name in _PLACEHOLDER.findall(text):
            if name not in alert.parameters:
                raise AlertError(
                    f"{where}: {key}: there is no parameter [[{name}]]{_known(name, alert.parameters, 'Parameters')}"
                )
    used = set(_PLACEHOLDER.findall(alert.expr))
    for name in alert.parameters:
        if name not in used:
            raise AlertError(f"{where}: parameters.{name}: the expression does not use it")


def _check_cases_cover(alert: Alert, where: str) -> None:
    counts = [len(check.firing) for case in alert.cases for check in case.checks]
    if not any(counts):
        raise AlertError(f"{where}: tests: no check in which the alert fires")
    # An alert of severity none (the Watchdog) is there to fire always.
    if alert.severity != "none" and all(counts):
        raise AlertError(f"{where}: tests: no check in which the alert stays silent")


def _check_unique(alerts: Iterable[Alert]) -> None:
    seen: dict[str, str] = {}
    for alert in alerts:
        if alert.name in seen:
            raise AlertError(f"{alert.name}: defined twice, in {seen[alert.name]} and in {alert.group}")
        seen[alert.name] = alert.group


def _check_pairs(alerts: Sequence[Alert]) -> None:
    """The two halves of a pair must yield the same labels, else Alertmanager cannot match them: one expression."""
    pairs: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.pair:
            pairs.setdefault(alert.pair, []).append(alert)
    for pair, halves in pairs.items():
        names = ", ".join(half.name for half in halves)
        if sorted(half.severity for half in halves) != ["critical", "warning"]:
            raise AlertError(f"pair {pair} ({names}): must be one warning and one critical alert")
        if halves[0].expr != halves[1].expr:
            raise AlertError(f"pair {pair} ({names}): the expressions may differ in their parameters' values only")


def _check_keys(value: Mapping[Any, Any], required: Sequence[str], optional: Sequence[str], where: str) -> None:
    allowed = (*required, *optional)
    for key in value:
        if key not in allowed:
            raise AlertError(f"{where}: unknown key {key!r}{_known(key, allowed, 'Allowed keys')}")
    for key in required:
        if key not in value:
            raise AlertError(f"{where}: the key {key!r} is missing")


def _known(name: object, known: Iterable[str], title: str) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"{'; did you mean ' + close[0] + '?' if close else '.'} {title}: {', '.join(names) or 'none'}"


def _mapping(value: object, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise AlertError(f"{where}: {value!r} is not a mapping")
    return value


def _sequence(value: object, where: str, empty: bool = False) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)) or not (value or empty):
        raise AlertError(f"{where}: {value!r} is not a {'list' if empty else 'list with at least one item'}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise AlertError(f"{where}: {value!r} is not allowed; it must be a text that is not empty")
    return str(value).strip()


def _snake_name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _SNAKE_NAME.fullmatch(value):
        raise AlertError(f"{where}: {value!r} is not a name in snake_case")
    return str(value)


def _choice(value: object, choices: Sequence[str], where: str) -> str:
    if value not in choices:
        raise AlertError(f"{where}: {value!r} is not allowed; it must be one of {', '.join(choices)}")
    return str(value)


def _duration(value: object, where: str) -> str:
    try:
        parse_duration(value)
    except ValueError as error:
        raise AlertError(f"{where}: {error}") from error
    return str(value)


def _interval(value: object, where: str) -> str:
    if parse_duration(_duration(value, where)) <= 0:
        raise AlertError(f"{where}: {value!r} is not allowed; it must be longer than nothing")
    return str(value)


def _is_duration(value: str) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


def _labels(value: object, where: str) -> dict[str, str]:
    labels = {}
    for name, label in _mapping(value, where).items():
        if not isinstance(name, str) or not _LABEL_NAME.fullmatch(name):
            raise AlertError(f"{where}: {name!r} is not a label name (letters, digits and _)")
        if name in _RESERVED_LABELS:
            raise AlertError(f"{where}: the label {name} belongs to the catalogue and cannot be set here")
        labels[str(name)] = _text(label, f"{where}.{name}")
    return labels


# Rendering


def render_rules(alerts: Iterable[Alert], runbooks_url: str = "", interval: str = "30s") -> dict[str, dict[str, Any]]:
    """Return Prometheus rule files as data, by group name; what is in LogQL is left out.

    `runbooks_url` is where the runbook pages are published: either the folder (``<url>/<alert>.md`` is linked) or an
    address with ``{alert}`` in it. Empty: no ``runbook_url`` annotation.
    """
    files: dict[str, dict[str, Any]] = {}
    for alert in in_language(alerts, PROMQL):
        group = {"name": alert.group, "interval": interval, "rules": []}
        content = files.setdefault(alert.group, {"groups": [group]})
        content["groups"][0]["rules"].append(_rule(alert, runbooks_url))
    return files


def render_log_rules(alerts: Iterable[Alert], runbooks_url: str = "") -> dict[str, dict[str, Any]]:
    """Return the rule files of Loki's ruler as data, by group name; what is in PromQL is left out.

    Rules that are evaluated more rarely than others are a group of their own in the file, `<group>_<interval>`.
    """
    files: dict[str, dict[str, Any]] = {}
    for alert in in_language(alerts, LOGQL):
        name = alert.group if alert.interval == LOG_INTERVAL else f"{alert.group}_{alert.interval}"
        groups = files.setdefault(alert.group, {"groups": []})["groups"]
        found = [group for group in groups if group["name"] == name]
        if not found:
            found = [{"name": name, "interval": alert.interval, "rules": []}]
            groups += found
        found[0]["rules"].append(_rule(alert, runbooks_url))
    return files


def log_rule_files(alerts: Iterable[Alert], runbooks_url: str = "") -> list[dict[str, str]]:
    """Return path and content of each rule file of Loki's ruler."""
    return [
        {
            "path": f"{LOG_RULES}/{group}.yml",
            "content": yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000),
        }
        for group, content in render_log_rules(alerts, runbooks_url).items()
    ]


def in_language(alerts: Iterable[Alert], language: str) -> list[Alert]:
    """Return the alerts whose expressions are in a language."""
    return [alert for alert in alerts if alert.language == language]


def _rule(alert: Alert, runbooks_url: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.fill(alert.expr), "for": alert.wait}
    if alert.keep_firing_for:
        rule["keep_firing_for"] = alert.keep_firing_for
    rule["labels"] = alert.all_labels()
    rule["annotations"] = _annotations(alert, alert.fill(alert.summary), alert.fill(alert.description), runbooks_url)
    return rule


def render_tests(alert: Alert, rule_file: str, runbooks_url: str = "") -> dict[str, Any]:
    """Return a promtool test file (as data) with all cases of one alert, for the rules in `rule_file`."""
    return {
        "rule_files": [rule_file],
        "evaluation_interval": min((case.interval for case in alert.cases), key=parse_duration),
        "tests": [
            {
                "name": f"{alert.name}: {case.name}",
                "interval": case.interval,
                "input_series": [{"series": series, "values": values} for series, values in case.series],
                "alert_rule_test": [
                    {
                        "eval_time": check.at,
                        "alertname": alert.name,
                        "exp_alerts": [
                            {
                                "exp_labels": {**alert.all_labels(), **firing.labels},
                                "exp_annotations": _annotations(
                                    alert, firing.summary, firing.description, runbooks_url
                                ),
                            }
                            for firing in check.firing
                        ],
                    }
                    for check in case.checks
                ],
            }
            for case in alert.cases
        ],
    }


@dataclass(frozen=True)
class LogStream:
    """What a case writes into one stream: seconds from its beginning, and the line."""

    labels: Mapping[str, str]
    entries: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class LogCheck:
    """What must fire at a moment, in seconds from the beginning of its case.

    It fires when the expression yields it at each of the `moments`, which are the evaluations from `for` before up to
    then.
    """

    at: float
    moments: tuple[float, ...]
    firing: tuple[FiringAlert, ...]


@dataclass(frozen=True)
class LogCase:
    """A case of an alert in LogQL: the expression, what is written, and what must fire when."""

    alert: str
    name: str
    expr: str
    streams: tuple[LogStream, ...]
    checks: tuple[LogCheck, ...]


def log_cases(alerts: Iterable[Alert]) -> list[LogCase]:
    """Return the cases of all alerts in LogQL, for a Loki to which they are written and which is asked then."""
    return [
        LogCase(
            alert.name,
            case.name,
            alert.fill(alert.expr),
            _streams(case.lines),
            tuple(LogCheck(parse_duration(check.at), _moments(alert, check), check.firing) for check in case.checks),
        )
        for alert in in_language(alerts, LOGQL)
        for case in alert.cases
    ]


def _streams(every: Iterable[Lines]) -> tuple[LogStream, ...]:
    """Return the streams, each in the order of its times: Loki refuses what comes too late."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, str]]] = {}
    for lines in every:
        first, last, step = (parse_duration(text) for text in (lines.first, lines.last, lines.every))
        times = (first + number * step for number in range(math.ceil((last - first) / step)))
        found.setdefault(tuple(sorted(lines.labels.items())), []).extend((time, lines.line) for time in times)
    return tuple(LogStream(dict(labels), tuple(sorted(entries))) for labels, entries in found.items())


def _moments(alert: Alert, check: Check) -> tuple[float, ...]:
    at, step = parse_duration(check.at), parse_duration(alert.interval)
    count = math.ceil(min(parse_duration(alert.wait), at) / step)
    return tuple(max(at - number * step, 0) for number in range(count, -1, -1))


def _annotations(alert: Alert, summary: str, description: str, runbooks_url: str) -> dict[str, str]:
    annotations = {"summary": summary, "description": description}
    if runbooks_url and alert.runbook:
        annotations["runbook_url"] = runbook_address(alert.name, runbooks_url)
    return annotations


def runbook_address(name: str, runbooks_url: str) -> str:
    """Return where the runbook page of an alert is served; `render_rules` explains `runbooks_url`."""
    address = runbooks_url if "{alert}" in runbooks_url else runbooks_url.rstrip("/") + "/{alert}.md"
    return address.replace("{alert}", name)


_GENERATED = (
    "<!-- Generated from files/alerts/{group}.yml by docs/generate_runbooks.py: edit the entry, not this page. -->"
)

_WHERE_TO_RUN = (
    "Commands run as root on the host that the alert names, unless a step says otherwise; `ansible-playbook` runs in "
    "this project's checkout on the controller."
)


def render_runbook(alert: Alert) -> str:
    """Return the Markdown page of an alert that has a runbook."""
    if alert.runbook is None:
        raise AlertError(f"{alert.name}: has no runbook")
    facts = {"Severity": alert.severity, "Component": alert.component, "Fires after": alert.wait}
    if alert.language == LOGQL:
        facts["Evaluated by"] = f"Loki, every {alert.interval}"
    if alert.pair:
        facts["Pair"] = f"{alert.pair} (the critical alert silences the warning)"
    settings = {**alert.parameters, "for": alert.wait}
    tuning = yaml.safe_dump({"watchkeeper_alerts": {alert.name: settings}}, sort_keys=False, width=1000)
    blocks = [
        _GENERATED.format(group=alert.group),
        f"# {alert.name}",
        "\n".join(["| | |", "|---|---|", *(f"| {title} | {fact} |" for title, fact in facts.items())]),
        _WHERE_TO_RUN,
        f"## Meaning\n\n{alert.fill(alert.runbook.meaning)}",
        _code(alert.fill(alert.expr), alert.language),
        f"## Impact\n\n{alert.fill(alert.runbook.impact)}",
        _numbered("Diagnosis", alert, alert.runbook.diagnosis),
        _numbered("Mitigation", alert, alert.runbook.mitigation),
        "## Tuning\n\nThese are the defaults; set what should differ, or `enabled: false`, in the inventory:",
        _code(tuning, "yaml"),
    ]
    return "\n\n".join(blocks) + "\n"


def render_runbook_index(alerts: Iterable[Alert]) -> str:
    """Return the Markdown page that lists all alerts and links their runbooks."""
    rows = [
        f"| [{alert.name}]({alert.name}.md) | {alert.group} | {alert.severity} | {alert.wait} |" for alert in alerts
    ]
    head = [_GENERATED.format(group="*"), "", "# Runbooks", "", "| Alert | Group | Severity | Fires after |"]
    return "\n".join([*head, "|---|---|---|---|", *rows]) + "\n"


def _numbered(title: str, alert: Alert, steps: Sequence[Step]) -> str:
    lines = [f"## {title}"]
    for number, step in enumerate(steps, start=1):
        lines += ["", f"{number}. {alert.fill(step.text)}"]
        if step.command:
            block = _code(alert.fill(step.command), "bash").splitlines()
            lines += ["", *(f"   {line}" if line else "" for line in block)]
    return "\n".join(lines)


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text.strip()}\n```"
