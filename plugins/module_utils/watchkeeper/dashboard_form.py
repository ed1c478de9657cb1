"""What is wrong with the JSON of one dashboard: Grafana takes the classic form, and says little about any other.

Used on managed hosts too, so nothing here needs more than Python.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")

_V2_KEYS = ("elements", "layout")
_RESOURCE_KEYS = ("apiVersion", "kind", "metadata", "spec")
_ANGULAR_PANELS = {
    "graph": "timeseries",
    "singlestat": "stat",
    "table-old": "table",
    "grafana-piechart-panel": "piechart",
    "grafana-worldmap-panel": "geomap",
}
_BUILT_IN_SOURCES = ("grafana", "-- Grafana --", "-- Mixed --", "-- Dashboard --")
_CLASSIC = (
    "Grafana provisions the classic form only, with title, uid and panels at the top; it is what the key 'dashboard' "
    "holds in the answer of /api/dashboards/uid/<uid>"
)
_VARIABLE_REFERENCE = re.compile(r"\$\{(\w+)(?::[^}]*)?\}|\$(\w+)|\[\[(\w+)\]\]")


def problems(data: object, known_uids: Collection[str] | None, where: str) -> list[str]:
    """Return one sentence for each thing that is wrong with a dashboard.

    `known_uids` are the uids and names of the data sources that Grafana has; None leaves that question out. `where`
    names the dashboard at the beginning of each sentence.
    """
    wrong = _wrong_form(data)
    if wrong or not isinstance(data, Mapping):
        return [f"{where}: {wrong}"]
    found = []
    if not isinstance(data.get("title"), str) or not data["title"].strip():
        found.append("has no title, which Grafana requires")
    uid = data.get("uid")
    if not isinstance(uid, str) or not uid:
        found.append("has no uid; without a fixed one it is another dashboard, under another address, in each Grafana")
    elif not UID.fullmatch(uid):
        found.append(f"the uid {uid!r} is not allowed; it must be 1 to 40 letters, digits, - and _")
    if data.get("id") is not None:
        found.append(f"has the id {data['id']!r}, which belongs to one Grafana's database; leave the key out")
    if data.get("__inputs"):
        names = ", ".join(f"${{{item.get('name')}}}" for item in _mappings(data["__inputs"]))
        found.append(
            f"is an export for sharing: nobody fills in its __inputs; replace {names or 'them'} by the uid of a data "
            "source, and remove the key"
        )
    found += _wrong_panels(data)
    found += _wrong_sources(data, known_uids)
    return [f"{where}: {text}" for text in dict.fromkeys(found)]


def _wrong_form(data: object) -> str:
    """Return why this is no classic dashboard at all, or nothing."""
    if not isinstance(data, Mapping):
        return f"must be a JSON object, not {_kind(data)}"
    if isinstance(data.get("dashboard"), Mapping) and "panels" not in data:
        return "is wrapped in an API envelope ({\"dashboard\": …}); leave only what the key 'dashboard' holds"
    spec = data.get("spec")
    inner = spec if isinstance(spec, Mapping) else {}
    v2 = [key for key in _V2_KEYS if key in data or key in inner]
    version = str(data.get("apiVersion", ""))
    if v2 or "/v2" in version or version.startswith("v2"):
        shown = f"the key {v2[0]!r}" if v2 else f"apiVersion {version!r}"
        return f"is in schema v2 (it has {shown}); {_CLASSIC}"
    resource = [key for key in _RESOURCE_KEYS if key in data]
    if resource:
        return f"is a resource of Grafana's API (it has the key {resource[0]!r}); {_CLASSIC}"
    return ""


def _kind(value: object) -> str:
    names = {type(None): "null", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def panels(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every panel of a dashboard, rows and what is inside of collapsed ones included."""
    for panel in _mappings(data.get("panels")):
        yield panel
        yield from panels(panel)
    # Dashboards from before 2018 have their panels in rows.
    for row in _mappings(data.get("rows")):
        yield from panels(row)


def _named(panel: Mapping[str, Any]) -> str:
    return f"panel {panel.get('title') or panel.get('id') or 'without title'!r}"


def _wrong_panels(data: Mapping[str, Any]) -> list[str]:
    found = []
    seen: dict[int, str] = {}
    for panel in panels(data):
        name = _named(panel)
        number = panel.get("id")
        if isinstance(number, int):
            if number in seen:
                found.append(f"{name} has the id {number}, which {seen[number]} has")
            seen.setdefault(number, name)
        kind = panel.get("type")
        if kind in _ANGULAR_PANELS:
            found.append(
                f"{name} is of type {kind!r}, which went with AngularJS in Grafana 12; use {_ANGULAR_PANELS[kind]!r}"
            )
        taken: set[str] = set()
        for target in _mappings(panel.get("targets")):
            reference = target.get("refId")
            if not isinstance(reference, str) or not reference:
                found.append(f"{name} has a query without refId")
            elif reference in taken:
                found.append(f"{name} has two queries with the refId {reference!r}")
            else:
                taken.add(reference)
    return found


def sources(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of everything that names a data source; the value is as it stands in the JSON."""
    for panel in panels(data):
        yield _named(panel), panel.get("datasource")
        for target in _mappings(panel.get("targets")):
            yield _named(panel), target.get("datasource")
    for title, key in (("variable", "templating"), ("annotation", "annotations")):
        listed = data.get(key)
        for item in _mappings(listed.get("list") if isinstance(listed, Mapping) else None):
            yield f"{title} {item.get('name')!r}", item.get("datasource")


def _wrong_sources(data: Mapping[str, Any], known_uids: Collection[str] | None) -> list[str]:
    templating = data.get("templating")
    variables = (
        {str(item.get("name")) for item in _mappings(templating.get("list"))}
        if isinstance(templating, Mapping)
        else set()
    )
    inputs = {str(item.get("name")) for item in _mappings(data.get("__inputs"))}
    found = []
    for place, source in sources(data):
        # A name instead of an object is the form of old dashboards; nothing is the default source.
        uid = source.get("uid") if isinstance(source, Mapping) else source
        if uid is None or uid == "" or uid in _BUILT_IN_SOURCES:
            continue
        if not isinstance(uid, str):
            found.append(f"{place} names a data source by {uid!r}, which is no text")
            continue
        reference = _VARIABLE_REFERENCE.fullmatch(uid)
        if reference:
            name = next(part for part in reference.groups() if part)
            if name not in variables | inputs:
                found.append(f"{place} reads the data source {uid}, but the dashboard has no variable {name!r}")
        elif known_uids is not None and uid not in known_uids:
            found.append(
                f"{place} reads the data source {uid!r}, which is unknown; known: {', '.join(sorted(known_uids))}"
            )
    return found
