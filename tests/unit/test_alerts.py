"""The alert catalogue: schema, overrides, the user's own alerts, and what is rendered from them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import alerts as catalogue
from ansible.module_utils.watchkeeper.durations import parse_duration
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = catalogue.load_catalogue(ROOT / "files" / "alerts")

ENTRY: dict[str, Any] = {
    "name": "QueueLong",
    "severity": "warning",
    "component": "application",
    "parameters": {"threshold": 10, "window": "5m", "ignored": "test|dev"},
    "expr": 'max_over_time(queue_length{queue!~"[[ignored]]"}[[[window]]]) > [[threshold]]',
    "for": "5m",
    "summary": "The queue of {{ $labels.instance }} is long.",
    "description": '{{ printf "%.0f" $value }} jobs wait (limit: [[threshold]]).',
    "runbook": {
        "meaning": "More than [[threshold]] jobs wait.",
        "impact": "Work is late.",
        "diagnosis": [{"text": "Look.", "command": "queue list\nqueue top"}, {"text": "Think."}],
        "mitigation": [{"text": "Drain.", "command": "queue drain"}],
    },
    "tests": [
        {
            "case": "fires, then not",
            "input": [{"series": 'queue_length{instance="web1"}', "values": "11x10 0x10"}],
            "checks": [
                {
                    "at": "7m",
                    "firing": [
                        {
                            "labels": {"instance": "web1"},
                            "summary": "The queue of web1 is long.",
                            "description": "11 jobs wait (limit: 10).",
                        }
                    ],
                },
                {"at": "20m", "firing": []},
            ],
        }
    ],
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., catalogue.Alert]:
    """Return a loader of one-entry catalogues: ENTRY with changes; a value of None removes the key."""

    def _load(**changes: Any) -> catalogue.Alert:
        entry = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
        (tmp_path / "queues.yml").write_text(yaml.safe_dump([entry]), encoding="utf-8")
        return catalogue.load_catalogue(tmp_path)[0]

    return _load


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("30d", 2592000),
        ("1w2d", 777600),
        ("1y", 31536000),
    ],
)
def test_durations_in_prometheus_notation(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_milliseconds_are_not_minutes_and_seconds() -> None:
    assert parse_duration("1m250ms") == pytest.approx(60.25)


@pytest.mark.parametrize("text", ["", "5", "5 m", "1.5h", "30m1h", "1h1h", "-5m", "5min", "5m\n", "٣m", 5, None, True])
def test_what_is_not_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it as Prometheus does"):
        parse_duration(text)


def test_a_duration_that_prometheus_cannot_count() -> None:
    with pytest.raises(ValueError, match="longer than Prometheus can count"):
        parse_duration("293y")


def test_the_shipped_catalogue() -> None:
    names = {alert.name for alert in SHIPPED}
    seven = {"HighCPUUsage", "HighMemoryUsage", "HighDiskUsage", "ServiceDown"}
    seven |= {"CriticalCPUUsage", "CriticalMemoryUsage", "CriticalDiskUsage"}
    assert seven < names
    assert all(alert.runbook for alert in SHIPPED)
    defaults = {alert.name: (alert.wait, alert.parameters.get("threshold")) for alert in SHIPPED if alert.name in seven}
    assert defaults == {
        "HighCPUUsage": ("5m", 80),
        "CriticalCPUUsage": ("2m", 95),
        "HighMemoryUsage": ("5m", 80),
        "CriticalMemoryUsage": ("2m", 95),
        "HighDiskUsage": ("5m", 80),
        "CriticalDiskUsage": ("2m", 90),
        "ServiceDown": ("1m", None),
    }


def test_both_halves_of_a_pair_leave_out_the_same_things() -> None:
    texts: dict[str, set[tuple[object, ...]]] = {}
    for alert in SHIPPED:
        if alert.pair:
            texts_of_one = (
                value
                for name, value in alert.parameters.items()
                if isinstance(value, str) and not name.endswith("_window")
            )
            texts.setdefault(alert.pair, set()).add(tuple(texts_of_one))
    assert {pair: len(kinds) for pair, kinds in texts.items()} == dict.fromkeys(texts, 1)
    assert any(any(kinds) for kinds in texts.values())


def test_alertmanager_compares_every_label_of_a_pair() -> None:
    """Else the critical alert of one route, filesystem or objective would silence the warning of another."""
    defaults = yaml.safe_load((ROOT / "roles" / "alertmanager" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    [rule] = [
        rule
        for rule in defaults["alertmanager_inhibit_rules_default"]
        if rule["name"] == "critical-silences-its-warning"
    ]
    found = {
        label
        for alert in SHIPPED
        if alert.pair
        for case in alert.cases
        for check in case.checks
        for firing in check.firing
        for label in firing.labels
    }
    assert {"instance", "mountpoint", "route", "slo"} <= found
    # A filesystem's type goes with its device.
    assert found - set(rule["equal"]) == {"fstype"}


def test_a_dead_host_is_known_before_its_services() -> None:
    waits = {alert.name: parse_duration(alert.wait) for alert in SHIPPED}
    assert waits["HostDown"] < waits["ServiceDown"]


def test_rules_of_an_entry(load: Callable[..., catalogue.Alert]) -> None:
    alert = load(pair=None, labels={"team": "web"}, keep_firing_for="3m")
    assert catalogue.render_rules([alert]) == {
        "queues": {
            "groups": [
                {
                    "name": "queues",
                    "interval": "30s",
                    "rules": [
                        {
                            "alert": "QueueLong",
                            "expr": 'max_over_time(queue_length{queue!~"test|dev"}[5m]) > 10',
                            "for": "5m",
                            "keep_firing_for": "3m",
                            "labels": {"severity": "warning", "component": "application", "team": "web"},
                            "annotations": {
                                "summary": "The queue of {{ $labels.instance }} is long.",
                                "description": '{{ printf "%.0f" $value }} jobs wait (limit: 10).',
                            },
                        }
                    ],
                }
            ]
        }
    }


def test_both_halves_of_a_pair_carry_its_label() -> None:
    rules = catalogue.render_rules(SHIPPED)["infrastructure"]["groups"][0]["rules"]
    pairs = {rule["alert"]: rule["labels"].get("pair") for rule in rules}
    assert pairs["HighCPUUsage"] == pairs["CriticalCPUUsage"] == "cpu_usage"
    assert pairs["ServiceDown"] is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", None),
        ("https://example.org/runbooks", "https://example.org/runbooks/QueueLong.md"),
        ("https://example.org/runbooks/", "https://example.org/runbooks/QueueLong.md"),
        ("https://example.org/wiki?page={alert}", "https://example.org/wiki?page=QueueLong"),
    ],
)
def test_link_to_the_runbook(load: Callable[..., catalogue.Alert], url: str, expected: str | None) -> None:
    rule = catalogue.render_rules([load()], url)["queues"]["groups"][0]["rules"][0]
    assert rule["annotations"].get("runbook_url") == expected


def test_tests_of_an_entry(load: Callable[..., catalogue.Alert]) -> None:
    rendered = catalogue.render_tests(replace(load(severity="info"), pair="queue"), "queues.yml", "https://example.org")
    assert rendered["rule_files"] == ["queues.yml"]
    assert rendered["evaluation_interval"] == "1m"
    (test,) = rendered["tests"]
    assert test["input_series"] == [{"series": 'queue_length{instance="web1"}', "values": "11x10 0x10"}]
    fires, silent = test["alert_rule_test"]
    assert fires == {
        "eval_time": "7m",
        "alertname": "QueueLong",
        "exp_alerts": [
            {
                "exp_labels": {"severity": "info", "component": "application", "pair": "queue", "instance": "web1"},
                "exp_annotations": {
                    "summary": "The queue of web1 is long.",
                    "description": "11 jobs wait (limit: 10).",
                    "runbook_url": "https://example.org/QueueLong.md",
                },
            }
        ],
    }
    assert silent == {"eval_time": "20m", "alertname": "QueueLong", "exp_alerts": []}


def test_overrides_reach_the_rules() -> None:
    overrides = {
        "HighCPUUsage": {
            "threshold": 85.5,
            "for": "10m",
            "severity": "critical",
            "summary": "Hot.",
            "description": "Above [[threshold]]%: {{ $value }}",
            "labels": {"team": "web"},
        },
        "DiskFillsSoon": {"window": "12h", "ignored_mountpoints": "/scratch/.*"},
        "HostRebooted": {"enabled": False},
        "HostDown": {"enabled": True},
    }
    alerts = catalogue.apply_overrides(SHIPPED, overrides)
    rules = {
        rule["alert"]: rule
        for content in catalogue.render_rules(alerts).values()
        for rule in content["groups"][0]["rules"]
    }
    assert rules["HighCPUUsage"]["expr"].endswith("> 85.5")
    assert rules["HighCPUUsage"]["for"] == "10m"
    assert rules["HighCPUUsage"]["labels"] == {
        "severity": "critical",
        "component": "system",
        "pair": "cpu_usage",
        "team": "web",
    }
    assert rules["HighCPUUsage"]["annotations"] == {"summary": "Hot.", "description": "Above 85.5%: {{ $value }}"}
    assert "[12h]" in rules["DiskFillsSoon"]["expr"]
    assert 'mountpoint!~"/scratch/.*"' in rules["DiskFillsSoon"]["expr"]
    everything = {alert.name for alert in catalogue.in_language(SHIPPED, catalogue.PROMQL)}
    assert everything - rules.keys() == {"HostRebooted"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"watchkeeper_alerts: \[\] is not a mapping"),
        ({"HighCpuUsage": {}}, "watchkeeper_alerts.HighCpuUsage: there is no such alert; did you mean HighCPUUsage?"),
        ({"Xyzzy": {}}, "watchkeeper_alerts.Xyzzy: there is no such alert. Known alerts: Alertmanager.*, Watchdog"),
        ({"HighCPUUsage": 85}, "watchkeeper_alerts.HighCPUUsage: 85 is not a mapping"),
        (
            {"HighCPUUsage": {"treshold": 85}},
            "HighCPUUsage.treshold: there is no such key; did you mean threshold. Allowed keys: description, enabled",
        ),
        ({"HighCPUUsage": {"expr": "1"}}, "HighCPUUsage.expr: there is no such key"),
        ({"HighCPUUsage": {"threshold": "85"}}, "HighCPUUsage.threshold: '85' is not allowed; it must be a number"),
        ({"HighCPUUsage": {"threshold": True}}, "HighCPUUsage.threshold: True is not allowed; it must be a number"),
        ({"HighCPUUsage": {"threshold": float("nan")}}, "HighCPUUsage.threshold: nan is not allowed"),
        ({"HighCPUUsage": {"for": "5 minutes"}}, "HighCPUUsage.for: '5 minutes' is not a duration; write it as"),
        ({"HighCPUUsage": {"for": 5}}, "HighCPUUsage.for: 5 is not a duration"),
        (
            {"HighCPUUsage": {"severity": "page"}},
            "HighCPUUsage.severity: 'page' is not allowed; it must be one of critical, warning, info, none",
        ),
        ({"HighCPUUsage": {"enabled": "no"}}, "HighCPUUsage.enabled: 'no' is not allowed; it must be true or false"),
        ({"HighCPUUsage": {"summary": " "}}, "HighCPUUsage.summary: ' ' is not allowed; it must be a text"),
        ({"HighCPUUsage": {"description": "[[limit]]"}}, r"HighCPUUsage: description: there is no parameter \[\[limit"),
        ({"HighCPUUsage": {"labels": {"severity": "info"}}}, "the label severity belongs to the catalogue"),
        ({"HighCPUUsage": {"labels": {"my-team": "x"}}}, "'my-team' is not a label name"),
        ({"HighCPUUsage": {"labels": {"team": 1}}}, "HighCPUUsage.labels.team: 1 is not allowed; it must be a text"),
        ({"DiskFillsSoon": {"window": "6 hours"}}, "DiskFillsSoon.window: '6 hours' is not a duration"),
        ({"DiskFillsSoon": {"window": 6}}, "DiskFillsSoon.window: 6 is not a duration"),
        ({"HighDiskUsage": {"ignored_fstypes": 'a"b'}}, "HighDiskUsage.ignored_fstypes: 'a\"b' must not contain"),
        ({"HighDiskUsage": {"ignored_fstypes": r"a\.b"}}, "must not contain .*write .*instead"),
        (
            {"HighDiskUsage": {"ignored_fstypes": 7}},
            "HighDiskUsage.ignored_fstypes: 7 is not allowed; it must be a text",
        ),
    ],
)
def test_overrides_that_are_refused(overrides: object, message: str) -> None:
    with pytest.raises(catalogue.AlertError, match=message):
        catalogue.apply_overrides(SHIPPED, overrides)


def test_an_alert_of_the_users_own() -> None:
    own = {key: value for key, value in ENTRY.items() if key not in ("runbook", "tests")}
    alerts = catalogue.add_extras(SHIPPED, [own])
    rule = catalogue.render_rules(alerts, "https://example.org")["custom"]["groups"][0]["rules"][0]
    assert rule["alert"] == "QueueLong"
    assert "runbook_url" not in rule["annotations"]
    changed = catalogue.apply_overrides(alerts, {"QueueLong": {"threshold": 20}})
    assert "> 20" in catalogue.render_rules(changed)["custom"]["groups"][0]["rules"][0]["expr"]


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"name": "QueueLong"}, "watchkeeper_alerts_extra: must be a list of alerts"),
        ([7], r"watchkeeper_alerts_extra\[0\]: an alert must be a mapping"),
        ([{**ENTRY, "name": "Watchdog"}], "Watchdog: defined twice, in monitoring and in custom"),
        ([ENTRY, ENTRY], "QueueLong: defined twice, in custom and in custom"),
        ([ENTRY, {"name": "B"}], r"watchkeeper_alerts_extra\[1\] \(B\): the key 'severity' is missing"),
    ],
)
def test_own_alerts_that_are_refused(extras: object, message: str) -> None:
    with pytest.raises(catalogue.AlertError, match=message):
        catalogue.add_extras(SHIPPED, extras)


# Alerts on logs


LOG_ENTRY: dict[str, Any] = {
    **ENTRY,
    "language": "logql",
    "parameters": {"most": 10, "window": "5m", "job": "queue"},
    "expr": 'sum by (host) (count_over_time({job="[[job]]"}[[[window]]])) > [[most]]',
    "description": "{{ $value }} lines.",
    "runbook": {**ENTRY["runbook"], "meaning": "More than [[most]] lines."},
    "for": "2m",
    "tests": [
        {
            "case": "fires, then not",
            "lines": [
                {"labels": {"job": "queue", "host": "a"}, "line": "late", "from": "2m", "to": "3m", "every": "25s"},
                {"labels": {"host": "a", "job": "queue"}, "line": "begun", "from": "0s", "to": "1s", "every": "1m"},
                {"labels": {"job": "queue", "host": "b"}, "line": "late", "from": "1m", "to": "90s", "every": "10s"},
            ],
            "checks": [
                {"at": "5m", "firing": [{"labels": {"host": "a"}, "summary": "S", "description": "D"}]},
                {"at": "90s", "firing": []},
            ],
        }
    ],
}


def test_each_server_gets_the_rules_of_its_language(load: Callable[..., catalogue.Alert]) -> None:
    metrics, logs = load(), load(**LOG_ENTRY)
    rare = replace(logs, name="QueueRare", interval="5m")
    assert (metrics.language, logs.language, logs.interval) == ("promql", "logql", "1m")
    both = [metrics, replace(logs, name="QueueSays"), rare]
    [group] = catalogue.render_rules(both)["queues"]["groups"]
    assert [rule["alert"] for rule in group["rules"]] == ["QueueLong"]
    often, seldom = catalogue.render_log_rules(both, "https://example.org")["queues"]["groups"]
    assert (often["name"], often["interval"], [rule["alert"] for rule in often["rules"]]) == (
        "queues",
        "1m",
        ["QueueSays"],
    )
    assert (seldom["name"], seldom["interval"], [rule["alert"] for rule in seldom["rules"]]) == (
        "queues_5m",
        "5m",
        ["QueueRare"],
    )
    assert often["rules"][0] == {
        "alert": "QueueSays",
        "expr": 'sum by (host) (count_over_time({job="queue"}[5m])) > 10',
        "for": "2m",
        "labels": {"severity": "warning", "component": "application"},
        "annotations": {
            "summary": "The queue of {{ $labels.instance }} is long.",
            "description": "{{ $value }} lines.",
            "runbook_url": "https://example.org/QueueSays.md",
        },
    }
    assert catalogue.render_rules([logs]) == catalogue.render_log_rules([metrics]) == {}


def test_the_files_of_lokis_ruler() -> None:
    """With the user's own alerts, thresholds and switches, as for Prometheus; and nothing that Prometheus asks."""
    own = {key: value for key, value in LOG_ENTRY.items() if key not in ("runbook", "tests")}
    alerts = catalogue.add_extras(SHIPPED, [own])
    overrides = {"LogErrorRateHigh": {"threshold": 33, "severity": "critical"}, "LogSourceSilent": {"enabled": False}}
    files = {
        item["path"]: yaml.safe_load(item["content"])
        for item in catalogue.log_rule_files(catalogue.apply_overrides(alerts, overrides))
    }
    assert set(files) == {"rules/fake/logs.yml", "rules/fake/custom.yml"}
    rules = {rule["alert"]: rule for file in files.values() for group in file["groups"] for rule in group["rules"]}
    assert set(rules) == {"LogErrorRateHigh", "QueueLong"}
    assert "> 33 and" in rules["LogErrorRateHigh"]["expr"]
    assert rules["LogErrorRateHigh"]["labels"]["severity"] == "critical"
    assert all("count_over_time({" in rule["expr"] for rule in rules.values())
    before = {
        rule["alert"]
        for item in catalogue.log_rule_files(SHIPPED)
        for group in yaml.safe_load(item["content"])["groups"]
        for rule in group["rules"]
    }
    assert before == {"LogErrorRateHigh", "LogSourceSilent"}
    asked = catalogue.render_rules(alerts)
    for_prometheus = {rule["alert"] for file in asked.values() for group in file["groups"] for rule in group["rules"]}
    assert for_prometheus | before | {"QueueLong"} == {alert.name for alert in alerts}
    assert not for_prometheus & (before | {"QueueLong"})


def test_no_rule_of_prometheus_reads_logs() -> None:
    """A selection of log lines is no PromQL, and the counting functions of LogQL are not known there."""
    for alert in SHIPPED:
        written = bool(re.search(r"(count|bytes|rate)_over_time\(\{|rate\(\{", alert.expr))
        assert written == (alert.language == catalogue.LOGQL), alert.name


def test_cases_on_logs_as_data(load: Callable[..., catalogue.Alert]) -> None:
    """Lines in the order of their times, and the moments at which the expression must have held."""
    [case] = catalogue.log_cases([load(), load(**LOG_ENTRY)])
    assert (case.alert, case.name) == ("QueueLong", "fires, then not")
    assert case.expr == 'sum by (host) (count_over_time({job="queue"}[5m])) > 10'
    assert {stream.labels["host"]: stream.entries for stream in case.streams} == {
        "a": ((0, "begun"), (120, "late"), (145, "late"), (170, "late")),
        "b": ((60, "late"), (70, "late"), (80, "late")),
    }
    fires, silent = case.checks
    assert (fires.at, fires.moments) == (300, (180, 240, 300))
    assert [dict(alert.labels) for alert in fires.firing] == [{"host": "a"}]
    # Nothing is asked of the time before the case.
    assert (silent.at, silent.moments, silent.firing) == (90, (0, 30, 90), ())


def test_the_shipped_cases_on_logs() -> None:
    cases = catalogue.log_cases(SHIPPED)
    assert {case.alert for case in cases} == {alert.name for alert in SHIPPED if alert.language == catalogue.LOGQL}
    for case in cases:
        assert "[[" not in case.expr.replace("[[[", "")
        assert any(check.firing for other in cases if other.alert == case.alert for check in other.checks)
        # What is written must be there for a while before it is asked for.
        assert min(time for stream in case.streams for time, _line in stream.entries) < case.checks[0].at
        assert len({tuple(sorted(stream.labels.items())) for stream in case.streams}) == len(case.streams)
        assert sum(len(stream.entries) for stream in case.streams) < 10000


def test_the_runbook_of_an_alert_on_logs(load: Callable[..., catalogue.Alert]) -> None:
    page = catalogue.render_runbook(load(**LOG_ENTRY))
    assert "| Evaluated by | Loki, every 1m |" in page
    assert "```logql\nsum by (host)" in page
    assert "Evaluated by" not in catalogue.render_runbook(load())


LINE = LOG_ENTRY["tests"][0]["lines"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "sql"}, "language: 'sql' is not allowed; it must be one of promql, logql"),
        ({"interval": "often"}, "interval: 'often' is not a duration"),
        ({"interval": "0s"}, "interval: '0s' is not allowed; it must be longer than nothing"),
        ({"tests": ENTRY["tests"]}, r"tests\[0\]: unknown key 'input'"),
        ({"line": None}, r"lines\[0\]: the key 'line' is missing"),
        ({"every": "0s"}, r"lines\[0\].every: '0s' is not allowed; it must be longer than nothing"),
        ({"to": "2m"}, r"lines\[0\].to: '2m' is not allowed; it must be later than from, '2m'"),
        ({"values": "1"}, r"lines\[0\]: unknown key 'values'"),
        ({"labels": {"host": 1}}, r"lines\[0\].labels: 1 is not allowed"),
    ],
)
def test_entries_on_logs_that_are_refused(
    load: Callable[..., catalogue.Alert], changes: dict[str, Any], message: str
) -> None:
    entry = {**LOG_ENTRY, **changes}
    if set(changes) & {"line", "every", "to", "values", "labels"}:
        line = {key: value for key, value in {**LINE, **changes}.items() if value is not None}
        entry = {**LOG_ENTRY, "tests": [{**LOG_ENTRY["tests"][0], "lines": [line]}]}
    with pytest.raises(catalogue.AlertError, match=message):
        load(**entry)


def test_an_interval_is_for_loki_only(load: Callable[..., catalogue.Alert]) -> None:
    """Prometheus evaluates a group at a time, which is not the alert's to say."""
    with pytest.raises(catalogue.AlertError, match="unknown key 'interval'"):
        load(interval="5m")
    with pytest.raises(catalogue.AlertError, match=r"tests\[0\]: unknown key 'lines'"):
        load(tests=LOG_ENTRY["tests"])


STEP = {"text": "Look.", "command": "true"}
CASE = ENTRY["tests"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "queue_long"}, r"queues.yml\[0\]: name: 'queue_long' is not an alert name in CamelCase"),
        ({"severty": "info"}, r"queues.yml\[0\] \(QueueLong\): unknown key 'severty'; did you mean severity\?"),
        ({"expr": None}, "QueueLong.*: the key 'expr' is missing"),
        ({"runbook": None}, "the key 'runbook' is missing"),
        ({"tests": None}, "the key 'tests' is missing"),
        ({"severity": "high"}, "severity: 'high' is not allowed; it must be one of critical, warning"),
        ({"component": "network"}, "component: 'network' is not allowed; it must be one of system, service"),
        ({"for": "5"}, "for: '5' is not a duration"),
        ({"keep_firing_for": 1}, "keep_firing_for: 1 is not a duration"),
        ({"pair": "Queue Length"}, "pair: 'Queue Length' is not a name in snake_case"),
        ({"expr": "up > [[limit]]"}, r"expr: there is no parameter \[\[limit\]\]"),
        ({"parameters": {**ENTRY["parameters"], "spare": 1}}, "parameters.spare: the expression does not use it"),
        ({"parameters": {"for": 1}}, "'for' is the name of a setting"),
        ({"parameters": {"Threshold": 1}}, "'Threshold' is not a name in snake_case"),
        ({"runbook": {**ENTRY["runbook"], "impact": ""}}, "runbook.impact: '' is not allowed"),
        (
            {"runbook": {**ENTRY["runbook"], "diagnosis": []}},
            r"runbook.diagnosis: \[\] is not a list with at least one",
        ),
        (
            {"runbook": {**ENTRY["runbook"], "diagnosis": [{"text": "Check logs."}]}},
            "at least one step needs a command",
        ),
        (
            {"runbook": {**ENTRY["runbook"], "mitigation": [{**STEP, "url": "x"}]}},
            r"mitigation\[0\]: unknown key 'url'",
        ),
        ({"runbook": {**ENTRY["runbook"], "meaning": "[[x]]"}}, r"runbook: there is no parameter \[\[x\]\]"),
        ({"runbook": {"meaning": "M", "impact": "I", "diagnosis": [STEP]}}, "runbook: the key 'mitigation' is missing"),
        ({"tests": [{**CASE, "at": "5m"}]}, r"tests\[0\]: unknown key 'at'"),
        ({"tests": [{**CASE, "input": [{"series": "up", "value": "1"}]}]}, r"input\[0\]: unknown key 'value'"),
        ({"tests": [{**CASE, "checks": [{"at": "5m"}]}]}, r"checks\[0\]: the key 'firing' is missing"),
        (
            {"tests": [{**CASE, "checks": [{"at": "5m", "firing": [{"labels": {}}]}]}]},
            r"firing\[0\]: the key 'summary' is",
        ),
        ({"tests": []}, r"tests: \[\] is not a list with at least one item"),
        ({"tests": [{**CASE, "checks": CASE["checks"][:1]}]}, "stays silent"),
        (
            {"tests": [{**CASE, "checks": CASE["checks"][1:]}]},
            "no check in which the alert fires",
        ),
        ({"tests": [{**CASE, "interval": "often"}]}, "interval: 'often' is not a duration"),
        ({"pair": "queue"}, r"pair queue \(QueueLong\): must be one warning and one critical alert"),
    ],
)
def test_entries_that_are_refused(load: Callable[..., catalogue.Alert], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(catalogue.AlertError, match=message):
        load(**changes)


def test_a_pair_must_share_its_expression(tmp_path: Path) -> None:
    halves = [
        {**ENTRY, "pair": "queue"},
        {**ENTRY, "pair": "queue", "name": "QueueEndless", "severity": "critical", "expr": f"sum({ENTRY['expr']})"},
    ]
    (tmp_path / "queues.yml").write_text(yaml.safe_dump(halves), encoding="utf-8")
    with pytest.raises(catalogue.AlertError, match="the expressions may differ in their parameters' values only"):
        catalogue.load_catalogue(tmp_path)


def test_a_name_in_two_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump([ENTRY]), encoding="utf-8")
    with pytest.raises(catalogue.AlertError, match="QueueLong: defined twice, in one and in two"):
        catalogue.load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- {", "queues.yml: not valid YAML"), ("name: x", "queues.yml: must be a list"), ("[]", "no alerts found")],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "queues.yml").write_text(text, encoding="utf-8")
    with pytest.raises(catalogue.AlertError, match=message):
        catalogue.load_catalogue(tmp_path)


def test_values_from_ansible_come_out_as_plain_data() -> None:
    def tag(value: Any) -> Any:
        if isinstance(value, dict):
            return {tag(key): tag(item) for key, item in value.items()}
        if isinstance(value, list):
            return [tag(item) for item in value]
        return trust_as_template(value) if isinstance(value, str) else value

    alerts = catalogue.add_extras(SHIPPED, tag([{**ENTRY, "pair": "queue", "labels": {"team": "web"}}]))
    override = {"severity": "info", "for": "1m", "summary": "S {{ $value }}", "window": "2m", "labels": {"room": "1"}}
    alerts = catalogue.apply_overrides(alerts, tag({"QueueLong": override}))
    rules = catalogue.render_rules(alerts, tag("https://example.org"))
    again = yaml.safe_load(yaml.safe_dump(rules))
    assert again["custom"]["groups"][0]["rules"][0]["annotations"]["summary"] == "S {{ $value }}"
    assert again == rules


def test_runbook_page(load: Callable[..., catalogue.Alert]) -> None:
    page = catalogue.render_runbook(load())
    assert page.startswith("<!-- Generated from files/alerts/queues.yml")
    assert "# QueueLong" in page
    assert "Pair" not in page
    assert "| Pair | queue (" in catalogue.render_runbook(replace(load(), pair="queue"))
    assert "More than 10 jobs wait." in page
    assert "1. Look.\n\n   ```bash\n   queue list\n   queue top\n   ```\n\n2. Think.\n" in page
    assert "watchkeeper_alerts:\n  QueueLong:\n    ignored: test|dev\n    threshold: 10\n" in page
    assert "[[" not in page.replace("[[[", "")


def test_the_published_runbooks_are_those_of_the_catalogue() -> None:
    script = ROOT / "docs" / "generate_runbooks.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_runbooks_are_valid_shell() -> None:
    for alert in SHIPPED:
        assert alert.runbook is not None
        for step in (*alert.runbook.diagnosis, *alert.runbook.mitigation):
            done = subprocess.run(
                ["bash", "-n"], input=alert.fill(step.command), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{alert.name}: {step.text}: {done.stderr}"
