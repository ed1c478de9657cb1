"""Filters of the role `alertmanager`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleFilterError

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper.durations import parse_duration
from ansible.module_utils.watchkeeper.receivers import ReceiverError, render

DOCUMENTATION = r"""
name: alertmanager_config
short_description: Alertmanager's configuration from the role's variables
description:
  - Turns the public variables of the role C(alertmanager) into what the host gets.
  - Fails with the name of the variable, what is allowed and where to set it. A secret is never part of the message.
positional: _input
options:
  _input:
    description: The role's variables by their full names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the configuration
  ansible.builtin.set_fact:
    rendered: "{{ {'alertmanager_route_tests': []} | alertmanager_config }}"
"""

RETURN = r"""
_value:
  description:
    - C(config) is the content of C(alertmanager.yml), C(secrets) maps paths to contents, C(checks) lists commands that
      prove a candidate, C(warnings) lists sentences for the closing table, C(unheard) lists receivers that routes use
      although they notify nobody.
  type: dict
"""


def alertmanager_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The rendered configuration as plain data; AnsibleFilterError when a variable cannot be used."""
    try:
        return dict(vars(render(settings)))
    except ReceiverError as error:
        raise AnsibleFilterError(str(error)) from None


def go_duration(text: str) -> str:
    """A duration in Prometheus notation for a flag that knows Go's only, which has no days: 2d becomes 172800000ms."""
    try:
        return f"{round(parse_duration(text) * 1000)}ms"
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """Names the filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"alertmanager_config": alertmanager_config, "go_duration": go_duration}
