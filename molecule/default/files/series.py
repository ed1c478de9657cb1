"""Asks a live Prometheus whether every series that a rule reads is exposed by somebody.

Words: metrics that this scenario has nobody for, and why that is so is said where they are given.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request

API = "http://127.0.0.1:9090/api/v1"
METRIC = re.compile(
    r"(?<![\w:])((?:up|probe_\w+|node_\w+|prometheus_\w+|alertmanager_\w+|blackbox_\w+|watchkeeper_\w+))(?=\s*[{\[\s)]|$)"
)


def ask(path: str) -> object:
    """Return the data of an answer."""
    with urllib.request.urlopen(f"{API}/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


def main() -> None:
    """Compare."""
    excused = set(sys.argv[1:])
    known = set(ask("label/__name__/values"))
    missing, read, broken = {}, set(), []
    for group in ask("rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                broken.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
            names = set(METRIC.findall(rule["query"]))
            read |= names
            for name in names - known - excused:
                missing.setdefault(name, []).append(rule["name"])
    print(
        f"{len(read)} metrics are read by the rules, {len(read & known)} of them are there; excused: {sorted(excused)}"
    )
    unneeded = excused & known
    if missing or broken or unneeded or len(read) < 20:
        sys.exit(f"missing: {missing}; not evaluated: {broken}; excused, but there: {sorted(unneeded)}")


if __name__ == "__main__":
    main()
