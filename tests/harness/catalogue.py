"""What the harness asks the catalogue (files/components.yml).

``catalogue.py ports`` prints the ports to publish on the loopback address, as a JSON list for Docker.
``catalogue.py reachable`` succeeds when a release archive can be downloaded from upstream here.
``catalogue.py missing VARIABLES INVENTORY`` names what the hosts of an inventory would have, were it in the mirror that
mirror.py has printed these variables for.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import requests
import yaml

CATALOGUE = Path(__file__).resolve().parents[2] / "files" / "components.yml"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def missing(variables: str, inventory: str) -> str:
    """Return the titles of what the inventory's groups ask for and the mirror has not."""
    known = yaml.safe_load(Path(variables).read_text(encoding="utf-8"))
    groups = {"nodes", *yaml.safe_load(Path(inventory).read_text(encoding="utf-8"))["all"]["children"]}
    entries = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    absent = {name: entries[name] for name in known.get("test_mirror_missing", []) if entries[name]["group"] in groups}
    # One that nothing would choose is not missed.
    missed = [entry["title"] for entry in absent.values() if entry.get("chosen_by") in (None, *known)]
    return ", ".join(missed)


def main(question: str, *arguments: str) -> None:
    """Answer one question."""
    entries = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8")).values()
    if question == "ports":
        ports = [entry["port"] for entry in entries if "port" in entry]
        print(json.dumps([f"127.0.0.1:{port}:{port}" for port in ports]))
    elif question == "reachable":
        entry = next(entry for entry in entries if entry["kind"] == "archive")
        url = entry["url"].format(version=entry["version"], arch=ARCHITECTURES[platform.machine()])
        try:
            requests.head(url, allow_redirects=True, timeout=5).raise_for_status()
        except requests.RequestException:
            sys.exit(1)
    elif question == "missing" and len(arguments) == 2:
        print(missing(*arguments))
    else:
        sys.exit("usage: catalogue.py ports|reachable|missing VARIABLES INVENTORY")


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
