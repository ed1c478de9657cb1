"""Filters of the roles `loki`, `promtail` and `alloy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleFilterError

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper import alloy_config as alloy
from ansible.module_utils.watchkeeper import loki_config as loki
from ansible.module_utils.watchkeeper import promtail_config as promtail
from ansible.module_utils.watchkeeper.log_sources import LogSourceError, Plan, plan

DOCUMENTATION = r"""
name: alloy_config
short_description: Alloy's configuration from the declared sources of logs
description:
  - Turns the settings about logs and the public variables of the role C(alloy) into what the host gets.
  - Fails with the name of the variable, what is allowed and where to set it. A secret is never part of the message.
positional: _input, values
options:
  _input:
    description: The settings about logs, as C(lookup('watchkeeper', 'logs')) gives them.
    type: dict
    required: true
  values:
    description: The role's variables by their full names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the names of the files
  ansible.builtin.debug:
    msg: >-
      {{ (lookup('watchkeeper', 'logs') | alloy_config(lookup('watchkeeper', 'variables', 'alloy'))).files
         | map(attribute='path') }}
"""

RETURN = r"""
_value:
  description:
    - What the role hands to its C(component) task, C(files) and C(secrets) among it.
  type: dict
"""


def _plain(value: Any) -> Any:
    """Return data without Ansible's own kinds of texts and numbers, which YAML does not know."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def _plan(logs: Mapping[str, Any]) -> Plan:
    try:
        return plan(_plain(logs))
    except LogSourceError as error:
        raise AnsibleFilterError(str(error)) from None


def alloy_config(logs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What Alloy gets, as plain data."""
    return dict(vars(alloy.render(_plan(logs), _plain(values))))


def promtail_config(logs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What Promtail gets, as plain data."""
    return dict(vars(promtail.render(_plan(logs), _plain(values))))


def loki_config(values: Mapping[str, Any], rules: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What Loki gets, as plain data; `rules` are the files of its ruler."""
    return dict(vars(loki.render(_plain(values), _plain(rules))))


class FilterModule:
    """Names the filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"alloy_config": alloy_config, "loki_config": loki_config, "promtail_config": promtail_config}
