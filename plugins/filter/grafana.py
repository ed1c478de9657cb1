"""Filters of the role `grafana`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper.grafana_config import datasources, render

DOCUMENTATION = r"""
name: grafana_config
short_description: Grafana's configuration from the role's variables
description:
  - Turns the public variables of the role C(grafana) into what the host gets.
positional: _input, dashboards
options:
  _input:
    description: The role's variables by their full names.
    type: dict
    required: true
  dashboards:
    description: The files of the dashboards, each with C(path) and C(content).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Read the names of the files
  ansible.builtin.debug:
    msg: "{{ (lookup('watchkeeper', 'variables', 'grafana') | grafana_config).files | map(attribute='path') }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(secrets), C(generate) and C(start_secrets) are the arguments of these names for the C(component) task.
  type: dict
"""


def grafana_config(values: Mapping[str, Any], dashboards: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The rendered configuration as plain data."""
    return dict(vars(render(values, dashboards)))


def grafana_datasources(values: Mapping[str, Any], health: bool = False) -> list[dict[str, Any]]:
    """The data sources in the form of the module; with `health` the project's own must answer."""
    return datasources(values, health)


class FilterModule:
    """Names the filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"grafana_config": grafana_config, "grafana_datasources": grafana_datasources}
