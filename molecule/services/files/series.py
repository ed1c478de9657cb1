"""Asks a live Prometheus whether every series that a rule reads is there.

The words excuse what this scenario has nobody for: a selection, a metric or (with a `*` at the end) how its name
begins. Why that is so is said where they are given.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator

API = "http://127.0.0.1:9090/api/v1"


def ask(path: str, **parameters: str) -> object:
    """Return the data of an answer."""
    with urllib.request.urlopen(f"{API}/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]


def selectors(node: object) -> Iterator[tuple[str, str]]:
    """Yield metric and selector of everything that a parsed expression reads."""
    if isinstance(node, list):
        for item in node:
            yield from selectors(item)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            # Offsets and times aside: the question is whether anybody exposes it at all.
            matchers = ", ".join(
                f"{item['name']}{item['type']}{json.dumps(item['value'])}" for item in node["matchers"]
            )
            yield node["name"], f"{{{matchers}}}"
        for item in node.values():
            yield from selectors(item)


def excuse(metric: str, selector: str, excused: list[str]) -> str:
    """Return the word that excuses a selection, or nothing."""
    for word in excused:
        if word in (metric, selector) or (word.endswith("*") and metric.startswith(word[:-1])):
            return word
    return ""


def main() -> None:
    """Compare."""
    excused = sys.argv[1:]
    read, broken = {}, []
    for group in ask("rules")["groups"]:
        for rule in group["rules"]:
            read[rule["query"]] = rule["name"]
            if rule["health"] != "ok":
                broken.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
    wanted = {}
    for query, reader in read.items():
        for metric, selector in selectors(ask("parse_query", query=query)):
            wanted.setdefault((metric, selector), reader)
    there = {key for key in wanted if ask("query", query=f"count({key[1]})")["result"]}
    missing = {
        selector: reader
        for (metric, selector), reader in wanted.items()
        if not excuse(metric, selector, excused) and (metric, selector) not in there
    }
    unneeded = {excuse(metric, selector, excused) for metric, selector in there} - {""}
    print(f"{len(read)} expressions read {len(wanted)} selections; {len(there)} are there; excused: {sorted(excused)}")
    if missing or broken or unneeded or len(wanted) < 100:
        sys.exit(f"missing: {missing}\nnot evaluated: {broken}\nexcused, but there: {sorted(unneeded)}")


if __name__ == "__main__":
    main()
