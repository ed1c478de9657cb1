"""What the dashboards are built with: the grid, limits taken from alerts, and the program that writes the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from files.dashboards.builders import __main__ as program
from files.dashboards.builders.library import Board, Column, limit, log_query, query, step
from tests.unit import test_dashboard_expressions as expressions


def board() -> Board:
    return Board("test", "Test", description="For a test.")


def panel(built: Board, title: str) -> dict[str, Any]:
    [found] = [item for item in built.data()["panels"] if item["title"] == title]
    return dict(found)


def test_a_limit_is_the_alerts_own() -> None:
    assert limit("HighCPUUsage").value == 80
    assert limit("HighCPUUsage", scale=0.01).value == pytest.approx(0.8)
    assert limit("AlertmanagerNotificationsFailing", "window").value == 600


@pytest.mark.parametrize(
    ("alert", "parameter", "said"),
    [
        ("HighCpuUsage", "threshold", "HighCpuUsage: there is no such alert"),
        ("HighCPUUsage", "limit", r"HighCPUUsage: 'limit' is not among its parameters \['threshold'\]"),
    ],
)
def test_a_limit_that_no_alert_knows_is_refused(alert: str, parameter: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        limit(alert, parameter)


def test_colours_begin_where_high_is_bad_and_end_where_low_is_bad() -> None:
    built = board()
    limits = [limit("CertificateExpiresSoon", "days"), limit("CertificateExpiresCritical", "days")]
    built.stat("Low", [query("vector(1)")], unit="d", limits=limits, below=True)
    built.stat("High", [query("vector(1)")], unit="percent", limits=[limit("CriticalCPUUsage"), limit("HighCPUUsage")])
    steps = {
        title: [
            (item["value"], item["color"])
            for item in panel(built, title)["fieldConfig"]["defaults"]["thresholds"]["steps"]
        ]
        for title in ("Low", "High")
    }
    assert steps["Low"] == [(None, "red"), (7, "orange"), (21, "green")]
    assert steps["High"] == [(None, "green"), (80, "orange"), (95, "red")]


def test_the_notes_say_which_step_is_whose() -> None:
    built = board()
    built.stat("One", [query("vector(1)")], unit="none", limits=[step(1), limit("HighCPUUsage")])
    built.table(
        "Two",
        [query("up")],
        [Column("job", "Job"), Column("Value", "Up", limits=[limit("CriticalErrorBudgetBurn", "factor", scale=2)])],
    )
    assert built.data()["watchkeeper"]["thresholds"] == [
        {"panel": 1, "step": 2, "alert": "HighCPUUsage", "parameter": "threshold", "scale": 1},
        {"panel": 2, "override": 1, "step": 1, "alert": "CriticalErrorBudgetBurn", "parameter": "factor", "scale": 2},
    ]
    assert [link["title"] for link in panel(built, "Two")["links"]] == ["Runbook: CriticalErrorBudgetBurn"]


def test_what_has_no_value_is_neutral() -> None:
    """A table's own text is for one without rows; no empty number or cell takes the colour of what is bad."""
    built = board()
    built.stat("One", [query("up")], unit="none", limits=[step(1)], below=True, no_value="not measured")
    built.stat("Two", [query("up")], unit="none", mappings={"0": ("no", "red")})
    columns = [Column("job", "Job"), Column("Value", "Up", coloured=True, mappings={"0": ("no", "red")})]
    built.table("Three", [query("up")], columns, no_value="nothing is measured")
    one, two, three = (panel(built, title)["fieldConfig"] for title in ("One", "Two", "Three"))

    def neutral(mapping: dict[str, Any]) -> tuple[str, str, str]:
        result = mapping["options"]["result"]
        assert mapping["type"] == "special"
        return mapping["options"]["match"], result["text"], result["color"]

    assert [neutral(item) for item in one["defaults"]["mappings"]] == [("null+nan", "not measured", "blue")]
    assert [item["type"] for item in two["defaults"]["mappings"]] == ["value"]
    assert three["defaults"]["noValue"] == "nothing is measured"
    assert not three["defaults"].get("mappings")
    job, value = ({item["id"]: item["value"] for item in column["properties"]} for column in three["overrides"])
    assert job == {"noValue": "\N{EN DASH}"}
    assert value["noValue"] == "\N{EN DASH}"
    assert [item["type"] for item in value["mappings"]] == ["value", "special"]
    assert neutral(value["mappings"][1]) == ("null+nan", "\N{EN DASH}", "blue")


def test_a_panel_asks_one_of_prometheus_and_loki() -> None:
    built = Board("test", "Test", description="For a test.", logs=True)
    built.log_variable("job", every=".+")
    built.logs("Lines", log_query('{job=~"$job"}', lines=100))
    built.timeseries("Rate", [log_query('sum(count_over_time({job=~"$job"} [$__auto]))', "all")], unit="short")
    built.bargauge("Most", [log_query('topk(3, count_over_time({job=~"$job"}[1h]))', instant=True)], unit="short")
    data = built.data()
    assert [item["name"] for item in data["templating"]["list"]] == ["datasource", "runbooks", "loki", "job"]
    for title, kind, lines in (("Lines", "range", 100), ("Rate", "range", None), ("Most", "instant", None)):
        [target] = panel(built, title)["targets"]
        assert panel(built, title)["datasource"] == target["datasource"] == {"type": "loki", "uid": "${loki}"}
        assert (target["queryType"], target.get("maxLines")) == (kind, lines)
    with pytest.raises(ValueError, match="too many values"):
        built.timeseries("Both", [query("up", "a"), log_query("{}", "b")], unit="short")


def test_panels_fill_the_grid_from_left_to_right() -> None:
    built = board()
    for title, width, height in (("a", 12, 8), ("b", 8, 4), ("c", 8, 4), ("d", 24, 2)):
        built.stat(title, [query("vector(1)")], unit="none", width=width, height=height)
    built.row("e")
    built.stat("f", [query("vector(1)")], unit="none")
    places = [(item["title"], item["gridPos"]["x"], item["gridPos"]["y"]) for item in built.data()["panels"]]
    assert places == [("a", 0, 0), ("b", 12, 0), ("c", 0, 8), ("d", 0, 12), ("e", 0, 14), ("f", 0, 15)]


def test_the_program_writes_removes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    assert program.main([]) == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == program.pages()
    assert program.main(["--check"]) == 0
    (tmp_path / "overview.json").write_text("{}", encoding="utf-8")
    (tmp_path / "left.json").write_text("{}", encoding="utf-8")
    (tmp_path / "slo.json").unlink()
    capsys.readouterr()
    assert program.main(["--check"]) == 1
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"files/dashboards/{name}.json" for name in ("left", "overview", "slo")
    ]
    assert program.main([]) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == written


TWINS = """
  ALERTS{alertname="HighCPUUsage", alertstate="firing", severity="warning", pair="cpu_usage", instance="a"}    1x10
  ALERTS{alertname="CriticalCPUUsage", alertstate="firing", severity="critical", pair="cpu_usage", instance="a"}  1x10
  ALERTS{alertname="HighCPUUsage", alertstate="firing", severity="warning", pair="cpu_usage", instance="b"}    1x10
  ALERTS{alertname="NginxRestarting", alertstate="firing", severity="warning", instance="a"}  1x10
  ALERTS{alertname="RedisEvictions", alertstate="pending", severity="warning", instance="a"}  1x10
"""
TARGETS = """
  watchkeeper_targets_expected{job="node"}     3x10
  watchkeeper_targets_expected{job="gone"}     1x10
  up{job="node", instance="a", host="a"}       1x10
  up{job="node", instance="b", host="b"}       0x10
  up{job="own", instance="x"}                  0x10
  up{job="own", instance="y"}                  1x10
"""


SHOP = """
  http_requests_total{service="shop", route="/", status_code="200"}  0+9x10
  http_requests_total{service="shop", route="/", status_code="503"}  0+1x10
  http_requests_total{service="shop", route="/health", status_code="503"}  0+50x10
  http_requests_total{service="idle", route="/", status_code="200"}  0x10
"""
BURNING = """
  slo:objective:ratio{slo="a", job="backend"}  0.99x10
  slo:errors:ratio_rate1h{slo="a", service="shop"}  0.05x10
  slo:requests:rate1h{slo="a", service="shop"}  10x10
  slo:requests:rate1h{slo="a", service="idle"}  0x10
"""
CACHE = """
  cache_requests_total{service="shop", result="miss"}  0+60x10
  cache_requests_total{service="idle", result="hit"}  0x10
"""
SLOW = """
  ALERTS{alertname="HighResponseTime", alertstate="firing", severity="warning", instance="a", service="shop", route="/x", job="backend"}  1x10
  ALERTS{alertname="HighResponseTime", alertstate="firing", severity="warning", instance="a", service="shop", route="/y", job="backend"}  1x10
  ALERTS{alertname="HighCPUUsage", alertstate="firing", severity="critical", instance="a", job="node"}  1x10
  ALERTS_FOR_STATE{alertname="HighCPUUsage", severity="critical", instance="a", job="node"}  7x10
  ALERTS{alertname="Watchdog", alertstate="firing", severity="none"}  1x10
"""  # noqa: E501
SLOW_SHOWN = {
    '{alertname="HighResponseTime", instance="a", what="shop /x backend "}': 2,
    '{alertname="HighResponseTime", instance="a", what="shop /y backend "}': 2,
    '{alertname="HighCPUUsage", instance="a", what="node   "}': 3,
    '{alertname="Watchdog", what="   "}': 0,
}
TWICE = """
  prometheus_rule_group_last_duration_seconds{rule_group="/etc/a.yml;hosts"}  2x10
  prometheus_rule_group_last_duration_seconds{rule_group="/etc/b.yml;hosts"}  3x10
"""
# Two Alertmanagers tell each other of the same alerts.
PAIR = """
  alertmanager_alerts{state="active", instance="a"}  4x10
  alertmanager_alerts{state="active", instance="b"}  4x10
"""
# It was scraped for the last time eight minutes ago, or is asked for nothing.
ENDED = 'http_requests_total{service="shop", route="/", status_code="503"}  0+60x2 _x8'
IDLE = """
  http_request_duration_ms_bucket{service="shop", route="/", le="5"}  7x10
  http_request_duration_ms_bucket{service="shop", route="/", le="+Inf"}  7x10
"""
# Eleven servers, of which ten were busier at some time; the quietest is the busiest now, by a little.
CROWD = "\n".join(
    [f'redis_connected_clients{{instance="{number}"}}  90x5 1x4' for number in range(10)]
    + ['redis_connected_clients{instance="quiet"}  2x10']
    + [f'redis_max_clients{{instance="{name}"}}  100x10' for name in (*range(10), "quiet")]
)
# One has just begun, one cannot delete, one deletes nothing, and one has never succeeded at all.
COMPACTORS = """
  process_start_time_seconds{host="new", instance="new", job="loki"}  540x10
  loki_boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds{host="new", instance="new", job="loki"}  0x10
  loki_compactor_apply_retention_last_successful_run_timestamp_seconds{host="new", instance="new", job="loki"}  0x10
  process_start_time_seconds{host="old", instance="old", job="loki"}  0x10
  loki_boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds{host="old", instance="old", job="loki"}  570x10
  loki_compactor_apply_retention_last_successful_run_timestamp_seconds{host="old", instance="old", job="loki"}  60x10
"""  # noqa: E501
COMPACTED = {
    '{host="new", work="compaction"}': 60,
    '{host="old", work="compaction"}': 30,
    '{host="old", work="retention"}': 540,
}
# Loki's own label of the address is renamed; one agent is one or the other.
AGENTS = """
  promtail_sent_entries_total{host="a", job="promtail", exported_host="loki:3100"}  0+60x10
  loki_write_sent_entries_total{host="b", job="alloy", exported_host="loki:3100", component_id="x"}  0+120x10
"""
SENT = {'{host="a", job="promtail"}': 1, '{host="b", job="alloy"}': 2}
PUSHED = """
  loki_request_duration_seconds_count{route="loki_api_v1_push", status_code="204"}  0+60x10
  loki_request_duration_seconds_count{route="loki_api_v1_query", status_code="200"}  0+45x10
  loki_request_duration_seconds_count{route="loki_api_v1_query", status_code="500"}  0+15x10
"""
# With neither alerts nor expectations.
QUIET = 'up{job="node", instance="a", host="a"}  1x10'


@expressions.pytestmark
@pytest.mark.parametrize(
    ("place", "planted", "expected"),
    [
        ("overview/Warnings/A", TWINS, {"{}": 2}),
        ("overview/Warnings/A", QUIET, {"{}": 0}),
        ("overview/Critical alerts/A", TWINS, {"{}": 1}),
        ("overview/Hosts down/A", TARGETS, {"{}": 1}),
        ("overview/Hosts down/A", QUIET, {"{}": 0}),
        # One does not answer, one is not asked, a whole job is gone, and one that the user asks for does not answer.
        ("overview/Targets missing or down/A", TARGETS, {"{}": 4}),
        ("overview/Targets missing or down/A", QUIET, {"{}": 0}),
        ("overview/Error rate/A", SHOP, {'{service="shop"}': 10, '{service="idle"}': 0}),
        ("slo/Burn rate over 1h/A", BURNING, {'{slo="a", service="shop"}': 5, '{slo="a", service="idle"}': 0}),
        ("overview/Firing alerts/A", SLOW, SLOW_SHOWN),
        ("overview/Firing alerts/B", SLOW, {'{alertname="HighCPUUsage", instance="a", what="node   "}': 7000}),
        ("monitoring/Time to evaluate the rules/A", TWICE, {'{group="hosts"}': 3}),
        ("monitoring/Active alerts/A", PAIR, {"{}": 4}),
        ("application/Requests/A", ENDED, {"{}": 0}),
        ("application/Requests that failed/A", ENDED, {"{}": 0}),
        ("application/Response time (p95)/A", IDLE, {}),
        ("redis/Connections used/A", CROWD, {f'{{instance="{number}"}}': 1 for number in range(10)}),
        ("logs/Time since the last success of the compactor/A", COMPACTORS, COMPACTED),
        ("logs/Lines sent/A", AGENTS, SENT),
        (
            "logs/Requests that Loki fails/A",
            PUSHED,
            {'{route="loki_api_v1_push"}': 0, '{route="loki_api_v1_query"}': 25},
        ),
        ("logs/Refused lines by reason/A", QUIET, {'{reason="none"}': 0}),
        ("application/Cache Hit Rate/A", CACHE, {'{service="shop"}': 0, '{service="idle"}': 0}),
    ],
)
def test_what_expressions_answer(tmp_path: Path, place: str, planted: str, expected: dict[str, float]) -> None:
    assert expressions.answers(tmp_path, place, planted, expected) == ""
