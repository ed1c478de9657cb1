"""Filters of the role `uptime` and of `playbooks/maintenance.yml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper import uptime

DOCUMENTATION = r"""
name: uptime_monitors
short_description: The monitors at UptimeRobot from the role's variables
description:
  - Turns the public variables of the role C(uptime) into monitors as the module C(uptimerobot_monitor) takes them.
positional: _input, plan
options:
  _input:
    description: The role's variables by their full names.
    type: dict
    required: true
  plan:
    description: Label of the account's plan.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Read the names
  ansible.builtin.debug:
    msg: "{{ lookup('watchkeeper', 'variables', 'uptime') | uptime_monitors | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The monitors.
  type: list
  elements: dict
"""


def uptime_monitors(settings: dict[str, Any], plan: str = "") -> list[dict[str, Any]]:
    """The monitors that the role declares."""
    return uptime.monitors(settings, plan)


class FilterModule:
    """Names the filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "uptime_affected": uptime.affected,
            "uptime_contacts": uptime.contacts,
            "uptime_in_use": uptime.in_use,
            "uptime_monitors": uptime_monitors,
            "uptime_names": uptime.names,
            "uptime_start": uptime.start_of,
        }
