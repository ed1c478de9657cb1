"""Asks a live Prometheus every question of every panel of the deployed dashboards, as Grafana would.

What is asked of Loki is left out. Variables get the values that Prometheus has for them, at first sight: all. A panel
that gets nothing, only NaN, more series than it can show, or an error is reported. The words excuse what this scenario
has nobody for: a panel (`Redis/Replication`), a metric, or how a metric's name begins (`container_*`); why that is so
is said where they are given. An excuse that is not needed is an error, unless it ends with `?`: such a panel may be
empty or not.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOYED = Path("/etc/watchkeeper/grafana/current/config/dashboards")
API = "http://127.0.0.1:9090/api/v1"
SCRAPE_SECONDS = 15
RANGE_SECONDS = 300
# More curves or bars than this are not told apart.
MOST_SERIES = 40
DRAWN = ("timeseries", "stat", "bargauge", "state-timeline")

REFERENCE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]")
LABEL_VALUES = re.compile(r"label_values\(\s*(?:(?P<series>.+),\s*)?(?P<label>[A-Za-z_]\w*)\s*\)")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

Ask = Callable[..., Any]


class PanelError(Exception):
    """What Prometheus, or Grafana in its place, would answer instead of data."""


@dataclass(frozen=True)
class Question:
    """One query of a panel, or (without a type) of an annotation."""

    dashboard: str
    panel: str
    kind: str
    reference: str
    expression: str
    instant: bool
    interval: float

    @property
    def name(self) -> str:
        """Name of its panel, as an excuse writes it."""
        return f"{self.dashboard}/{self.panel}"


def asker(api: str) -> Ask:
    """Return a function that asks the API and returns the data of its answer."""

    def ask(path: str, **parameters: Any) -> Any:
        url = f"{api}/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            # Before Prometheus is ready it answers with a sentence.
            raise PanelError(json.loads(text)["error"] if text.startswith("{") else text.strip()) from error

    return ask


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all dashboards below a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]


def panels(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels of a dashboard, with those in folded rows."""
    for panel in node.get("panels", []):
        if panel["type"] != "row":
            yield panel
        yield from panels(panel)


def seconds(interval: str) -> float:
    """Return a lower limit of an interval, such as `1m`, in seconds."""
    match = re.fullmatch(r">?(\d+)(ms|s|m|h|d)", interval)
    return int(match[1]) * UNITS[match[2]] if match else SCRAPE_SECONDS


def of_prometheus(source: dict[str, Any] | None) -> bool:
    """Tell whether Prometheus is asked: it is by default."""
    return (source or {}).get("type", "prometheus") == "prometheus"


def questions(dashboard: dict[str, Any]) -> Iterator[Question]:
    """Yield what a dashboard asks Prometheus: for its panels, and for the marks on them."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            if of_prometheus(target.get("datasource") or panel.get("datasource")):
                yield Question(
                    dashboard["title"],
                    panel["title"],
                    panel["type"],
                    target["refId"],
                    target["expr"],
                    bool(target.get("instant")),
                    seconds(target.get("interval") or panel.get("interval") or ""),
                )
    for mark in dashboard.get("annotations", {}).get("list", []):
        asked = {**mark, **(mark.get("target") or {})}
        if "expr" in asked:
            step = seconds(asked.get("interval") or asked.get("step") or "")
            yield Question(dashboard["title"], mark["name"], "", "", asked["expr"], False, step)


def built_in(interval: float, length: float) -> dict[str, str]:
    """Return Grafana's own variables; a rate needs at least four scrapes."""
    rate = max(interval + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)
    return {
        "__interval": f"{interval:g}s",
        "__interval_ms": f"{1000 * interval:g}",
        "__rate_interval": f"{rate:g}s",
        "__range": f"{length:g}s",
        "__range_s": f"{length:g}",
        "__range_ms": f"{1000 * length:g}",
    }


def interpolate(text: str, values: dict[str, str]) -> str:
    """Return a text with its variables replaced. `$1` is no variable but a part of label_replace()."""

    def value(match: re.Match[str]) -> str:
        name = next(part for part in match.groups() if part)
        if name.isdigit():
            return match[0]
        if name not in values:
            raise PanelError(f"there is no variable {name!r}")
        return values[name]

    return REFERENCE.sub(value, text)


def choices(
    dashboard: dict[str, Any], ask: Ask, length: float = RANGE_SECONDS, now: float = 0
) -> tuple[dict[str, str], list[Question]]:
    """Return what stands for each variable when a dashboard is opened, and the variables that have no values."""
    values = built_in(SCRAPE_SECONDS, length)
    barren = []
    for variable in dashboard.get("templating", {}).get("list", []):
        name = variable["name"]
        if variable["type"] == "query" and not of_prometheus(variable.get("datasource")):
            values[name] = variable.get("allValue") or ".*"
        elif variable["type"] == "query":
            query = variable["query"]
            text = query["query"] if isinstance(query, dict) else query
            found = _label_values(interpolate(text, values), ask, length, now or time.time())
            if wanted := variable.get("regex"):
                found = [value for value in found if re.search(wanted.strip("/"), value)]
            if not found:
                barren.append(Question(dashboard["title"], f"${name}", "variable", "", text, False, 0))
            values[name] = _chosen(variable, found)
        elif variable["type"] in ("constant", "textbox", "datasource", "custom", "interval"):
            current = variable.get("current", {}).get("value") or variable.get("query") or ""
            values[name] = current if isinstance(current, str) else "|".join(current)
        else:
            raise PanelError(f"variables of type {variable['type']!r} are not known here")
    return values, barren


def _label_values(text: str, ask: Ask, length: float, now: float) -> list[str]:
    match = LABEL_VALUES.fullmatch(text)
    if not match:
        raise PanelError(f"{text!r} is no question for the values of a label")
    selector = {"match[]": match["series"]} if match["series"] else {}
    return list(ask(f"label/{match['label']}/values", start=now - length, end=now, **selector))


def _chosen(variable: dict[str, Any], found: list[str]) -> str:
    if variable.get("includeAll"):
        # An own value for all is taken as it is.
        return variable.get("allValue") or f"({'|'.join(map(re.escape, found))})"
    return re.escape(found[0]) if found and variable.get("multi") else "".join(found[:1])


def answer(
    question: Question, ask: Ask, values: dict[str, str], length: float = RANGE_SECONDS, now: float = 0
) -> list[Any]:
    """Return the series that a panel gets at a moment (the present one unless given), over a time before it."""
    expression = interpolate(question.expression, {**values, **built_in(question.interval, length)})
    now = now or time.time()
    if question.instant:
        return list(ask("query", query=expression, time=now)["result"])
    # Prometheus gives at most 11000 points; Grafana asks for as many as there are pixels.
    step = max(question.interval, length / 1000)
    return list(ask("query_range", query=expression, start=now - length, end=now, step=step)["result"])


def numbers(series: dict[str, Any]) -> list[float]:
    """Return all values of a series."""
    return [float(value) for _time, value in (series.get("values") or [series["value"]])]


def verdict(question: Question, ask: Ask, values: dict[str, str]) -> str:
    """Return what is wrong with the answer to a question, or nothing."""
    if question.kind == "variable":
        return "has no values"
    try:
        found = answer(question, ask, values)
    except PanelError as error:
        return f"error: {error}"
    if not question.kind:
        return ""
    if not found:
        return "empty"
    if all(math.isnan(number) for series in found for number in numbers(series)):
        return "only NaN"
    if question.kind in DRAWN and len(found) > MOST_SERIES:
        return f"{len(found)} series, which nobody can tell apart"
    return ""


def excuses(word: str, question: Question) -> bool:
    """Tell whether a word excuses a question: by its panel, or by a metric that it reads."""
    word = word.removesuffix("?")
    if "/" in word:
        return word == question.name
    metric = re.escape(word[:-1]) + r"\w*" if word.endswith("*") else re.escape(word)
    return bool(re.search(rf"(?<![\w:]){metric}(?![\w:])", question.expression))


def main(arguments: list[str]) -> str:
    """Ask, and return what is wrong."""
    parser = argparse.ArgumentParser(description="Whether every panel of every deployed dashboard has data.")
    parser.add_argument("--dashboards", type=Path, default=DEPLOYED)
    parser.add_argument("--prometheus", default=API, help="address of its API")
    parser.add_argument("excused", nargs="*")
    options = parser.parse_args(arguments)
    ask = asker(options.prometheus)
    every, wrong, needed = 0, [], set()
    found = read(options.dashboards)
    for dashboard in found:
        asked = list(questions(dashboard))
        every += len(asked)
        try:
            values, barren = choices(dashboard, ask)
        except PanelError as error:
            wrong.append(f"{dashboard['title']}: error: {error}")
            continue
        for question in (*barren, *asked):
            said = verdict(question, ask, values)
            words = [word for word in options.excused if excuses(word, question)] if said else []
            needed.update(words)
            if said and not words:
                wrong.append(f"{question.name} {question.reference}: {said}\n    {question.expression}")
    print(f"{len(found)} dashboards ask {every} questions; excused: {sorted(needed)}")
    wrong += [f"excused, but there: {word}" for word in options.excused if word not in needed and word[-1:] != "?"]
    if not every:
        wrong.append(f"no dashboards below {options.dashboards}")
    return "\n".join(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
