"""Our dashboards in the checkout: as built, in order, true to the alerts, asking what Prometheus understands."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import dashboards
from ansible.module_utils.watchkeeper.alerts import load_catalogue
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.dashboard_form import panels, problems
from ansible.module_utils.watchkeeper.release import unpack

from files.dashboards.builders.library import bottom, top
from tests.rules.run import find_promtool
from tests.unit.live import Program, answers, archive, free_port, lacking, wait_until
from tests.unit.runs import ROOT

FOLDER = ROOT / "files" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
ALERTS = {alert.name: alert for alert in load_catalogue(ROOT / "files" / "alerts")}
PROJECT = Project.load(ROOT)
# What the issue and the specification ask for.
NAMES = {
    "application",
    "business",
    "capacity",
    "cost",
    "database",
    "docker",
    "endpoints",
    "logs",
    "monitoring",
    "nginx",
    "overview",
    "redis",
    "slo",
    "system",
}
COLUMNS = 24
# Height of a row of the grid and the gap below it, and what a browser leaves of 1080 pixels at full screen.
UNIT_PIXELS, VISIBLE_PIXELS = 38, 1080 - 130
KINDS = {"timeseries", "stat", "table", "bargauge", "state-timeline", "logs", "row"}
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
LOKI = {"type": "loki", "uid": "${loki}"}
every_dashboard = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def load_panels() -> ModuleType:
    """Load the script that asks every question; it runs on a host, so it is no part of a package."""
    path = ROOT / "molecule" / "services" / "files" / "panels.py"
    spec = importlib.util.spec_from_file_location("watchkeeper_panels", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ASKING = load_panels()


@cache
def data_of(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def shown(path: Path) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [dict(panel) for panel in panels(data_of(path)) if panel["type"] != "row"]


def targets(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield panel and query."""
    for panel in shown(path):
        for target in panel["targets"]:
            yield panel["title"], target


def texts(node: Any) -> Iterator[str]:
    """Yield every text of a piece of JSON."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, (list, dict)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from texts(item)


# The files


def test_the_files_are_what_the_builders_make() -> None:
    command = [sys.executable, "-m", "files.dashboards.builders", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_that_are_asked_for_are_there() -> None:
    assert {path.stem for path in FILES} >= NAMES


def test_grafana_would_take_them_all() -> None:
    assert dashboards.check([], {"prometheus"}) == []
    for path in FILES:
        assert problems(data_of(path), {"prometheus"}, path.name) == []


@every_dashboard
def test_every_dashboard_has_what_belongs_to_one(path: Path) -> None:
    data = data_of(path)
    assert data["uid"] == f"watchkeeper-{path.stem}"
    assert "watchkeeper" in data["tags"]
    assert data["description"]
    assert data["timezone"] == "browser"
    assert data["graphTooltip"] == 1
    assert data["refresh"]
    assert data["schemaVersion"] >= 41
    assert any(link["type"] == "dashboards" and "watchkeeper" in link["tags"] for link in data["links"])
    source = data["templating"]["list"][0]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert source["current"]["value"] == "prometheus"
    assert {item["name"] for item in data["templating"]["list"] if item["type"] == "constant"} == {"runbooks"}
    others = [item for item in data["templating"]["list"][1:] if item["type"] == "datasource"]
    asks_loki = any(panel["datasource"] == LOKI for panel in shown(path))
    assert [(item["name"], item["query"], item["current"]["value"]) for item in others] == (
        [("loki", "loki", "loki")] if asks_loki else []
    )


@every_dashboard
def test_it_is_deployed_where_there_is_something_to_show(path: Path) -> None:
    needs = data_of(path)["watchkeeper"]["needs"]
    assert set(needs) <= set(PROJECT.components)
    assert dashboards.wanted(data_of(path), PROJECT.components)
    assert dashboards.wanted(data_of(path), []) == (not needs)


# Panels


@every_dashboard
def test_every_panel_can_be_read(path: Path) -> None:
    for panel in panels(data_of(path)):
        name = f"{path.stem}: {panel.get('title')}"
        assert panel["title"], name
        assert panel["type"] in KINDS, name
        if panel["type"] == "row":
            continue
        assert panel["datasource"] in (PROMETHEUS, LOKI), name
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "logs", name
        assert panel["targets"], name
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], name
            assert target["expr"], name
            if panel["datasource"] == LOKI:
                assert target["queryType"] in ("range", "instant"), name
                assert (panel["type"] == "logs") == bool(target.get("maxLines")), name
            else:
                assert bool(target.get("instant")) != bool(target.get("range")), name
        if panel["type"] == "timeseries" and panel["options"]["legend"]["showLegend"]:
            assert all(target.get("legendFormat") for target in panel["targets"]), name


@every_dashboard
def test_titles_are_unique(path: Path) -> None:
    """An excuse, and a person on the telephone, names a panel by its title."""
    titles = [panel["title"] for panel in shown(path)]
    assert sorted(titles) == sorted(set(titles))


@every_dashboard
def test_the_grid_has_no_overlap(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in data_of(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        if panel["type"] == "row":
            assert (place["x"], place["w"], place["h"]) == (0, COLUMNS, 1)
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]
    # Nothing floats: Grafana would move it up, and the picture would be another than the one that was built.
    height = max(y for _x, y in taken) + 1
    assert {y for _x, y in taken} == set(range(height))


def test_the_overview_fits_on_a_screen() -> None:
    """At 1920 by 1080, with Grafana's own bars, nobody has to scroll."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in data_of(FOLDER / "overview.json")["panels"])
    assert height * UNIT_PIXELS <= VISIBLE_PIXELS
    assert not any(panel.get("collapsed") for panel in data_of(FOLDER / "overview.json")["panels"])


@every_dashboard
def test_every_variable_that_is_used_is_there(path: Path) -> None:
    data = data_of(path)
    known = {item["name"] for item in data["templating"]["list"]} | set(ASKING.built_in(15, 300))
    for text in texts(data):
        for match in ASKING.REFERENCE.finditer(text):
            name = next(part for part in match.groups() if part)
            assert name.isdigit() or name in known or name.startswith("__"), f"{name} in {text!r}"
    used = " ".join(texts({key: value for key, value in data.items() if key != "templating"}))
    choices = " ".join(text for item in data["templating"]["list"] for text in texts(item.get("query")))
    for item in data["templating"]["list"]:
        if item["type"] == "query":
            assert re.search(rf"\$({item['name']}\b|{{{item['name']}\b)", used + choices), f"{item['name']} is not used"


# The alerts


def linked(path: Path) -> Iterator[tuple[str, str]]:
    """Yield panel and alert of every link to a runbook."""
    for panel in shown(path):
        for link in panel.get("links", []):
            if link["title"].startswith("Runbook: "):
                name = link["title"].removeprefix("Runbook: ")
                assert link["url"] == f"${{runbooks}}/{name}.md"
                yield panel["title"], name


@every_dashboard
def test_links_to_runbooks_lead_to_alerts(path: Path) -> None:
    for panel, name in linked(path):
        assert name in ALERTS, panel
        assert ALERTS[name].runbook, name
        assert (ROOT / "docs" / "runbooks" / f"{name}.md").exists()


@every_dashboard
def test_thresholds_are_those_of_the_alerts(path: Path) -> None:
    """Each is noted, so that it follows an override; deployed without one, nothing but notes and links changes."""
    data = data_of(path)
    links = set(linked(path))
    by_id = {panel["id"]: panel for panel in shown(path)}
    for note in data["watchkeeper"]["thresholds"]:
        alert = ALERTS[note["alert"]]
        panel = by_id[note["panel"]]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if "override" in note:
            properties = panel["fieldConfig"]["overrides"][note["override"]]["properties"]
            [steps] = [item["value"]["steps"] for item in properties if item["id"] == "thresholds"]
        where = f"{panel['title']}: {alert.name}"
        assert steps[note["step"]]["value"] == alert.parameters[note["parameter"]] * note["scale"], where
        # Where low is bad the colour is that of what lies below the step.
        colour = steps[note["step"] - bool(note.get("below"))]["color"]
        assert colour == {"critical": "red", "warning": "orange"}[alert.severity], where
        assert (panel["title"], alert.name) in links, f"{where} has no link to its runbook"
    filled = dashboards.fill(data, ALERTS.values(), "https://example.org")
    before = {panel["id"]: panel["fieldConfig"]["defaults"]["thresholds"] for panel in shown(path)}
    after = {
        panel["id"]: panel["fieldConfig"]["defaults"]["thresholds"]
        for panel in panels(filled)
        if panel["type"] != "row"
    }
    assert after == before
    assert "${runbooks}" not in json.dumps(filled)


@every_dashboard
def test_without_runbooks_no_link_leads_nowhere(path: Path) -> None:
    assert "runbooks" not in json.dumps(dashboards.fill(data_of(path), ALERTS.values(), ""))


# The questions


def test_every_question_is_promql(tmp_path: Path) -> None:
    """Prometheus's own parser reads each, with its variables filled in."""
    values = {**ASKING.built_in(15, 300), "datasource": "prometheus", "runbooks": ""}
    rules: list[dict[str, str]] = []
    for path in FILES:
        data = data_of(path)
        names = {item["name"]: ".*" for item in data["templating"]["list"]}
        asked = [question.expression for question in ASKING.questions(data)]
        for item in data["templating"]["list"]:
            if item["type"] == "query" and item["datasource"] == PROMETHEUS:
                text = ASKING.interpolate(item["query"]["query"], {**names, **values})
                asked.append(f"count({ASKING.LABEL_VALUES.fullmatch(text)['series']})")
        for expression in asked:
            rules.append(
                {
                    "record": f"{path.stem}:{len(rules)}",
                    "expr": ASKING.interpolate(expression, {**names, **values}),
                }
            )
    assert len(rules) > 200
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    command = [str(find_promtool()), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout


@every_dashboard
def test_rates_follow_the_range(path: Path) -> None:
    """A fixed window over the whole of a curve hides what happens in it, or sees nothing: Grafana knows a fitting one.

    Windows that the title names are what the panel is about, and alerts have windows of their own.
    """
    for panel, target in targets(path):
        if target.get("range"):
            for window in re.findall(r"\brate\([^][]*\[(\d+\w)\]", target["expr"]):
                assert window in panel or list(linked(path)), f"{panel}: rate over {window}"


@every_dashboard
def test_what_loki_is_asked_is_bounded(path: Path) -> None:
    """Each selection names streams, and what may be many is reduced; in a query over time, where `topk` chooses anew at
    each moment, to what a legend can show."""
    for panel in shown(path):
        for target in panel["targets"]:
            if panel["datasource"] == LOKI:
                selections = re.findall(r"\{[^}]*\}", target["expr"])
                assert selections, panel["title"]
                # All values of a source are `.+`: Loki refuses a selection that could be anything.
                assert all('job=~"$job"' in text for text in selections), panel["title"]
                if panel["type"] != "logs":
                    grouped = re.findall(r"sum by \((.*?)\)", target["expr"])
                    assert target["expr"].startswith("topk(10, ") or set(grouped) <= {"job", "level"}, panel["title"]
                    assert ("topk" in target["expr"]) == (target["queryType"] == "instant"), panel["title"]


def test_every_log_question_has_a_source_to_choose() -> None:
    """The value that stands for all sources must not match streams without the label."""
    listed = {item["name"]: item for item in data_of(FOLDER / "logs.json")["templating"]["list"]}
    assert listed["job"]["allValue"] == ".+"
    assert listed["level"]["allValue"] == ".*"
    assert {listed[name]["datasource"]["uid"] for name in ("job", "host", "level")} == {"${loki}"}
    assert listed["search"]["type"] == "textbox"


def test_links_between_dashboards_lead_somewhere() -> None:
    """To a dashboard of ours, with variables that it has; and to what is deployed only."""
    every = {data_of(path)["uid"]: data_of(path) for path in FILES}
    links = [(path.stem, text) for path in FILES for text in texts(data_of(path)) if text.startswith("/d/")]
    assert ("application", "/d/watchkeeper-logs") in links
    for name, address in links:
        uid, _mark, query = address.removeprefix("/d/").partition("?")
        assert uid in every, f"{name}: {address}"
        known = {item["name"] for item in every[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= known, f"{name}: {address}"
    application = data_of(FOLDER / "application.json")
    for deployed, there in ((["watchkeeper-application"], False), (list(every), True)):
        filled = dashboards.fill(application, ALERTS.values(), "", deployed)
        assert any(text.startswith("/d/watchkeeper-logs") for text in texts(filled)) == there


@every_dashboard
def test_curves_are_chosen_once(path: Path) -> None:
    """In a query over time a plain `topk` chooses anew at each moment: more curves than it names, with gaps."""
    for panel, target in targets(path):
        if target.get("range"):
            assert not re.search(r"\b(top|bottom)k\(\d+, (?!(max|min)_over_time\(\()", target["expr"]), panel
        else:
            assert "@ end()" not in target["expr"], panel


# The script that asks a live Prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of the API of a real Prometheus that scrapes itself."""
    if lack := lacking("prometheus"):
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("prometheus")
    packed = archive("prometheus")
    assert packed
    unpack(packed, folder / "release")
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        str(folder / "release" / "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Program(command, folder / "log", answers(port)) as program:
        api = f"http://127.0.0.1:{port}/api/v1"

        def scraped_twice() -> bool:
            try:
                return bool(ASKING.asker(api)("query", query="rate(prometheus_http_requests_total[1m])")["result"])
            except ASKING.PanelError:
                return False

        wait_until(scraped_twice, "two scrapes", lambda: program.log)
        yield api


def board(*panels_: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a dashboard as it is deployed."""
    variables = [
        {
            "name": "job",
            "type": "query",
            "query": {"query": "label_values(up, job)"},
            "includeAll": True,
            "multi": True,
        },
        {"name": "runbooks", "type": "constant", "query": "x"},
    ]
    return {"title": "Test", "panels": list(panels_), "templating": {"list": variables}, **keys}


def asking(title: str, *expressions: str, kind: str = "timeseries", instant: bool = False) -> dict[str, Any]:
    """Return a panel."""
    found = [{"refId": "ABC"[number], "expr": text, "instant": instant} for number, text in enumerate(expressions)]
    return {"type": kind, "title": title, "targets": found}


def asked(api: str, folder: Path, data: dict[str, Any], *excused: str) -> list[str]:
    """Return what the script says of one dashboard."""
    (folder / "Folder").mkdir(exist_ok=True)
    (folder / "Folder" / "test.json").write_text(json.dumps(data), encoding="utf-8")
    said: str = ASKING.main(["--dashboards", str(folder), "--prometheus", api, *excused])
    return [line for line in said.splitlines() if not line.startswith("    ")]


GOOD = asking("Good", 'up{job=~"$job"}', "sum(rate(prometheus_http_requests_total[$__rate_interval]))")


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        (GOOD, []),
        (asking("Now", 'up{job=~"$job"}', instant=True, kind="stat"), []),
        (asking("Group", 'label_replace(up, "x", "$1", "job", "(.*)")'), []),
        (asking("Nothing", "no_such_metric"), ["Test/Nothing A: empty"]),
        (asking("Second", "up", "no_such_metric"), ["Test/Second B: empty"]),
        (asking("NaN", "0 * up / 0"), ["Test/NaN A: only NaN"]),
        (asking("Many", "prometheus_http_requests_total or prometheus_http_response_size_bytes_bucket"), ["series"]),
        (
            asking(
                "Many rows",
                "prometheus_http_requests_total or prometheus_http_response_size_bytes_bucket",
                kind="table",
            ),
            [],
        ),
        (asking("Wrong", "sum(up"), ["Test/Wrong A: error: "]),
        (asking("Unknown", 'up{job="$jobb"}'), ["Test/Unknown A: error: there is no variable 'jobb'"]),
        ({"type": "row", "title": "Row", "panels": [asking("Inside", "no_such_metric")]}, ["Test/Inside A: empty"]),
    ],
    ids=lambda value: value["title"] if isinstance(value, dict) else "",
)
def test_asking_a_live_prometheus(prometheus: str, tmp_path: Path, panel: dict[str, Any], said: list[str]) -> None:
    found = asked(prometheus, tmp_path, board(panel))
    assert len(found) == len(said), found
    assert all(text in line for text, line in zip(said, found, strict=True)), found


def test_curves_that_are_chosen_once(prometheus: str, tmp_path: Path) -> None:
    """A real Prometheus answers for as many series as are named, over the whole time, and the script fills it in."""
    buckets = "prometheus_http_request_duration_seconds_bucket"
    panel = asking("Many", top(3, buckets), f"-({bottom(2, buckets)})")
    for target in panel["targets"]:
        target["interval"] = "1s"
    data = board(panel)
    assert asked(prometheus, tmp_path, data) == []
    for question, number in zip(ASKING.questions(data), (3, 2), strict=True):
        assert len(ASKING.answer(question, ASKING.asker(prometheus), {})) == number


def test_excuses(prometheus: str, tmp_path: Path) -> None:
    """One that is not needed is an error, so that none outlives its reason."""
    data = board(GOOD, asking("Nothing", "sum(no_such_metric)"))
    for word in ("Test/Nothing", "no_such_metric", "no_such_*", "Test/Nothing?"):
        assert asked(prometheus, tmp_path, data, word) == []
    for word in ("Test/Good", "such_metric", "up", "other_*", "Test/Noth"):
        found = asked(prometheus, tmp_path, data, "Test/Nothing", word)
        assert found == [f"excused, but there: {word}"]
    assert asked(prometheus, tmp_path, data, "Test/Nothing", "Test/Good?") == []


def test_variables_without_values(prometheus: str, tmp_path: Path) -> None:
    data = board(GOOD)
    data["templating"]["list"].append({"name": "host", "type": "query", "query": "label_values(nothing, host)"})
    assert asked(prometheus, tmp_path, data) == ["Test/$host : has no values"]
    assert asked(prometheus, tmp_path, data, "Test/$host") == []
    data["templating"]["list"][-1]["query"] = "everything"
    assert asked(prometheus, tmp_path, data) == ["Test: error: 'everything' is no question for the values of a label"]


def test_marks_may_be_empty_but_not_wrong(prometheus: str, tmp_path: Path) -> None:
    data = board(GOOD, annotations={"list": [{"name": "Mark", "expr": "no_such_metric"}]})
    assert asked(prometheus, tmp_path, data) == []
    data["annotations"]["list"][0]["expr"] = "sum("
    assert "Test/Mark : error: " in asked(prometheus, tmp_path, data)[0]


def test_what_is_asked_of_loki_is_left_out(prometheus: str, tmp_path: Path) -> None:
    """Its variables stand for everything, also in a question to Prometheus."""
    data = board(GOOD, {**asking("Lines", '{job=~"$job"} |= `x`', kind="logs"), "datasource": LOKI})
    chosen = {"label": "host", "type": 1, "refId": "x", "stream": ""}
    data["templating"]["list"].append({"name": "host", "type": "query", "datasource": LOKI, "query": chosen})
    data["panels"].append(asking("Of all", 'up{instance=~"$host"}'))
    assert asked(prometheus, tmp_path, data) == []
    del data["panels"][1]["datasource"]
    [found] = asked(prometheus, tmp_path, data)
    assert found.startswith("Test/Lines A: error: ")


def test_no_dashboards_are_an_error(prometheus: str, tmp_path: Path) -> None:
    said = ASKING.main(["--dashboards", str(tmp_path), "--prometheus", prometheus])
    assert said == f"no dashboards below {tmp_path}"


def test_what_stands_for_all(prometheus: str) -> None:
    ask = ASKING.asker(prometheus)
    every = {"name": "job", "type": "query", "query": "label_values(job)", "multi": True, "includeAll": True}

    def value(**keys: Any) -> str:
        values, _barren = ASKING.choices({"templating": {"list": [{**every, **keys}]}}, ask)
        return str(values["job"])

    assert value() == "(prometheus)"
    assert value(allValue=".*") == ".*"
    assert value(includeAll=False) == "prometheus"
    assert value(query="label_values(up, instance)") == f"({re.escape(prometheus.split('/')[2])})"
