"""Objectives: how the variable is read, what is recorded for it, and what is refused."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import alerts, slo
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.scrape import alert_rules
from ansible.module_utils.watchkeeper.settings import documented, read_settings
from ansible.module_utils.watchkeeper.validation import check_slos
from ansible.template import trust_as_template

from tests.rules.run import find_promtool
from tests.unit.runs import ROOT, inventory, run_site

PROJECT = Project.load(ROOT)
OPTION = documented(ROOT, "watchkeeper")[slo.VARIABLE]
DEFAULTS = read_settings(ROOT, {})
SHIPPED = alerts.load_catalogue(ROOT / "files" / "alerts")
SERIES = re.compile(r"slo:\w+:\w+")
# The promtool of the test mirror, as tests/rules/run.py finds it.
needs_promtool = pytest.mark.skipif(
    not list((ROOT / ".cache" / "mirror").glob("prometheus/*/prometheus-*.tar.gz")),
    reason="promtool: no Prometheus in the test mirror (make mirror)",
)


def read(*entries: dict[str, Any]) -> dict[str, slo.Slo]:
    """Return the objectives by name, for these entries of the user's."""
    return {item.name: item for item in slo.read_slos({**DEFAULTS, "watchkeeper_slos": list(entries)}, OPTION)}


def rules_of(**settings: Any) -> dict[str, Any]:
    """Return the rule file of the objectives, its groups by name."""
    groups = alert_rules(PROJECT, {**DEFAULTS, **settings}).get(slo.GROUP, {"groups": []})["groups"]
    return {group["name"]: group["rules"] for group in groups}


def promtool(folder: Path, command: str, *arguments: str, **files: object) -> str:
    """Run a command of promtool in a folder with these YAML files; return what it says when it fails."""
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(
        [find_promtool(), command, "rules", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_two_objectives_by_default() -> None:
    """What the overview of the specification promises, and that answers come in time."""
    availability, latency = read().values()
    assert (availability.name, availability.job, availability.objective) == ("availability", "backend", 99.9)
    assert (latency.name, latency.job, latency.objective) == ("latency", "backend", 99)
    assert (availability.latency_threshold_ms, latency.latency_threshold_ms) == (0, 500)
    assert {item.window for item in (availability, latency)} == {"30d"}


def test_entries_are_merged_by_name() -> None:
    """One key is enough to change one, a name of one's own adds one, and `state: absent` takes one out."""
    found = read(
        {"name": "latency", "latency_threshold_ms": "250"},
        {"name": "availability", "state": "absent"},
        {"name": "checkout", "service": "shop", "window": "7d"},
    )
    assert set(found) == {"latency", "checkout"}
    assert (found["latency"].objective, found["latency"].latency_threshold_ms) == (99, 250)
    # What is left out has the documented default.
    assert found["checkout"] == slo.Slo("checkout", "backend", "shop", 99.9, 0, "7d", "/health.*|/metrics")


def test_every_series_that_an_alert_reads_is_recorded() -> None:
    """And each window of the workbook, and the objective's own."""
    rules = rules_of()
    recorded = {rule["record"] for rule in rules[slo.RECORDING_GROUP]}
    read_by_alerts = {name for rule in rules[slo.GROUP] for name in SERIES.findall(rule["expr"])}
    assert read_by_alerts <= recorded
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
    assert {f"slo:errors:ratio_rate{window}" for window in windows} <= read_by_alerts | recorded
    assert {"slo:objective:ratio", "slo:error_budget_remaining:ratio"} <= recorded


def test_windows_follow_the_alerts() -> None:
    """A window set by `watchkeeper_alerts` is recorded without another word; so is another window of an objective."""
    rules = rules_of(
        watchkeeper_alerts={
            "CriticalErrorBudgetBurn": {"long_window": "90m", "factor": 10},
            "HighErrorBudgetBurn": {"enabled": False},
        },
        watchkeeper_slos=[{"name": "latency", "window": "1w"}],
    )
    recorded = {rule["record"] for rule in rules[slo.RECORDING_GROUP]}
    [expr] = [rule["expr"] for rule in rules[slo.GROUP] if rule["alert"] == "CriticalErrorBudgetBurn"]
    assert set(SERIES.findall(expr)) <= recorded
    assert "slo:errors:ratio_rate90m" in expr
    assert "> 10" in expr
    # What shows the usual windows goes on showing them.
    assert {"slo:errors:ratio_rate1h", "slo:errors:ratio_rate3d", "slo:errors:ratio_rate1w"} <= recorded
    budgets = [rule for rule in rules[slo.RECORDING_GROUP] if rule["record"] == "slo:error_budget_remaining:ratio"]
    assert [re.findall(r"ratio_rate(\w+)", rule["expr"]) for rule in budgets] == [["30d"], ["1w"]]


def test_without_objectives_nothing_is_recorded() -> None:
    """The alerts stay and have nothing to say."""
    absent = [{"name": name, "state": "absent"} for name in read()]
    assert set(rules_of(watchkeeper_slos=absent)) == {slo.GROUP}


def test_long_windows_do_not_read_the_counters() -> None:
    """A month of every route's samples each minute would be too much."""
    for rule in rules_of()[slo.RECORDING_GROUP]:
        if "http_" in rule["expr"]:
            assert set(re.findall(r"\[(\w+)\]", rule["expr"])) <= {"5m", "30m", "1h"}


def test_values_from_ansible_come_out_as_plain_data() -> None:
    """Rule files are written as YAML."""
    names = {"name": trust_as_template("shop"), "job": trust_as_template("web"), "service": trust_as_template("shop")}
    rules = rules_of(watchkeeper_slos=[{**names, "window": trust_as_template("7d"), "objective": 99}])
    assert yaml.safe_load(yaml.safe_dump(rules)) == rules


def test_the_thresholds_are_buckets_of_the_app_that_ships() -> None:
    """Else an objective knows nothing and a quantile guesses."""
    tree = ast.parse((ROOT / "files/health_app/watchkeeper_app/metrics.py").read_text(encoding="utf-8"))
    buckets = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and "BUCKETS" in node.targets[0].id
    }
    thresholds = {alert.name: alert.parameters.get("threshold_ms") for alert in SHIPPED}
    requests = {thresholds["HighResponseTime"], thresholds["CriticalResponseTime"]}
    assert requests | {read()["latency"].latency_threshold_ms} <= set(buckets["REQUEST_BUCKETS"])
    assert thresholds["SlowDatabaseQueries"] in buckets["QUERY_BUCKETS"]


@needs_promtool
def test_one_service_one_bucket_and_every_route(tmp_path: Path) -> None:
    """What the keys of an entry do, as Prometheus computes it."""
    rules = slo.recording_rules(
        read(
            {"name": "availability", "service": "shop", "ignored_routes": ""},
            {"name": "latency", "job": "api", "latency_threshold_ms": 2.5, "ignored_routes": "/internal/.+"},
        ).values(),
        [],
    )
    shop = 'job="backend", service="shop", instance="web1"'
    api = 'job="api", instance="web1"'
    series = {
        f'http_requests_total{{status_code="200", route="/", {shop}}}': "0+50x20",
        f'http_requests_total{{status_code="503", route="/health", {shop}}}': "0+50x20",
        f'http_requests_total{{status_code="503", {shop.replace("shop", "mail")}}}': "0+50x20",
        f'http_request_duration_ms_bucket{{le="2.5", route="/", {api}}}': "0+75x20",
        f'http_request_duration_ms_bucket{{le="5", route="/", {api}}}': "0+100x20",
        f'http_request_duration_ms_count{{route="/", {api}}}': "0+100x20",
        f'http_request_duration_ms_bucket{{le="2.5", route="/internal/x", {api}}}': "0x20",
        f'http_request_duration_ms_count{{route="/internal/x", {api}}}': "0+100x20",
    }
    samples = [
        {"labels": '{slo="availability", job="backend", service="shop"}', "value": 0.5},
        {"labels": '{slo="latency", job="api"}', "value": 0.25},
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": "round(slo:errors:ratio_rate5m, 0.01)", "eval_time": "15m", "exp_samples": samples}
        ],
    }
    tests = {"rule_files": ["recording.yml"], "evaluation_interval": "1m", "tests": [test]}
    recording = {"groups": [rules]}
    assert promtool(tmp_path, "check", "--lint=all", "--lint-fatal", "recording.yml", recording=recording) == ""
    assert promtool(tmp_path, "test", "tests.yml", tests=tests) == ""
    samples[1]["value"] = 0.3
    assert "FAILED" in promtool(tmp_path, "test", "tests.yml", tests=tests)


WRONG: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"name": "a", "objective": 100}], ["watchkeeper_slos[0].objective is 100, but must be a percentage above 0"]),
    ([{"name": "a", "objective": 0}], ["watchkeeper_slos[0].objective is 0, but must be a percentage above 0"]),
    ([{"name": "a", "objective": float("nan")}], ["watchkeeper_slos[0].objective is nan"]),
    ([{"name": "a"}, {"name": "a"}], ["watchkeeper_slos names 'a' twice; one entry for each objective; set it in"]),
    ([{"name": "My SLO"}], ["watchkeeper_slos[0].name is 'My SLO', but must be a name of lower-case letters"]),
    (
        [{"name": "b"}, {"name": "a", "window": "1 month"}],
        ["watchkeeper_slos[1].window is '1 month', but must be a Prometheus duration above zero"],
    ),
    ([{"name": "a", "window": "0s"}], ["watchkeeper_slos[0].window is '0s'"]),
    ([{"name": "a", "latency_threshold_ms": -1}], ["latency_threshold_ms is -1, but must be a bucket of"]),
    ([{"name": "a", "latency_threshold_ms": float("inf")}], ["latency_threshold_ms is inf"]),
    ([{"name": "a", "job": ""}], ["watchkeeper_slos[0].job is '', but must be the name of a scrape job"]),
    ([{"name": "a", "job": 'x"y'}], ["watchkeeper_slos[0].job is 'x\"y', but must be a text without"]),
    ([{"name": "a", "service": "x\\y"}], ["watchkeeper_slos[0].service is"]),
    ([{"name": "a", "ignored_routes": "/health("}], ["ignored_routes is '/health(', but must be a regular expression"]),
    ([{"name": "a", "ignored_routes": r"/a\.b"}], ["ignored_routes is", "write [.] instead of"]),
    (
        [{"name": "availabilty", "state": "absent"}],
        ["watchkeeper_slos[0]: there is no 'availabilty' to take out; did you mean 'availability'?"],
    ),
    (
        [{"name": "a", "objective": 101, "window": "x"}, {"name": "B"}],
        ["[0].objective", "[0].window", "[1].name"],
    ),
]


@pytest.mark.parametrize(("entries", "said"), WRONG)
def test_wrong_objectives(entries: list[dict[str, Any]], said: list[str]) -> None:
    """Variable, entry, key, value and what is allowed; the rules are not made either."""
    settings = {**DEFAULTS, "watchkeeper_slos": entries}
    found = check_slos(settings)
    assert found
    for words in said:
        assert words in "\n".join(found)
    with pytest.raises(alerts.AlertError) as error:
        alert_rules(PROJECT, settings)
    assert str(error.value) == found[0]


def test_good_objectives() -> None:
    """The defaults, and everything at its limits."""
    assert check_slos(DEFAULTS) == []
    entries = [
        {"name": "a-b_2", "objective": 99.999, "window": "1h", "service": "shop", "ignored_routes": ""},
        {"name": "c", "objective": "0.1", "latency_threshold_ms": 0.25, "ignored_routes": "/a[.]b|/c.*"},
        {"name": "latency", "state": "absent"},
    ]
    assert check_slos({**DEFAULTS, "watchkeeper_slos": entries}) == []


def test_objectives_of_a_job_that_nobody_scrapes() -> None:
    """Jobs are the project's and those the user adds."""
    entries = [{"name": "a", "job": "bakend"}, {"name": "b", "job": "own"}, {"name": "c", "job": "node"}]
    settings = {**DEFAULTS, "watchkeeper_slos": entries, "prometheus_scrape_configs": [{"job_name": "own"}]}
    [found] = check_slos(settings, ["backend", "node"])
    assert found.startswith(
        "watchkeeper_slos[0].job is 'bakend', which is no scrape job; did you mean 'backend'?; set it in"
    )


def test_a_real_run(tmp_path: Path) -> None:
    """Types and keys are refused by the documentation, the rest by its meaning; what is right reaches Prometheus."""
    hosts: dict[str, dict[str, Any]] = {
        "type": {"watchkeeper_slos": [{"name": "a", "objective": "high"}]},
        "key": {"watchkeeper_slos": [{"name": "a", "objctive": 99}]},
        "nameless": {"watchkeeper_slos": [{"objective": 99}]},
        "range": {"watchkeeper_slos": [{"name": "a", "objective": 100}]},
    }
    run = run_site(tmp_path / "wrong", inventory(hosts))
    assert run.stopped_before_any_change()
    assert "'high'" in run.errors["type"]
    assert "objctive" in run.errors["key"]
    assert "name" in run.errors["nameless"]
    assert "watchkeeper_slos[0].objective is 100" in run.errors["range"]

    run = run_site(
        tmp_path / "right",
        inventory({"server": {}}, part="shop", watchkeeper_slos=[{"name": "{{ part }}", "objective": "{{ 99.5 }}"}]),
        "--tags=prometheus",
    )
    assert run.code == 0, run.output
    groups = {
        group["name"]: group["rules"] for group in run.component("prometheus", "server").data("rules/slo.yml")["groups"]
    }
    objectives = {
        rule["labels"]["slo"]: rule["expr"] for rule in groups[slo.RECORDING_GROUP] if "objective" in rule["record"]
    }
    assert objectives == {"availability": "vector(0.999)", "latency": "vector(0.99)", "shop": "vector(0.995)"}
    assert {rule["alert"] for rule in groups[slo.GROUP]} >= {"HighErrorBudgetBurn", "CriticalErrorBudgetBurn"}
