"""What the project knows of itself, for the variables of its roles."""

from __future__ import annotations

DOCUMENTATION = r"""
name: watchkeeper
short_description: The catalogue, the settings and what is derived from the inventory
description:
  - The first term says what is wanted, the others go with it.
  - C(component NAME) gives the catalogue's entry of a component.
  - C(hosts COMPONENT) gives the names of the hosts that run a component.
  - C(peers COMPONENT) gives the addresses of the other hosts that run a component.
  - C(setting NAME) gives a C(watchkeeper_*) setting, with its default where the inventory is silent.
  - C(variables ROLE) gives all documented variables of the role that is running.
  - C(dashboards ITEMS) gives the files of Grafana's dashboards, ours and those of C(grafana_dashboards), with the
    thresholds and links of the alerts as they are set.
  - C(logs) gives the settings about logs as the filters C(promtail_config) and C(alloy_config) read them, with the name
    of the host as C(host) and the address of Loki as C(url).
  - C(log_masks) gives what the log agents replace in every line, unless it is changed.
  - C(log_rules) gives path and content of the files of Loki's ruler, with the alerts on logs as they are set.
  - C(tracker) gives the error tracker of the inventory, as the module C(sentry_project) needs it, with its C(kind) and
    the C(host) from which it is asked.
  - C(error_projects) gives the projects that the applications of the inventory need there.
  - C(dsn NAME) gives the DSN of an application, empty where errors are not tracked.
  - C(prometheus CONFIG RULES) gives the files of Prometheus, with jobs and targets from the inventory and the alerts.
options:
  _terms:
    description: What is wanted, and its arguments.
    required: true
author:
  - The Watchkeeper authors
"""

EXAMPLES = r"""
- name: Show the catalogue's version of Prometheus
  ansible.builtin.debug:
    msg: "{{ lookup('watchkeeper', 'component', 'prometheus').version }}"
"""

RETURN = r"""
_raw:
  description: What was asked for.
  type: list
  elements: raw
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper import dashboards, log_masks, log_sources, trackers
from ansible.module_utils.watchkeeper.alerts import AlertError, load_catalogue, log_rule_files
from ansible.module_utils.watchkeeper.catalogue import CatalogueError, Project
from ansible.module_utils.watchkeeper.scrape import (
    address_of,
    alert_rules,
    alerts_as_wanted,
    hosts_of,
    prometheus_files,
    read_fleet,
)
from ansible.module_utils.watchkeeper.settings import documented, read_setting, read_settings

# Ansible imports plugins before it forks a worker for each host: what is read here is read once.
PROJECT = Project.load(ROOT)
LOG_DEFAULTS = str(ROOT / "roles" / "watchkeeper" / "defaults" / "main.yml")


class LookupModule(LookupBase):
    """Answer with what the catalogue, the settings and the inventory say."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return the answer to `terms`."""
        self.set_options(var_options=variables, direct=kwargs)
        wanted, *arguments = terms
        try:
            answer = getattr(self, f"_{wanted}", None)
            if answer is None:
                raise AnsibleLookupError(f"lookup watchkeeper: there is no {wanted!r}")
            found = answer(variables or {}, *arguments)
        except (CatalogueError, AlertError, dashboards.DashboardError) as error:
            raise AnsibleLookupError(str(error)) from error
        return found if isinstance(found, list) else [found]

    def _variables(self, variables: dict[str, Any], role: str) -> dict[str, Any]:
        names = documented(ROOT, role)
        return {name: self._templar.template(variables[name]) for name in names if name in variables}

    def _component(self, _variables: dict[str, Any], name: str) -> dict[str, Any]:
        return asdict(PROJECT.entry(name))

    def _hosts(self, variables: dict[str, Any], name: str) -> list[str]:
        return hosts_of(PROJECT, name, variables["groups"], self._setting(variables, "watchkeeper_groups"))

    def _peers(self, variables: dict[str, Any], name: str) -> list[str]:
        others = [host for host in self._hosts(variables, name) if host != variables["inventory_hostname"]]
        running = [host for host in others if PROJECT.entry(name).wanted(variables["hostvars"][host])]
        found = [address_of(variables["hostvars"][host], host) for host in running]
        return [f"[{address}]" if ":" in address else address for address in found]

    def _setting(self, variables: dict[str, Any], name: str) -> Any:
        return read_setting(ROOT, variables, name, self._templar.template)

    def _dashboards(self, variables: dict[str, Any], items: list[dict[str, Any]]) -> list[dict[str, str]]:
        settings = read_settings(ROOT, variables, self._templar.template)
        groups, hostvars, mapping = variables["groups"], variables["hostvars"], settings["watchkeeper_groups"]
        components = [
            name
            for name, entry in PROJECT.components.items()
            if any(entry.wanted(hostvars[host]) for host in hosts_of(PROJECT, name, groups, mapping))
        ]
        alerts = alerts_as_wanted(load_catalogue(ROOT / "files" / "alerts"), settings)
        return dashboards.files(items, components, alerts, settings["watchkeeper_runbooks_url"])

    def _logs(self, variables: dict[str, Any]) -> dict[str, Any]:
        # Unlike other defaults some of these are templates.
        defaults = self._loader.load_from_file(LOG_DEFAULTS, trusted_as_template=True)
        names = [name for name in defaults if name.startswith("watchkeeper_log_")]
        settings = {name: self._templar.template(variables.get(name, defaults[name])) for name in names}
        mapping = self._setting(variables, "watchkeeper_groups")
        host = variables["inventory_hostname"]
        found = log_sources.push_url(PROJECT, host, variables["groups"], variables["hostvars"], mapping)
        return log_sources.variables_of(settings, host, found)

    def _log_masks(self, _variables: dict[str, Any]) -> list[list[dict[str, str]]]:
        return [[dict(mask) for mask in log_masks.DEFAULTS]]

    def _log_rules(self, variables: dict[str, Any]) -> list[list[dict[str, str]]]:
        settings = read_settings(ROOT, variables, self._templar.template)
        alerts = alerts_as_wanted(load_catalogue(ROOT / "files" / "alerts"), settings)
        return [log_rule_files(alerts, settings["watchkeeper_runbooks_url"])]

    def _inventory(self, variables: dict[str, Any]) -> trackers.Inventory:
        mapping = self._setting(variables, "watchkeeper_groups")
        return trackers.Inventory(PROJECT, variables["groups"], variables["hostvars"], mapping)

    def _tracker(self, variables: dict[str, Any]) -> dict[str, Any]:
        # What a host says is not copied: Ansible renders it when it is read.
        return dict(vars(trackers.find(self._inventory(variables))))

    def _error_projects(self, variables: dict[str, Any]) -> list[dict[str, Any]]:
        inventory = self._inventory(variables)
        return trackers.projects(trackers.find(inventory), trackers.applications(inventory))

    def _dsn(self, variables: dict[str, Any], name: str) -> str:
        made = variables.get("__sentry_made")
        return trackers.dsn(trackers.find(self._inventory(variables)), name, made)

    def _prometheus(self, variables: dict[str, Any], config: dict[str, Any], rules: dict[str, Any]) -> list[list[Any]]:
        settings = read_settings(ROOT, variables, self._templar.template)
        fleet = read_fleet(
            PROJECT,
            variables["inventory_hostname"],
            variables["groups"],
            variables["hostvars"],
            settings["watchkeeper_groups"],
        )
        every_rule = {**alert_rules(PROJECT, settings), **rules}
        return [prometheus_files(PROJECT, fleet, config, settings["watchkeeper_probes"], every_rule)]
