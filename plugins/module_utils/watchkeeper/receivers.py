"""Alertmanager's configuration from the role's variables.

:func:`render` takes the public variables of the role `alertmanager` and returns what has to lie on the host:
`alertmanager.yml` as data, the secrets as files of their own, the commands that prove a candidate, and what the
user should know although it is no error. Nothing here reads or writes a file.

Paths below the configuration folder are written with the placeholder ``{config}`` and programs of the release with
``{release}``; whoever installs the files replaces both.
"""

from __future__ import annotations

import difflib
import email.utils
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .durations import parse_duration

CONFIG_FILE = "alertmanager.yml"
SECRETS_FOLDER = "secrets"
ROOT_RECEIVER = "default"
WATCHDOG_RECEIVER = "watchdog"
# Where a route without `order` goes: after the database route, before the severities.
DEFAULT_ORDER = 50

_IN_GROUP_VARS = "the group_vars of your inventory"
_IN_VAULT = "the vault of your inventory"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MATCHER = re.compile(
    r'\s*(?P<label>[A-Za-z_:][A-Za-z0-9_:]*|"[^"]+")\s*(?P<op>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*'
)
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")
_PLACEHOLDER = re.compile(r"\$\{\w+\}|\$[A-Z][A-Z0-9_]*")
_FILE = re.compile(r"/[^\s{}$]+")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")

# What each option of an integration holds.
_INTEGRATIONS: dict[str, dict[str, str]] = {
    "email": {
        "to": "addresses",
        "from": "text",
        "hello": "text",
        "auth_username": "text",
        "auth_password": "secret",
        "require_tls": "flag",
        "headers": "texts",
        "html": "text",
        "text": "text",
        "send_resolved": "flag",
    },
    "slack": {
        "api_url": "secret",
        "channel": "text",
        "username": "text",
        "title": "text",
        "title_link": "text",
        "text": "text",
        "pretext": "text",
        "fallback": "text",
        "footer": "text",
        "color": "text",
        "icon_emoji": "text",
        "icon_url": "text",
        "send_resolved": "flag",
    },
    "pagerduty": {
        "routing_key": "secret",
        "url": "url",
        "description": "text",
        "severity": "text",
        "source": "text",
        "class": "text",
        "component": "text",
        "group": "text",
        "client": "text",
        "client_url": "text",
        "details": "texts",
        "send_resolved": "flag",
    },
    "webhook": {
        "url": "secret",
        "max_alerts": "count",
        "timeout": "duration",
        "send_resolved": "flag",
    },
}
_SECRETS = (
    "alertmanager_smtp_auth_password",
    "alertmanager_slack_api_url",
    "alertmanager_pagerduty_routing_key",
    "alertmanager_watchdog_url",
)
_RECEIVER_KEYS = ("name", "state", "silent", *_INTEGRATIONS)
_ROUTE_KEYS = (
    "name",
    "state",
    "order",
    "matchers",
    "receiver",
    "continue",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "maintenance",
)
_INHIBIT_KEYS = ("name", "state", "source_matchers", "target_matchers", "equal")
_TEST_KEYS = ("name", "state", "labels", "receivers")
_INTERVAL_KEYS = ("name", "time_intervals")
_PERIOD_KEYS = ("times", "weekdays", "days_of_month", "months", "years", "location")


class ReceiverError(ValueError):
    """A variable of the role cannot be used; the text names it, what is allowed and where to set it."""


@dataclass(frozen=True)
class Rendered:
    """What the role puts on the host, and what it tells the user.

    `config` is the content of alertmanager.yml, `secrets` maps paths below the configuration folder to contents,
    `checks` are commands (argument lists) that must succeed on a candidate, `warnings` are sentences for the closing
    table and `unheard` the receivers that routes use although they notify nobody.
    """

    config: dict[str, Any]
    secrets: dict[str, str]
    checks: list[list[str]]
    warnings: list[str]
    unheard: list[str]


@dataclass
class _Build:
    """The variables going in and the secrets coming out."""

    settings: Mapping[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def text(self, variable: str) -> str:
        """The value of a text variable, '' when it is unset."""
        value = self.settings.get(variable)
        if value is None:
            return ""
        if not isinstance(value, str):
            shown = "no text (its value is not shown)" if variable in _SECRETS else repr(value)
            raise _problem(variable, f"is {shown}", "a text, in quotes if it looks like a number")
        return value.strip()

    def items(self, variable: str) -> list[Any]:
        """The value of a list variable, [] when it is unset."""
        value = self.settings.get(variable)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _problem(variable, f"is {value!r}", "a list")
        return value

    def keep(self, name: str, value: str) -> str:
        """Keeps a secret as a file of its own and returns the path that the configuration names."""
        path = f"{SECRETS_FOLDER}/{name}"
        self.secrets[path] = value
        return "{config}/" + path


def render(settings: Mapping[str, Any], amtool: str = "{release}/amtool") -> Rendered:
    """The configuration that the variables ask for.

    `settings` maps the role's public variables by their full names to their values; a variable that is not in it
    counts as unset. Raises ReceiverError for the first value that cannot be used.
    """
    build = _Build(settings)
    _check_service(build)
    intervals = _time_intervals(build)
    receivers = _receivers(build)
    names = [receiver["name"] for receiver in receivers]
    routes = _routes(build, names, [interval["name"] for interval in intervals])
    inhibit_rules, inhibit_warnings = _inhibit_rules(build)

    config: dict[str, Any] = {
        "global": _global(build),
        # Relative, so that a candidate is checked with its own templates.
        "templates": ["templates/*.tmpl"],
        "route": {
            "receiver": ROOT_RECEIVER,
            "group_by": _labels("alertmanager_group_by", build.items("alertmanager_group_by")),
            "group_wait": _duration(build, "alertmanager_group_wait"),
            "group_interval": _duration(build, "alertmanager_group_interval", positive=True),
            "repeat_interval": _duration(build, "alertmanager_repeat_interval", positive=True),
            "routes": routes,
        },
        "receivers": [{key: value for key, value in receiver.items() if key != "silent"} for receiver in receivers],
    }
    if inhibit_rules:
        config["inhibit_rules"] = inhibit_rules
    if intervals:
        config["time_intervals"] = intervals

    unheard = _unheard(receivers, routes)
    return Rendered(
        config=config,
        secrets=build.secrets,
        checks=_checks(build, names, amtool),
        warnings=[
            *_receiver_warnings(receivers, routes, unheard),
            *inhibit_warnings,
            *_retention_warnings(build, routes),
        ],
        unheard=unheard,
    )


# --- the pieces of the configuration -----------------------------------------------------------------------------


def _check_service(build: _Build) -> None:
    port = build.settings.get("alertmanager_port", 9093)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise _problem("alertmanager_port", f"is {port!r}", "a port from 1 to 65535")
    external_url = build.text("alertmanager_external_url")
    if external_url and not _is_url(external_url):
        raise _problem("alertmanager_external_url", f"is {external_url!r}", "a URL such as https://alerts.example.org")
    for variable in ("alertmanager_retention", "alertmanager_start_delay"):
        if build.text(variable):
            _duration(build, variable, positive=variable == "alertmanager_retention")


def _global(build: _Build) -> dict[str, Any]:
    """The `global` section: only what an integration uses, so that no unused secret lies on the host."""
    section: dict[str, Any] = {}
    if "email" in build.used:
        smarthost = build.text("alertmanager_smtp_smarthost")
        if not _is_host_port(smarthost):
            raise _problem(
                "alertmanager_smtp_smarthost", f"is {smarthost!r}", "host:port, such as smtp.example.org:587"
            )
        section["smtp_smarthost"] = smarthost
        section["smtp_require_tls"] = _flag(
            "alertmanager_smtp_require_tls", build.settings.get("alertmanager_smtp_require_tls", True)
        )
        if build.text("alertmanager_smtp_from"):
            section["smtp_from"] = build.text("alertmanager_smtp_from")
        if build.text("alertmanager_smtp_hello"):
            section["smtp_hello"] = build.text("alertmanager_smtp_hello")
    if "smtp_auth" in build.used:
        section["smtp_auth_username"] = build.text("alertmanager_smtp_auth_username")
        password = _secret("alertmanager_smtp_auth_password", build.text("alertmanager_smtp_auth_password"))
        section["smtp_auth_password_file"] = build.keep("smtp_auth_password", password)
    if "slack" in build.used:
        url = _secret_url("alertmanager_slack_api_url", build.text("alertmanager_slack_api_url"))
        section["slack_api_url_file"] = build.keep("slack_api_url", url)
    pagerduty_url = build.text("alertmanager_pagerduty_url")
    if pagerduty_url:
        if not _is_url(pagerduty_url):
            raise _problem(
                "alertmanager_pagerduty_url",
                f"is {pagerduty_url!r}",
                "a URL, or empty for PagerDuty's own Events API v2",
            )
        section["pagerduty_url"] = pagerduty_url
    return section


def _receivers(build: _Build) -> list[dict[str, Any]]:
    variable = "alertmanager_receivers"
    merged = _merge(build, variable, _RECEIVER_KEYS)
    if ROOT_RECEIVER not in [entry["name"] for entry in merged]:
        raise _problem(
            variable,
            f"has no receiver {ROOT_RECEIVER!r}",
            "every other one may be removed; this one takes what no route matches",
        )
    return [_receiver(build, entry) for entry in merged]


def _receiver(build: _Build, entry: Mapping[str, Any]) -> dict[str, Any]:
    variable = "alertmanager_receivers"
    name = entry["name"]
    where = f"{variable}: receiver {name!r}"
    if not _NAME.fullmatch(name):
        raise _problem(where, "has a name that cannot be used", "letters, digits, '_', '.' and '-'")
    receiver: dict[str, Any] = {"name": name}
    if _flag(f"{where}: silent", entry.get("silent", False)):
        receiver["silent"] = True
    for kind, options in _INTEGRATIONS.items():
        wanted = entry.get(kind)
        if wanted is None:
            wanted = []
        if not isinstance(wanted, list):
            raise _problem(f"{where}: {kind}", "is not a list", f"a list of mappings, such as {kind}: [{{}}]")
        if kind == "webhook" and name == WATCHDOG_RECEIVER and not wanted:
            file = _watchdog_file(build)
            if file:
                # A resolved Watchdog is an alarm, so it must not reach the switch as one more sign of life.
                receiver["webhook_configs"] = [{"url_file": file, "send_resolved": False}]
        for index, integration in enumerate(wanted):
            place = f"{where}: {kind}[{index}]"
            _check_options(place, integration, options)
            render_one = {"email": _email, "slack": _slack, "pagerduty": _pagerduty, "webhook": _webhook}[kind]
            rendered = render_one(build, name, index, integration)
            receiver.setdefault(f"{kind}_configs", []).append(rendered)
    if "silent" in receiver and len(receiver) > 2:
        raise _problem(where, "is silent and has integrations", "silent: true only for a receiver without any")
    return receiver


def _watchdog_file(build: _Build) -> str:
    """The file with the webhook of the dead man's switch: ours, or one that is on the host; '' where there is none."""
    file = build.text("alertmanager_watchdog_url_file")
    if not build.text("alertmanager_watchdog_url"):
        if file and not _FILE.fullmatch(file):
            raise _problem("alertmanager_watchdog_url_file", f"is {file!r}", "an absolute path, or empty")
        return file
    if file:
        raise _problem(
            "alertmanager_watchdog_url_file",
            f"is {file!r}, although alertmanager_watchdog_url is set, too",
            "one of the two",
        )
    url = _secret_url("alertmanager_watchdog_url", build.text("alertmanager_watchdog_url"))
    return build.keep("watchdog_url", url)


def _email(build: _Build, receiver: str, index: int, options: Mapping[str, Any]) -> dict[str, Any]:
    variable = "alertmanager_receivers"
    place = f"{variable}: receiver {receiver!r}: email[{index}]"
    needed = f"is not set, but {place} needs it"
    if not build.text("alertmanager_smtp_smarthost"):
        raise _problem("alertmanager_smtp_smarthost", needed, "host:port, such as smtp.example.org:587")
    if not options.get("from") and not build.text("alertmanager_smtp_from"):
        raise _problem("alertmanager_smtp_from", needed, "the sender's address")
    if not options.get("to"):
        raise _problem(place, "has no `to`", "an address, several divided by commas, or a list of them")
    build.used.add("email")
    own_user, own_password = options.get("auth_username"), options.get("auth_password")
    if bool(own_user) != bool(own_password):
        raise _problem(place, "has only one of auth_username and auth_password", "both or neither", _IN_VAULT)
    user, password = build.text("alertmanager_smtp_auth_username"), build.text("alertmanager_smtp_auth_password")
    if not own_user and bool(user) != bool(password):
        missing = "alertmanager_smtp_auth_password" if user else "alertmanager_smtp_auth_username"
        raise _problem(
            missing,
            f"is not set, although its other half is and {place} needs both",
            "both or neither",
            _IN_VAULT,
        )

    config: dict[str, Any] = {
        "to": _addresses(f"{place}: to", options["to"]),
        "send_resolved": True,
        "text": '{{ template "watchkeeper.email.text" . }}',
    }
    config.update({key: options[key] for key in options if key not in ("to", "headers", "auth_password")})
    headers = dict(options.get("headers") or {})
    if "subject" not in [header.lower() for header in headers]:
        headers["Subject"] = '{{ template "watchkeeper.subject" . }}'
    config["headers"] = headers
    if own_user:
        secret = _secret(f"{place}: auth_password", str(own_password))
        config["auth_password_file"] = build.keep(f"{receiver}-email-{index}", secret)
    elif user:
        build.used.add("smtp_auth")
    return config


def _slack(build: _Build, receiver: str, index: int, options: Mapping[str, Any]) -> dict[str, Any]:
    variable = "alertmanager_receivers"
    place = f"{variable}: receiver {receiver!r}: slack[{index}]"
    config: dict[str, Any] = {
        "send_resolved": True,
        "title": '{{ template "watchkeeper.subject" . }}',
        "text": '{{ template "watchkeeper.slack.text" . }}',
        "fallback": '{{ template "watchkeeper.subject" . }}',
        "color": '{{ template "watchkeeper.slack.color" . }}',
    }
    config.update({key: options[key] for key in options if key != "api_url"})
    if options.get("api_url"):
        url = _secret_url(f"{place}: api_url", options["api_url"])
        config["api_url_file"] = build.keep(f"{receiver}-slack-{index}", url)
    elif build.text("alertmanager_slack_api_url"):
        build.used.add("slack")
    else:
        raise _problem(
            "alertmanager_slack_api_url",
            f"is not set, but {place} needs it (it has no api_url of its own)",
            "the URL of a Slack incoming webhook",
            _IN_VAULT,
        )
    return config


def _pagerduty(build: _Build, receiver: str, index: int, options: Mapping[str, Any]) -> dict[str, Any]:
    variable = "alertmanager_receivers"
    place = f"{variable}: receiver {receiver!r}: pagerduty[{index}]"
    config: dict[str, Any] = {
        "send_resolved": True,
        "description": '{{ template "watchkeeper.pagerduty.description" . }}',
        "severity": '{{ template "watchkeeper.pagerduty.severity" . }}',
        "source": '{{ template "watchkeeper.pagerduty.source" . }}',
        "class": "{{ .CommonLabels.alertname }}",
        "component": "{{ .CommonLabels.component }}",
        "group": "{{ .CommonLabels.cluster }}",
        "links": [{"href": "{{ .CommonAnnotations.runbook_url }}", "text": "Runbook"}],
    }
    config.update({key: options[key] for key in options if key != "routing_key"})
    if options.get("routing_key"):
        key = _routing_key(f"{place}: routing_key", options["routing_key"])
        config["routing_key_file"] = build.keep(f"{receiver}-pagerduty-{index}", key)
    elif build.text("alertmanager_pagerduty_routing_key"):
        key = _routing_key("alertmanager_pagerduty_routing_key", build.text("alertmanager_pagerduty_routing_key"))
        config["routing_key_file"] = build.keep("pagerduty_routing_key", key)
    else:
        raise _problem(
            "alertmanager_pagerduty_routing_key",
            f"is not set, but {place} needs it (it has no routing_key of its own)",
            "the 32 character integration key of an Events API v2 integration",
            _IN_VAULT,
        )
    return config


def _webhook(build: _Build, receiver: str, index: int, options: Mapping[str, Any]) -> dict[str, Any]:
    variable = "alertmanager_receivers"
    place = f"{variable}: receiver {receiver!r}: webhook[{index}]"
    if not options.get("url"):
        raise _problem(place, "has no `url`", "the URL to post alerts to", _IN_VAULT)
    url = _secret_url(f"{place}: url", options["url"])
    config: dict[str, Any] = {"send_resolved": True}
    config.update({key: options[key] for key in options if key != "url"})
    config["url_file"] = build.keep(f"{receiver}-webhook-{index}", url)
    return config


def _routes(build: _Build, receivers: list[str], intervals: list[str]) -> list[dict[str, Any]]:
    variable = "alertmanager_routes"
    windows = build.items("alertmanager_maintenance_windows")
    for window in windows:
        _known("alertmanager_maintenance_windows", "time interval", window, intervals, "alertmanager_time_intervals")
    entries = _merge(build, variable, _ROUTE_KEYS)
    for entry in entries:
        order = entry.get("order", DEFAULT_ORDER)
        if isinstance(order, bool) or not isinstance(order, int):
            raise _problem(f"{variable}: route {entry['name']!r}: order", f"is {order!r}", "a whole number")
    entries.sort(key=lambda entry: entry.get("order", DEFAULT_ORDER))
    routes = []
    for position, entry in enumerate(entries):
        where = f"{variable}: route {entry['name']!r}"
        if not entry.get("receiver"):
            raise _problem(where, "has no receiver", f"one of {_listing(receivers)}")
        _known(where, "receiver", entry["receiver"], receivers, "alertmanager_receivers")
        route: dict[str, Any] = {"receiver": entry["receiver"]}
        matchers = _matchers(f"{where}: matchers", entry.get("matchers") or [])
        goes_on = _flag(f"{where}: continue", entry.get("continue", False))
        if matchers:
            route["matchers"] = matchers
        elif not goes_on and position + 1 < len(entries):
            hidden = _listing([later["name"] for later in entries[position + 1 :]])
            raise _problem(
                where,
                f"has no matchers and no `continue: true`, so the routes after it ({hidden}) would never be reached",
                "matchers, continue: true, or an `order` that puts it last",
            )
        if goes_on:
            route["continue"] = True
        if entry.get("group_by") is not None:
            route["group_by"] = _labels(f"{where}: group_by", entry["group_by"])
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if entry.get(key) is not None:
                route[key] = _check_duration(f"{where}: {key}", entry[key], positive=key != "group_wait")
        muted = list(entry.get("mute_time_intervals") or [])
        if _flag(f"{where}: maintenance", entry.get("maintenance", True)):
            muted += [window for window in windows if window not in muted]
        active = list(entry.get("active_time_intervals") or [])
        for interval in muted + active:
            _known(where, "time interval", interval, intervals, "alertmanager_time_intervals")
        if muted:
            route["mute_time_intervals"] = muted
        if active:
            route["active_time_intervals"] = active
        routes.append(route)
    return routes


def _time_intervals(build: _Build) -> list[dict[str, Any]]:
    variable = "alertmanager_time_intervals"
    intervals = _named(variable, build.items(variable), _INTERVAL_KEYS)
    for interval in intervals:
        where = f"{variable}: time interval {interval['name']!r}"
        periods = interval.get("time_intervals")
        if not isinstance(periods, list) or not periods:
            raise _problem(where, "has no periods", f"time_intervals: a list of mappings with {_listing(_PERIOD_KEYS)}")
        for period in periods:
            _check_keys(where, period, _PERIOD_KEYS)
            for times in period.get("times") or []:
                _check_keys(f"{where}: times", times, ("start_time", "end_time"))
                for key in ("start_time", "end_time"):
                    # YAML 1.1 reads an unquoted 21:30 as a number of minutes, hence the hint.
                    if not isinstance(times.get(key), str) or not _CLOCK.fullmatch(times[key]):
                        raise _problem(
                            f"{where}: {key}", f"is {times.get(key)!r}", "a quoted time from '00:00' to '24:00'"
                        )
    return [dict(interval) for interval in intervals]


def _inhibit_rules(build: _Build) -> tuple[list[dict[str, Any]], list[str]]:
    variable = "alertmanager_inhibit_rules"
    rules, warnings = [], []
    for entry in _merge(build, variable, _INHIBIT_KEYS):
        where = f"{variable}: rule {entry['name']!r}"
        rule: dict[str, Any] = {}
        for key in ("source_matchers", "target_matchers"):
            matchers = _matchers(f"{where}: {key}", entry.get(key) or [])
            if not matchers:
                raise _problem(where, f"has no {key}", 'a list of matchers, such as severity="critical"')
            rule[key] = matchers
        equal = _labels(f"{where}: equal", entry.get("equal") or [])
        if equal:
            rule["equal"] = equal
        matchers = rule["source_matchers"] + rule["target_matchers"]
        if equal and not any(_demands(matcher, label) for matcher in matchers for label in equal):
            warnings.append(
                f"{where} demands none of its equal labels ({_listing(equal)}). Two alerts without them count as "
                f'equal, so one would silence the other. Add {equal[0]}=~".+" to its source and target matchers.'
            )
        rules.append(rule)
    return rules, warnings


def _checks(build: _Build, receivers: list[str], amtool: str) -> list[list[str]]:
    variable = "alertmanager_route_tests"
    # Strict mode is how the program runs: a matcher that only the classic parser reads is refused here already.
    config = "{config}/" + CONFIG_FILE
    program = [amtool, "--enable-feature=utf8-strict-mode"]
    checks = [[*program, "check-config", config]]
    for entry in _merge(build, variable, _TEST_KEYS):
        where = f"{variable}: test {entry['name']!r}"
        labels, expected = entry.get("labels"), entry.get("receivers")
        if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
            raise _problem(f"{where}: labels", f"is {labels!r}", "a mapping of label names to texts")
        _labels(f"{where}: labels", list(labels))
        if not isinstance(expected, list) or not expected:
            raise _problem(f"{where}: receivers", f"is {expected!r}", "the receivers in the order of their routes")
        for receiver in expected:
            _known(where, "receiver", receiver, receivers, "alertmanager_receivers")
        checks.append(
            [
                *program,
                "config",
                "routes",
                "test",
                f"--config.file={config}",
                "--verify.receivers=" + ",".join(expected),
                *(f"{label}={_quoted(labels[label])}" for label in sorted(labels)),
            ]
        )
    return checks


# --- what the user should know ------------------------------------------------------------------------------------


def _unheard(receivers: list[dict[str, Any]], routes: list[dict[str, Any]]) -> list[str]:
    """Receivers that routes use although they have no integration and are not meant to be silent."""
    used = {ROOT_RECEIVER, *(route["receiver"] for route in routes)}
    return [entry["name"] for entry in receivers if entry["name"] in used and len(entry) == 1]


def _receiver_warnings(receivers: list[dict[str, Any]], routes: list[dict[str, Any]], unheard: list[str]) -> list[str]:
    warnings = []
    if WATCHDOG_RECEIVER in unheard:
        warnings.append(
            "alertmanager_watchdog_url is not set: no dead man's switch outside notices when alerting itself stops. "
            f"Set it in {_IN_VAULT}."
        )
    people = [name for name in unheard if name != WATCHDOG_RECEIVER]
    if people:
        warnings.append(
            f"No integration: {_listing(people)}. Alerts for them are visible in Alertmanager's own pages only. "
            f"Give them email, slack, pagerduty or webhook through alertmanager_receivers in {_IN_GROUP_VARS}."
        )
    used = {ROOT_RECEIVER, *(route["receiver"] for route in routes)}
    idle = [
        entry["name"] for entry in receivers if entry["name"] not in used and len(entry) > 1 and "silent" not in entry
    ]
    if idle:
        warnings.append(f"No route leads to {_listing(idle)}. Add one through alertmanager_routes in {_IN_GROUP_VARS}.")
    return warnings


def _retention_warnings(build: _Build, routes: list[dict[str, Any]]) -> list[str]:
    retention = build.text("alertmanager_retention")
    if not retention:
        return []
    intervals = [build.text("alertmanager_repeat_interval"), *(route.get("repeat_interval", "") for route in routes)]
    long = sorted(
        {interval for interval in intervals if interval and parse_duration(interval) > parse_duration(retention)}
    )
    if not long:
        return []
    return [f"alertmanager_retention is {retention}: alerts repeat after that time, not after {_listing(long)}."]


# --- values -------------------------------------------------------------------------------------------------------


def _problem(place: str, found: str, allowed: str, where: str = _IN_GROUP_VARS) -> ReceiverError:
    return ReceiverError(f"{place} {found}. Allowed: {allowed}. Set it in {where}.")


def _listing(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names) or "none"


def _check_keys(place: str, entry: Any, known: Iterable[str]) -> None:
    known = list(known)
    if not isinstance(entry, Mapping):
        raise _problem(place, "is no mapping", f"a mapping with {_listing(known)}")
    for key in entry:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise _problem(place, f"has the unknown key {str(key)!r}{hint}", _listing(known))


def _check_options(place: str, integration: Any, options: Mapping[str, str]) -> None:
    """Checks the keys of one integration and the type of every value, without ever showing a secret."""
    _check_keys(place, integration, options)
    for key, value in integration.items():
        kind = options[key]
        where = f"{place}: {key}"
        if kind == "flag":
            _flag(where, value)
        elif kind == "count":
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise _problem(where, f"is {value!r}", "a whole number from 0")
        elif kind == "duration":
            _check_duration(where, value)
        elif kind == "texts":
            if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
                raise _problem(where, f"is {value!r}", "a mapping of names to texts")
        elif kind == "url":
            if not _is_url(value):
                raise _problem(where, f"is {value!r}", "a URL with its scheme, http:// or https://")
        elif kind == "secret":
            if not isinstance(value, str):
                raise _problem(where, "is no text", "a text, in quotes if it looks like a number", _IN_VAULT)
        elif kind == "text" and (not isinstance(value, str) or not value.strip()):
            # `channel: #alerts` without quotes is a comment to YAML, so the value arrives empty.
            raise _problem(where, f"is {value!r}", "a text that is not empty, in quotes if it begins with #")


def _merge(build: _Build, variable: str, keys: Iterable[str]) -> list[dict[str, Any]]:
    """`<variable>_default` and `<variable>` merged by name; ours first, `state: absent` takes one out."""
    merged = {
        entry["name"]: dict(entry) for entry in _named(f"{variable}_default", build.items(f"{variable}_default"), keys)
    }
    for entry in _named(variable, build.items(variable), keys):
        state = entry.get("state", "present")
        if state not in ("present", "absent"):
            raise _problem(f"{variable}: {entry['name']!r}: state", f"is {state!r}", "present, absent")
        if state == "absent":
            _known(variable, "entry", entry["name"], list(merged), f"{variable}_default")
            del merged[entry["name"]]
        else:
            merged[entry["name"]] = {**merged.get(entry["name"], {}), **entry}
    for entry in merged.values():
        entry.pop("state", None)
    return list(merged.values())


def _named(variable: str, entries: list[Any], keys: Iterable[str]) -> list[Mapping[str, Any]]:
    """The entries of a list, each with known keys and a name of its own."""
    seen: set[str] = set()
    keys = list(keys)
    for index, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        _check_keys(f"{variable}: entry {name or index!r}", entry, keys)
        if not isinstance(name, str) or not name:
            raise _problem(f"{variable}: entry {index}", "has no name", "a name for every entry")
        if name in seen:
            raise _problem(variable, f"has {name!r} twice", "one entry for each name")
        seen.add(name)
    return entries


def _known(place: str, what: str, name: Any, known: list[str], defined_by: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise _problem(place, f"names the unknown {what} {name!r}{hint}", f"{_listing(known)} (from {defined_by})")


def _matchers(place: str, matchers: Any) -> list[str]:
    if not isinstance(matchers, list):
        raise _problem(place, f"is {matchers!r}", 'a list of matchers, such as severity="critical"')
    for matcher in matchers:
        if not isinstance(matcher, str) or not _MATCHER.fullmatch(matcher):
            raise _problem(
                place,
                f"has {matcher!r}",
                'one label, one of = != =~ !~ and a value in double quotes, such as severity="critical"',
            )
    return list(matchers)


def _demands(matcher: str, label: str) -> bool:
    """Whether a matcher refuses every alert that lacks the label."""
    match = _MATCHER.fullmatch(matcher)
    if match is None or match["label"].strip('"') != label:
        return False
    operator, value = match["op"], match["value"]
    if operator in ("=", "!="):
        return (operator == "=") == (value != "")
    try:
        accepts_nothing = re.fullmatch(value, "") is not None
    except re.error:
        return False
    return accepts_nothing == (operator == "!~")


def _labels(place: str, labels: Any) -> list[str]:
    if not isinstance(labels, list):
        raise _problem(place, f"is {labels!r}", "a list of label names")
    for label in labels:
        if not isinstance(label, str) or not (_LABEL.fullmatch(label) or labels == ["..."]):
            raise _problem(place, f"has {label!r}", "label names of letters, digits and '_'")
    return list(labels)


def _duration(build: _Build, variable: str, positive: bool = False) -> str:
    return _check_duration(variable, build.settings.get(variable), positive)


def _check_duration(place: str, value: Any, positive: bool = False) -> str:
    allowed = "a duration such as 30s, 5m, 1h30m or 2d" + (", longer than 0" if positive else "")
    try:
        seconds = parse_duration(value)
    except (TypeError, ValueError):
        raise _problem(place, f"is {value!r}", allowed) from None
    if positive and seconds <= 0:
        raise _problem(place, f"is {value!r}", allowed)
    return str(value)


def _flag(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _problem(place, f"is {value!r}", "true, false")
    return value


def _addresses(place: str, value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        addresses = email.utils.getaddresses([text]) if isinstance(text, str) else []
        if not addresses or not all(re.fullmatch(r"[^@\s${}]+@[^@\s${}]+", address) for _name, address in addresses):
            raise _problem(place, f"is {value!r}", "an address, several divided by commas, or a list of them")
    return ", ".join(text.strip() for text in texts)


def _is_url(value: Any) -> bool:
    if not isinstance(value, str) or re.search(r"[\s{}$]", value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_host_port(value: str) -> bool:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    return match is not None and 0 < int(match[2]) < 65536


def _secret(place: str, value: str) -> str:
    # The commonest mistake: Alertmanager expands no environment variables, it would send the placeholder itself.
    if _PLACEHOLDER.fullmatch(value.strip()):
        raise _problem(
            place,
            "holds a placeholder instead of the secret",
            "the secret itself, from a vault or a lookup",
            _IN_VAULT,
        )
    return value


def _secret_url(place: str, value: str) -> str:
    if not _is_url(_secret(place, value.strip())):
        raise _problem(
            place, "is no URL (its value is not shown)", "a URL with its scheme, http:// or https://", _IN_VAULT
        )
    return value.strip()


def _routing_key(place: str, value: str) -> str:
    if not _ROUTING_KEY.fullmatch(_secret(place, value.strip())):
        raise _problem(
            place,
            f"has {len(value.strip())} characters or one that does not belong there (its value is not shown)",
            "32 letters and digits, the integration key of an Events API v2 integration",
            _IN_VAULT,
        )
    return value.strip()


def _quoted(value: str) -> str:
    """A label value as amtool reads it, whatever characters it has."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
