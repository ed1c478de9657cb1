"""What is wrong with a dashboard is said by name; what is deployed follows the inventory and the alerts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper import dashboards
from ansible.module_utils.watchkeeper.alerts import Alert, apply_overrides, load_catalogue
from ansible.module_utils.watchkeeper.dashboard_form import problems

from tests.unit.runs import ROOT, inventory, run_site

SHIPPED = load_catalogue(ROOT / "files" / "alerts")
SOURCES = {"prometheus", "loki"}


def panel(number: int, **keys: Any) -> dict[str, Any]:
    """Return a panel as Grafana writes it."""
    return {
        "id": number,
        "type": "timeseries",
        "title": f"Panel {number}",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "targets": [{"refId": "A", "expr": "up", "datasource": {"type": "prometheus", "uid": "${datasource}"}}],
        **keys,
    }


def dashboard(*panels: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a dashboard with nothing wrong."""
    return {
        "title": "Shop",
        "uid": "shop",
        "panels": list(panels) or [panel(1)],
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        **keys,
    }


SPEC = {"title": "Shop", "elements": {"panel-1": {"kind": "Panel"}}, "layout": {"kind": "GridLayout"}}
ROW = {"id": 9, "type": "row", "title": "Folded", "collapsed": True}

WRONG: dict[str, tuple[Any, str]] = {
    "schema-v2": (SPEC, "is in schema v2 (it has the key 'elements'); Grafana provisions the classic form only"),
    "schema-v2-resource": (
        {"apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "metadata": {"name": "shop"}, "spec": SPEC},
        "is in schema v2 (it has the key 'elements')",
    ),
    "schema-v2-empty": (
        {"apiVersion": "dashboard.grafana.app/v2beta1", "kind": "Dashboard", "spec": {}},
        "is in schema v2 (it has apiVersion 'dashboard.grafana.app/v2beta1')",
    ),
    "resource": (
        {"apiVersion": "dashboard.grafana.app/v1", "kind": "Dashboard", "spec": dashboard()},
        "is a resource of Grafana's API (it has the key 'apiVersion')",
    ),
    "envelope": ({"dashboard": dashboard(), "overwrite": True}, "is wrapped in an API envelope"),
    "envelope-of-an-answer": ({"meta": {"slug": "shop"}, "dashboard": dashboard()}, "is wrapped in an API envelope"),
    "list": ([dashboard()], "must be a JSON object, not a list"),
    "nothing": (None, "must be a JSON object, not null"),
    "no-title": (dashboard(title=" "), "has no title, which Grafana requires"),
    "no-uid": ({key: value for key, value in dashboard().items() if key != "uid"}, "has no uid"),
    "uid-characters": (dashboard(uid="shop/main"), "the uid 'shop/main' is not allowed; it must be 1 to 40 letters"),
    "uid-length": (dashboard(uid="s" * 41), "it must be 1 to 40 letters, digits, - and _"),
    "id": (dashboard(id=7), "has the id 7, which belongs to one Grafana's database; leave the key out"),
    "inputs": (
        dashboard(panel(1, datasource={"uid": "${DS_MINE}"}), __inputs=[{"name": "DS_MINE", "type": "datasource"}]),
        "nobody fills in its __inputs; replace ${DS_MINE} by the uid of a data source",
    ),
    "angular": (
        dashboard(panel(1, type="graph")),
        "panel 'Panel 1' is of type 'graph', which went with AngularJS in Grafana 12; use 'timeseries'",
    ),
    "angular-in-a-row": (dashboard({**ROW, "panels": [panel(1, type="singlestat")]}), "use 'stat'"),
    "angular-in-an-old-row": (dashboard(panels=[], rows=[{"panels": [panel(1, type="table-old")]}]), "use 'table'"),
    "pie": (dashboard(panel(1, type="grafana-piechart-panel")), "use 'piechart'"),
    "same-panel-id": (dashboard(panel(1), panel(2, id=1)), "panel 'Panel 2' has the id 1, which panel 'Panel 1' has"),
    "no-ref-id": (dashboard(panel(1, targets=[{"expr": "up"}])), "panel 'Panel 1' has a query without refId"),
    "same-ref-id": (
        dashboard(panel(1, targets=[{"refId": "A"}, {"refId": "A"}])),
        "panel 'Panel 1' has two queries with the refId 'A'",
    ),
    "source": (
        dashboard(panel(1, datasource={"type": "prometheus", "uid": "PBFA97CFB590B2093"})),
        "panel 'Panel 1' reads the data source 'PBFA97CFB590B2093', which is unknown; known: loki, prometheus",
    ),
    "source-by-name": (dashboard(panel(1, datasource="Prometheus")), "the data source 'Prometheus', which is unknown"),
    "source-of-a-query": (
        dashboard(panel(1, targets=[{"refId": "A", "datasource": {"uid": "mimir"}}])),
        "panel 'Panel 1' reads the data source 'mimir'",
    ),
    "source-of-a-variable": (
        dashboard(templating={"list": [{"name": "host", "datasource": {"uid": "mimir"}}]}, panels=[]),
        "variable 'host' reads the data source 'mimir'",
    ),
    "source-of-an-annotation": (
        dashboard(annotations={"list": [{"name": "Deploys", "datasource": {"uid": "mimir"}}]}),
        "annotation 'Deploys' reads the data source 'mimir'",
    ),
    "source-variable": (
        dashboard(panel(1, datasource={"uid": "${DS_PROMETHEUS}"})),
        "reads the data source ${DS_PROMETHEUS}, but the dashboard has no variable 'DS_PROMETHEUS'",
    ),
    "source-number": (dashboard(panel(1, datasource={"uid": 3})), "names a data source by 3, which is no text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_dashboard_that_grafana_would_refuse_or_show_empty(name: str) -> None:
    data, said = WRONG[name]
    found = problems(data, SOURCES, "shop.json")
    assert len(found) == 1, found
    assert found[0].startswith("shop.json: ")
    assert said in found[0]


def test_a_dashboard_with_nothing_wrong() -> None:
    """Whatever else Grafana knows of data sources is fine: variables, its own, the default."""
    fine = dashboard(
        panel(1),
        panel(2, datasource={"type": "datasource", "uid": "-- Mixed --"}),
        panel(3, datasource=None, targets=[{"refId": "A", "datasource": {"uid": "loki"}}]),
        panel(4, datasource="${datasource}"),
        panel(5, datasource={"uid": "$datasource"}),
        panel(6, datasource={"type": "datasource", "uid": "-- Dashboard --"}),
        {**ROW, "panels": [panel(7), {"type": "text", "title": "No id, no query"}]},
        id=None,
        annotations={"list": [{"name": "Mine", "datasource": {"type": "grafana", "uid": "-- Grafana --"}}]},
    )
    assert problems(fine, SOURCES, "shop.json") == []
    unknown = dashboard(panel(1, datasource={"uid": "mimir"}))
    assert problems(unknown, None, "shop.json") == []
    assert len(problems(unknown, [], "shop.json")) == 1


def test_everything_is_said_at_once_and_each_thing_once() -> None:
    twice = panel(
        1, type="graph", datasource={"uid": "mimir"}, targets=[{"refId": "A", "datasource": {"uid": "mimir"}}]
    )
    found = problems(dashboard(twice, title="", uid=""), SOURCES, "x")
    assert len(found) == 4


# A user's list


def written(folder: Path, name: str, data: Any) -> str:
    """Write a JSON file and return its path."""
    path = folder / f"{name}.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return str(path)


OURS = {
    "system": dashboard(title="System", uid="watchkeeper-system"),
    "redis": dashboard(title="Redis", uid="watchkeeper-redis", watchkeeper={"needs": ["redis_exporter"]}),
}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("shop.json", ["grafana_dashboards[0] is 'shop.json'", "a mapping with the keys name, path, folder, state"]),
        ({"name": "Shop", "path": "x"}, ["grafana_dashboards[0].name is 'Shop'", "lower-case letters"]),
        ({"path": "x"}, ["grafana_dashboards[0].name is None"]),
        ({"name": "shop"}, ["grafana_dashboards[0].path is None", "a JSON file on the controller"]),
        ({"name": "shop", "path": "x", "file": "y"}, ["grafana_dashboards[0].file is not a key"]),
        ({"name": "shop", "path": "x", "state": "gone"}, ["grafana_dashboards[0].state is 'gone'", "present, absent"]),
        ({"name": "sytem", "state": "absent"}, ["there is no 'sytem' to take out", "did you mean 'system'?"]),
        ({"name": "shop", "path": "x", "folder": "a/b"}, ["grafana_dashboards[0].folder is 'a/b'", "without /"]),
        ({"name": "shop", "path": "x", "folder": ".hidden"}, ["grafana_dashboards[0].folder is '.hidden'"]),
        ({"name": "shop", "path": "x", "folder": "general"}, ["is 'general'", "not 'General'"]),
        ({"name": "shop", "path": "nowhere/shop.json"}, ["[0].path: nowhere/shop.json cannot be read: No such file"]),
    ],
)
def test_a_wrong_entry(item: Any, said: list[str]) -> None:
    found = dashboards.check([item], SOURCES, OURS)
    assert len(found) == 1, found
    assert all(text in found[0] for text in said), found[0]
    with pytest.raises(dashboards.DashboardError, match=r"grafana_dashboards"):
        dashboards.files([item], [], SHIPPED, "", OURS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("", "is not JSON"),
        (SPEC, "is in schema v2"),
        ({"dashboard": dashboard()}, "is wrapped in an API envelope"),
        (dashboard(panel(1, datasource={"uid": "mimir"})), "which is unknown"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: Any, said: str) -> None:
    path = written(tmp_path, "shop", content)
    found = dashboards.check([{"name": "shop", "path": path}], SOURCES, OURS)
    assert len(found) == 1, found
    assert "grafana_dashboards[0]" in found[0]
    assert path in found[0]
    assert said in found[0]


def test_a_list_that_is_none() -> None:
    assert "a list of mappings" in dashboards.check("shop.json", SOURCES, OURS)[0]
    assert dashboards.check([], SOURCES, OURS) == []


def test_clashes(tmp_path: Path) -> None:
    """Grafana keeps one of two with the same uid, and refuses a title twice in a folder."""
    shop = {"name": "shop", "path": written(tmp_path, "shop", dashboard())}
    again = {"name": "again", "path": written(tmp_path, "again", dashboard(title="Again"))}
    [same_uid] = dashboards.check([shop, again], SOURCES, OURS)
    assert "'shop' and 'again' have the same uid 'shop'" in same_uid
    ours = {"name": "copy", "path": written(tmp_path, "copy", dashboard(title="Copy", uid="watchkeeper-system"))}
    assert "'system' and 'copy' have the same uid" in dashboards.check([ours], SOURCES, OURS)[0]
    titled = {"name": "titled", "path": written(tmp_path, "titled", dashboard(title="System"))}
    [same_title] = dashboards.check([titled], SOURCES, OURS)
    assert "'system' and 'titled' have the same title 'System' in the folder 'Watchkeeper'" in same_title
    assert dashboards.check([{**titled, "folder": "Mine"}], SOURCES, OURS) == []
    assert dashboards.check([titled, {"name": "system", "state": "absent"}], SOURCES, OURS) == []
    assert "names 'shop' twice" in dashboards.check([shop, shop], SOURCES, OURS)[0]


# What is deployed


def paths(items: list[dict[str, Any]], components: list[str]) -> dict[str, Any]:
    """Return what is deployed: title by path."""
    found = dashboards.files(items, components, SHIPPED, "", OURS)
    return {item["path"]: json.loads(item["content"])["title"] for item in found}


def test_what_is_deployed(tmp_path: Path) -> None:
    system, redis = "dashboards/Watchkeeper/system.json", "dashboards/Watchkeeper/redis.json"
    assert paths([], []) == {system: "System"}
    assert paths([], ["redis_exporter"]) == {system: "System", redis: "Redis"}
    assert paths([{"name": "system", "state": "absent"}], []) == {}
    path = written(tmp_path, "shop", dashboard())
    assert paths([{"name": "shop", "path": path, "folder": "Our shop"}], []) == {
        system: "System",
        "dashboards/Our shop/shop.json": "Shop",
    }
    assert paths([{"name": "redis", "path": path}], []) == {system: "System", redis: "Shop"}


def test_a_relative_path_begins_at_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = dashboards.check([{"name": "x", "path": "files/renamed.yml"}], SOURCES, OURS)
    assert "is not JSON" in found[0]


def test_the_file_is_small_and_a_difference_can_be_read() -> None:
    text = dashboards.render({"title": "Größe", "panels": [{"id": 1}]})
    assert json.loads(text) == {"title": "Größe", "panels": [{"id": 1}]}
    assert "Größe" in text
    assert ": " not in text
    assert '"id":1\n' in text


def test_links_lead_to_what_is_deployed(tmp_path: Path) -> None:
    """Not to a dashboard that the inventory has nothing for; and a user's own links are theirs."""
    links = [
        {"title": "Redis", "url": "/d/watchkeeper-redis?var-host=a"},
        {"title": "System", "url": "/d/watchkeeper-system"},
        {"title": "Elsewhere", "url": "https://example.org/d/watchkeeper-redis"},
    ]
    options = {"defaults": {"links": links}, "overrides": [{"properties": [{"id": "links", "value": links}]}]}
    system = dashboard(panel(1, fieldConfig=options), **{**OURS["system"], "links": links, "watchkeeper": {}})
    system["panels"] = [panel(1, fieldConfig=options)]
    own = {"name": "shop", "path": written(tmp_path, "shop", dashboard(links=links))}

    def titles(components: list[str], name: str) -> list[list[str]]:
        found = dashboards.files([own], components, SHIPPED, "", {**OURS, "system": system})
        [data] = [json.loads(item["content"]) for item in found if item["path"].endswith(f"/{name}.json")]
        config = data["panels"][0].get("fieldConfig", options)
        [override] = config["overrides"][0]["properties"]
        return [
            [item["title"] for item in every]
            for every in (data["links"], config["defaults"]["links"], override["value"])
        ]

    assert titles(["redis_exporter"], "system") == [["Redis", "System", "Elsewhere"]] * 3
    assert titles([], "system") == [["System", "Elsewhere"]] * 3
    assert titles([], "shop")[0] == ["Redis", "System", "Elsewhere"]


def test_a_user_s_own_dashboard_stays_as_it_is() -> None:
    own = dashboard(links=[{"title": "Docs", "url": "${runbooks}/HighCPUUsage.md"}])
    assert dashboards.fill(own, SHIPPED, "") == own


# Thresholds and links


def steps(*pairs: tuple[str, float | None]) -> dict[str, Any]:
    """Return the part of a panel that holds its steps."""
    return {"defaults": {"thresholds": {"steps": [{"color": color, "value": value} for color, value in pairs]}}}


def ours(config: dict[str, Any], *records: dict[str, Any]) -> dict[str, Any]:
    """Return one of our dashboards with a panel 3 in a folded row."""
    whole = [{"panel": 3, "scale": 1, "parameter": "threshold", **record} for record in records]
    data = dashboard(
        {**ROW, "panels": [panel(3, fieldConfig=config, links=[runbook("HighCPUUsage"), runbook("CriticalCPUUsage")])]},
        watchkeeper={"needs": [], "thresholds": whole},
    )
    data["templating"]["list"].append(
        {"name": "runbooks", "type": "constant", "query": "", "hide": 2, "current": {}, "options": []}
    )
    return data


def runbook(alert: str) -> dict[str, str]:
    """Return a link as the builders make it."""
    return {"title": f"Runbook: {alert}", "url": f"${{runbooks}}/{alert}.md"}


def colours(data: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return the steps of panel 3."""
    [found] = [item for item in data["panels"][0]["panels"] if item["id"] == 3]
    return [(step["color"], step["value"]) for step in found["fieldConfig"]["defaults"]["thresholds"]["steps"]]


CPU = ours(
    steps(("green", None), ("orange", 80), ("red", 95)),
    {"step": 1, "alert": "HighCPUUsage"},
    {"step": 2, "alert": "CriticalCPUUsage"},
)
CERTIFICATE = ours(
    steps(("red", None), ("orange", 7), ("green", 21)),
    {"step": 2, "alert": "CertificateExpiresSoon", "parameter": "days", "below": True},
    {"step": 1, "alert": "CertificateExpiresCritical", "parameter": "days", "below": True},
)


def wanted(**overrides: dict[str, Any]) -> tuple[Alert, ...]:
    """Return the alerts with `watchkeeper_alerts`."""
    return apply_overrides(SHIPPED, overrides)


@pytest.mark.parametrize(
    ("data", "overrides", "expected"),
    [
        (CPU, {}, [("green", None), ("orange", 80), ("red", 95)]),
        (CPU, {"HighCPUUsage": {"threshold": 85.5}}, [("green", None), ("orange", 85.5), ("red", 95)]),
        (CPU, {"HighCPUUsage": {"enabled": False}}, [("green", None), ("red", 95)]),
        (CPU, {"CriticalCPUUsage": {"enabled": False}}, [("green", None), ("orange", 80)]),
        (
            CPU,
            {"HighCPUUsage": {"enabled": False}, "CriticalCPUUsage": {"enabled": False}},
            [("green", None)],
        ),
        # A critical alert that comes first leaves nothing for the warning.
        (CPU, {"CriticalCPUUsage": {"threshold": 70}}, [("green", None), ("red", 70)]),
        (CPU, {"HighCPUUsage": {"threshold": 95}}, [("green", None), ("red", 95)]),
        (CERTIFICATE, {}, [("red", None), ("orange", 7), ("green", 21)]),
        (CERTIFICATE, {"CertificateExpiresSoon": {"days": 30}}, [("red", None), ("orange", 7), ("green", 30)]),
        # Where low is bad, a colour ends at its alert's step.
        (CERTIFICATE, {"CertificateExpiresSoon": {"enabled": False}}, [("red", None), ("green", 7)]),
        (CERTIFICATE, {"CertificateExpiresCritical": {"enabled": False}}, [("orange", None), ("green", 21)]),
        (CERTIFICATE, {"CertificateExpiresCritical": {"days": 25}}, [("red", None), ("green", 25)]),
        (
            CERTIFICATE,
            {"CertificateExpiresCritical": {"enabled": False}, "CertificateExpiresSoon": {"enabled": False}},
            [("green", None)],
        ),
    ],
)
def test_thresholds_follow_the_alerts(
    data: dict[str, Any], overrides: dict[str, Any], expected: list[tuple[str, float | None]]
) -> None:
    before = copy.deepcopy(data)
    filled = dashboards.fill(data, wanted(**overrides), "https://example.org/runbooks")
    assert colours(filled) == expected
    assert "watchkeeper" not in filled
    assert data == before


def test_a_threshold_in_another_unit() -> None:
    data = ours(
        steps(("green", None), ("red", 0.5)),
        {"step": 1, "alert": "HighResponseTime", "parameter": "threshold_ms", "scale": 0.001},
    )
    filled = dashboards.fill(data, wanted(HighResponseTime={"threshold_ms": 750}), "")
    assert colours(filled) == [("green", None), ("red", 0.75)]


def test_a_threshold_of_a_column() -> None:
    """A table's columns have limits of their own."""
    config = steps(("green", None), ("orange", 80))
    limits = steps(("green", None), ("red", 95))["defaults"]["thresholds"]
    properties = [{"id": "unit", "value": "percent"}, {"id": "thresholds", "value": limits}]
    config["overrides"] = [{"properties": []}, {"properties": properties}]
    data = ours(
        config,
        {"step": 1, "alert": "HighCPUUsage"},
        {"step": 1, "alert": "CriticalCPUUsage", "override": 1},
    )
    filled = dashboards.fill(data, wanted(CriticalCPUUsage={"threshold": 98}), "")
    assert colours(filled) == [("green", None), ("orange", 80)]
    [found] = [item for item in filled["panels"][0]["panels"] if item["id"] == 3]
    column = found["fieldConfig"]["overrides"][1]["properties"][1]["value"]["steps"]
    assert column == [{"color": "green", "value": None}, {"color": "red", "value": 98}]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"step": 5, "alert": "HighCPUUsage"}, "Shop: panel 3 has no threshold 5 for HighCPUUsage"),
        ({"step": 0, "alert": "HighCPUUsage"}, "has no threshold 0"),
        ({"step": 1, "alert": "HighCPUUsage", "panel": 77}, "panel 77 has no threshold 1"),
        ({"step": 1, "alert": "HighCPUUsage", "override": 2}, "panel 3 has no threshold 1"),
        ({"step": 1, "alert": "HighCPUUsage", "parameter": "limit"}, "HighCPUUsage has no parameter 'limit'"),
    ],
)
def test_a_record_that_fits_nothing_is_an_error(record: dict[str, Any], said: str) -> None:
    with pytest.raises(dashboards.DashboardError, match=said):
        dashboards.fill(ours(steps(("green", None), ("red", 1)), record), SHIPPED, "")


def links(data: dict[str, Any]) -> dict[str, str]:
    """Return the address of each link of panel 3."""
    return {item["title"]: item["url"] for item in data["panels"][0]["panels"][0]["links"]}


def constant(data: dict[str, Any]) -> list[str]:
    """Return the value of the hidden variable, if there is one."""
    return [item["query"] for item in data["templating"]["list"] if item["name"] == "runbooks"]


def test_links_to_runbooks() -> None:
    """They lead to where the runbooks are served, in both forms of the setting, and nowhere else."""
    filled = dashboards.fill(CPU, SHIPPED, "https://example.org/runbooks/")
    assert links(filled) == {
        "Runbook: HighCPUUsage": "https://example.org/runbooks/HighCPUUsage.md",
        "Runbook: CriticalCPUUsage": "https://example.org/runbooks/CriticalCPUUsage.md",
    }
    assert constant(filled) == ["https://example.org/runbooks"]
    filled = dashboards.fill(CPU, wanted(HighCPUUsage={"enabled": False}), "https://example.org/{alert}.html")
    assert links(filled) == {"Runbook: CriticalCPUUsage": "https://example.org/CriticalCPUUsage.html"}
    filled = dashboards.fill(CPU, SHIPPED, "")
    assert links(filled) == {}
    assert constant(filled) == []
    assert [item["name"] for item in filled["templating"]["list"]] == ["datasource"]


def test_a_table_s_links_to_runbooks() -> None:
    """The alert is in the row, and so stays a field in the address."""
    field = "${__data.fields.alertname}"
    data = copy.deepcopy(CPU)
    data["panels"][0]["panels"][0]["fieldConfig"]["overrides"] = [
        {"properties": [{"id": "links", "value": [{"title": "Runbook", "url": f"${{runbooks}}/{field}.md"}]}]}
    ]

    def target(url: str) -> list[str]:
        filled = dashboards.fill(data, SHIPPED, url)
        [override] = filled["panels"][0]["panels"][0]["fieldConfig"]["overrides"]
        return [item["url"] for item in override["properties"][0]["value"]]

    assert target("https://example.org/{alert}.html") == [f"https://example.org/{field}.html"]
    assert target("") == []


# Through Ansible


def test_the_lookup(tmp_path: Path) -> None:
    """What a role gets: groups decide, templates and overrides are read, braces of legends are left alone."""
    own = written(tmp_path, "shop", dashboard(panel(1, legend="{{ instance }}")))
    hosts = inventory(
        {"watch": {}},
        {"cache": {"redis_exporter_state": "absent"}, "web": {}},
        {"redis": ["cache"], "nginx": ["web"]},
        grafana_dashboards=[{"name": "shop", "path": "{{ folder }}/shop.json"}],
        folder=str(tmp_path),
        watchkeeper_alerts={"HighCPUUsage": {"threshold": "{{ 80 + 7 }}"}, "CriticalCPUUsage": {"enabled": False}},
        watchkeeper_runbooks_url="https://example.org",
    )
    play = """
    - hosts: watch
      gather_facts: false
      tasks:
        - ansible.builtin.debug:
            msg: "{{ query('watchkeeper', 'dashboards', grafana_dashboards) }}"
    """
    run = run_site(tmp_path / "run", hosts, playbook=play)
    assert run.code == 0, run.output
    contents = {item["path"]: item["content"] for item in run.of("ansible.builtin.debug", "watch")["msg"]}
    found = {path: json.loads(content) for path, content in contents.items()}
    assert found["dashboards/Watchkeeper/shop.json"] == json.loads(Path(own).read_text(encoding="utf-8"))
    assert "dashboards/Watchkeeper/nginx.json" in found
    assert "dashboards/Watchkeeper/redis.json" not in found
    system = found["dashboards/Watchkeeper/system.json"]
    [usage] = [item for item in system["panels"] if item["title"] == "CPU Usage"]
    assert [step["value"] for step in usage["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None, 87]
    assert [link["url"] for link in usage["links"]] == ["https://example.org/HighCPUUsage.md"]
