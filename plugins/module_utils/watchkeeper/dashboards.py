"""Dashboards as files: which ones a host's Grafana gets, with which thresholds and links, and what is wrong with one.

A dashboard is the classic JSON form, the only one that Grafana provisions from files. Ours are generated
(`files/dashboards/*.json`) and carry a key of their own, which is not deployed:

    "watchkeeper": {
        "needs": ["node_exporter"],
        "thresholds": [{"panel": 3, "step": 1, "alert": "HighCPUUsage", "parameter": "threshold", "scale": 1}],
    }

`needs` are components of which one must be in the inventory; empty means always. Each of `thresholds` says that a step
of a panel stands for an alert's parameter, in the panel's unit `scale` times as much, so that the two stay equal when
a user overrides the alert. The step is one of the panel's, or with `override` of that entry of its overrides. With
`below`, low values are bad: a colour ends at its alert's step instead of beginning.

Links from one dashboard of ours to another that is not deployed are taken out.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .alerts import Alert, runbook_address
from .catalogue import suggestion
from .dashboard_form import panels, problems
from .validation import WHERE, problem

VARIABLE = "grafana_dashboards"
# The folder in Grafana of ours, and of a user's dashboard that names none.
FOLDER = "Watchkeeper"
SHIPPED = Path(__file__).resolve().parents[3] / "files" / "dashboards"
OWN_KEY = "watchkeeper"
RUNBOOKS_VARIABLE = "runbooks"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Becomes a directory, whose name is the title in Grafana. Hidden directories are not looked into.
_FOLDER = re.compile(r"(?!\.)[^/\\\x00-\x1f{}]{1,100}(?<!\s)")
_DASHBOARD_URL = re.compile(r"/d/([\w-]+)(?:[/?].*)?")
_RUNBOOK_URL = re.compile(r"\$\{runbooks\}/(.+)\.md")
_STATES = ("present", "absent")
_KEYS = ("name", "path", "folder", "state")


class DashboardError(ValueError):
    """A dashboard that cannot be used; the message says which, why, and what is allowed."""


# What is wrong with a user's list


def read(path: str) -> Any:
    """Return what a JSON file on the controller holds; a relative path begins at the checkout."""
    file = Path(path).expanduser()
    if not file.is_absolute():
        file = SHIPPED.parents[1] / file
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DashboardError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DashboardError(f"{path} is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise DashboardError(f"{path} is not JSON: {error.msg} in line {error.lineno}") from error


def shipped(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return our dashboards by name."""
    found = {}
    for path in sorted((folder or SHIPPED).glob("*.json")):
        found[path.stem] = dict(read(str(path)))
    return found


def check(
    items: object,
    known_uids: Collection[str] | None = None,
    ours: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Check `grafana_dashboards` together with ours, reading every file that it names.

    `ours` are the shipped dashboards by name, read from the checkout unless given.
    """
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)):
        return [problem(VARIABLE, items, "a list of mappings with name and path")]
    own = shipped() if ours is None else ours
    found: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        where = f"{VARIABLE}[{index}]"
        wrong = _wrong_item(where, item, own)
        if not wrong and item["name"] in seen:
            wrong = [f"{VARIABLE} names {item['name']!r} twice; one entry for each dashboard; {WHERE}"]
        if not wrong:
            seen.add(item["name"])
            if item.get("state") != "absent":
                try:
                    wrong = problems(read(item["path"]), known_uids, f"{where} ({item['path']})")
                except DashboardError as error:
                    wrong = [f"{where}.path: {error}; {WHERE}"]
        found += wrong
    return found or _clashes(chosen(items, own))


def _wrong_item(where: str, item: Any, ours: Mapping[str, Any]) -> list[str]:
    if not isinstance(item, Mapping):
        return [problem(where, item, f"a mapping with the keys {', '.join(_KEYS)}")]
    found = [
        f"{where}.{key} is not a key of {VARIABLE}{suggestion(str(key), _KEYS)}; {WHERE}"
        for key in item
        if key not in _KEYS
    ]
    name, state = item.get("name"), item.get("state", "present")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        found.append(problem(f"{where}.name", name, "a name of lower-case letters, digits, - and _"))
    elif state == "absent" and name not in ours:
        found.append(f"{where}: there is no {name!r} to take out{suggestion(name, ours)}; {WHERE}")
    if state not in _STATES:
        found.append(problem(f"{where}.state", state, f"one of {', '.join(_STATES)}"))
    elif state == "present" and (not isinstance(item.get("path"), str) or not item["path"]):
        found.append(problem(f"{where}.path", item.get("path"), "the path of a JSON file on the controller"))
    folder = item.get("folder") or FOLDER
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder) or folder.lower() == "general":
        allowed = "the title of a folder, without / and \\ and not 'General', which is what Grafana calls no folder"
        found.append(problem(f"{where}.folder", folder, allowed))
    return found


def _clashes(every: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """Find uids that two dashboards have, and titles that two of one folder have."""
    found = []
    uids: dict[str, str] = {}
    titles: dict[tuple[str, str], str] = {}
    for folder, name, data in every:
        uid, title = str(data["uid"]), str(data["title"])
        if uid in uids:
            found.append(f"{VARIABLE}: {uids[uid]!r} and {name!r} have the same uid {uid!r}; give one another; {WHERE}")
        elif (folder, title) in titles:
            first = titles[folder, title]
            found.append(
                f"{VARIABLE}: {first!r} and {name!r} have the same title {title!r} in the folder {folder!r}; rename "
                f"one, or set another folder; {WHERE}"
            )
        uids.setdefault(uid, name)
        titles.setdefault((folder, title), name)
    return found


# What is deployed


def chosen(
    items: Iterable[Mapping[str, Any]], ours: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return folder, name and JSON of every dashboard: ours, then a user's; one of the same name replaces ours."""
    found = {name: (FOLDER, name, data) for name, data in ours.items()}
    for item in items:
        name = item["name"]
        if item.get("state") == "absent":
            found.pop(name, None)
        else:
            found[name] = (item.get("folder") or FOLDER, name, read(item["path"]))
    return list(found.values())


def names(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all dashboards: ours that are not taken out, and a user's."""
    return [name for _folder, name, _data in chosen(items, shipped())]


def wanted(data: Mapping[str, Any], components: Collection[str]) -> bool:
    """Tell whether a dashboard is about something that the inventory has."""
    needs = data.get(OWN_KEY, {}).get("needs", [])
    return not needs or any(name in components for name in needs)


def fill(
    data: Mapping[str, Any], alerts: Iterable[Alert], runbooks_url: str, uids: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a dashboard as it is deployed: thresholds and links follow the alerts as the user wants them.

    `alerts` are those that are on. Steps and links of others go; without `runbooks_url` all links to runbooks go.
    `uids` are the dashboards that are deployed; links to others go, unless it is None. What does not carry our key is a
    user's own and stays as it is.
    """
    filled = copy.deepcopy(dict(data))
    own = filled.pop(OWN_KEY, None)
    if own is None:
        return filled
    known = {alert.name: alert for alert in alerts}
    by_id: dict[Any, Any] = {panel.get("id"): panel for panel in panels(filled)}
    records: dict[tuple[int, int | None], list[Mapping[str, Any]]] = {}
    for record in own.get("thresholds", []):
        records.setdefault((record["panel"], record.get("override")), []).append(record)
    for (number, override), together in records.items():
        steps = _steps(by_id.get(number, {}), override)
        _set_steps(steps, together, known, f"{data.get('title')}: panel {number}")
    _link(filled, known, runbooks_url)
    if uids is not None:
        _unlink(filled, uids)
    _set_runbooks(filled, runbooks_url)
    return filled


def _steps(panel: Mapping[str, Any], override: int | None) -> list[dict[str, Any]]:
    """Return the steps of a panel, or of one of its columns, to be changed in place."""
    config = panel.get("fieldConfig", {})
    found = config.get("defaults", {}).get("thresholds")
    if override is not None:
        properties = config.get("overrides", [])[override : override + 1]
        named = {item["id"]: item["value"] for whole in properties for item in whole["properties"]}
        found = named.get("thresholds")
    return found["steps"] if found else []


def _set_steps(
    steps: list[dict[str, Any]], records: Iterable[Mapping[str, Any]], known: Mapping[str, Alert], where: str
) -> None:
    """Give the steps of one panel the values of their alerts, and take out those that no longer mean anything."""
    below = False
    gone = []
    for record in records:
        index, below = record["step"], bool(record.get("below"))
        if not 0 < index < len(steps):
            raise DashboardError(f"{where} has no threshold {index} for {record['alert']}")
        alert = known.get(record["alert"])
        if alert is None:
            gone.append(index)
        elif record["parameter"] not in alert.parameters:
            raise DashboardError(f"{where}: {alert.name} has no parameter {record['parameter']!r}")
        else:
            steps[index]["value"] = alert.parameters[record["parameter"]] * record["scale"]
    for index in sorted(gone, reverse=True):
        _remove(steps, index, below)
    # Steps must ascend. Where a warning would come after what is critical, the critical one is all that is left.
    index = 2
    while index < len(steps):
        if steps[index - 1]["value"] < steps[index]["value"]:
            index += 1
        else:
            _remove(steps, index if below else index - 1, below)
            index = 2


def _remove(steps: list[dict[str, Any]], index: int, below: bool) -> None:
    """Take out a step and its colour, which with `below` is the one that ends there: what begins there takes over."""
    if below:
        steps[index - 1]["color"] = steps[index]["color"]
    del steps[index]


def _link(node: Any, known: Mapping[str, Alert], runbooks_url: str) -> None:
    """Point all links to runbooks to where these are, and take out those that would lead nowhere."""
    if isinstance(node, list):
        node[:] = [item for item in node if not _is_dead(item, known, runbooks_url)]
        for item in node:
            _link(item, known, runbooks_url)
    elif isinstance(node, dict):
        runbook = _runbook(node)
        if runbook:
            node["url"] = runbook_address(runbook, runbooks_url)
        for item in node.values():
            _link(item, known, runbooks_url)


def _runbook(node: Any) -> str:
    """Return what a link's runbook is about: an alert's name, or the field of a table that holds one."""
    match = _RUNBOOK_URL.fullmatch(str(node.get("url", ""))) if isinstance(node, dict) else None
    return match[1] if match else ""


def _is_dead(node: Any, known: Mapping[str, Alert], runbooks_url: str) -> bool:
    runbook = _runbook(node)
    return bool(runbook) and (not runbooks_url or (runbook.isalnum() and runbook not in known))


def _unlink(node: Any, uids: Collection[str]) -> None:
    """Take out all links to dashboards that are not deployed."""
    if isinstance(node, list):
        node[:] = [item for item in node if _leads_to(item) in ("", *uids)]
        for item in node:
            _unlink(item, uids)
    elif isinstance(node, dict):
        for item in node.values():
            _unlink(item, uids)


def _leads_to(node: Any) -> str:
    """Return the uid of the dashboard that a link leads to."""
    match = _DASHBOARD_URL.fullmatch(str(node.get("url", ""))) if isinstance(node, dict) else None
    return match[1] if match else ""


def _set_runbooks(data: dict[str, Any], runbooks_url: str) -> None:
    """Give the hidden variable its value, or take it out where there are no runbooks."""
    listed = data.get("templating", {}).get("list", [])
    kept = []
    for item in listed:
        if item.get("name") == RUNBOOKS_VARIABLE:
            if not runbooks_url:
                continue
            base = runbooks_url.split("{alert}")[0].rstrip("/")
            item["query"] = base
            item["current"] = {"text": base, "value": base, "selected": True}
            item["options"] = [item["current"]]
        kept.append(item)
    if listed:
        data["templating"]["list"] = kept


def render(data: Mapping[str, Any]) -> str:
    """Return the JSON of a file: compact, but with line breaks, so that a difference can be read."""
    return json.dumps(data, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n"


def files(
    items: Sequence[Mapping[str, Any]],
    components: Collection[str],
    alerts: Iterable[Alert],
    runbooks_url: str,
    ours: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, str]]:
    """Return path and content of each dashboard's file; raise DashboardError where `check` finds something wrong."""
    own = shipped() if ours is None else ours
    wrong = check(items, None, own)
    if wrong:
        raise DashboardError("; ".join(wrong))
    every = tuple(alerts)
    deployed = [(folder, name, data) for folder, name, data in chosen(items, own) if wanted(data, components)]
    uids = {str(data["uid"]) for _folder, _name, data in deployed}
    return [
        {"path": f"dashboards/{folder}/{name}.json", "content": render(fill(data, every, runbooks_url, uids))}
        for folder, name, data in deployed
    ]
