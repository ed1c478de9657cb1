#!/usr/bin/python
"""Ask Prometheus whether everything that the inventory promised is scraped."""

from __future__ import annotations

DOCUMENTATION = r"""
module: targets
short_description: Wait until every target of Prometheus is up
version_added: "0.1.0"
description:
  - Compares the targets that Prometheus scrapes with the numbers that its own rules expect for each job, and waits
    until all are there and up.
options:
  port:
    description: Port of Prometheus on this host.
    type: int
    default: 9090
  address:
    description: Address of Prometheus on this host.
    type: str
    default: 127.0.0.1
  timeout:
    description: Seconds to wait.
    type: int
    default: 90
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It only reads.
    support: full
"""

EXAMPLES = r"""
- name: Wait until every target is up
  targets:
    timeout: 60
"""

RETURN = r"""
jobs:
  description: Number of targets that are up, by job.
  returned: success
  type: dict
"""

import json
import re
import time
from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.probe import http_get

EXPECTED = "watchkeeper_targets_expected"


def ask(base: str, path: str) -> Any:
    """Return the data of one API answer."""
    status, body = http_get(f"{base}/api/v1/{path}")
    if status != 200:
        raise OSError(f"{base}/api/v1/{path} answered {status}")
    return json.loads(body)["data"]


def look(base: str) -> tuple[dict[str, int], list[str]]:
    """Return the number of healthy targets by job, and a sentence for each that is missing or down."""
    expected = {}
    for group in ask(base, "rules?type=record")["groups"]:
        for rule in group["rules"]:
            number = re.fullmatch(r"vector\((\d+)\)", rule["query"])
            if rule["name"] == EXPECTED and number:
                expected[rule["labels"]["job"]] = int(number.group(1))
    active = ask(base, "targets?state=active")["activeTargets"]
    found = Counter(target["labels"]["job"] for target in active)
    healthy = Counter(target["labels"]["job"] for target in active if target["health"] == "up")
    # A job of the user's own may be down for reasons that this run has nothing to do with.
    wrong = [
        f"{labels['job']} on {labels.get('instance', '?')}: {target['lastError'] or 'not scraped yet'}"
        for target in active
        if (labels := target["labels"])["job"] in expected and target["health"] != "up"
    ]
    wrong += [
        f"{job}: {found[job]} of {number} targets are known to Prometheus"
        for job, number in expected.items()
        if found[job] != number
    ]
    return dict(healthy), sorted(wrong)


def main() -> None:
    """Wait, then tell."""
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "default": 9090},
            "address": {"type": "str", "default": "127.0.0.1"},
            "timeout": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    base = f"http://{module.params['address']}:{module.params['port']}"
    deadline = time.monotonic() + module.params["timeout"]
    while True:
        try:
            healthy, wrong = look(base)
        except (OSError, ValueError, KeyError) as error:
            healthy, wrong = {}, [f"Prometheus gave no answer: {error}"]
        if not wrong:
            module.exit_json(changed=False, jobs=healthy)
        if time.monotonic() > deadline:
            module.fail_json(msg="not every target is up:\n" + "\n".join(f"- {item}" for item in wrong), jobs=healthy)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
