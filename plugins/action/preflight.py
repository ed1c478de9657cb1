"""Everything that can be wrong with a host's variables, found on the controller before anything changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml
from ansible.errors import AnsibleActionFail, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper import component_checks, log_sources, receivers, validation
from ansible.module_utils.watchkeeper.alerts import AlertError
from ansible.module_utils.watchkeeper.catalogue import CatalogueError, Project, load_lock
from ansible.module_utils.watchkeeper.prices import PRICE_RULES
from ansible.module_utils.watchkeeper.scrape import PING_JOB, PROBE_JOB, TARGET_RULES, alert_rules
from ansible.module_utils.watchkeeper.settings import documented

# Ansible imports plugins before it forks a worker for each host: what is read here is read once.
PROJECT = Project.load(ROOT)

SHARED_ROLE = "watchkeeper"


# Variables that are no longer read, with their successors.
RENAMED = yaml.safe_load((ROOT / "files" / "renamed.yml").read_text(encoding="utf-8")) or {}

for _role in (SHARED_ROLE, *PROJECT.components):
    documented(ROOT, _role)
load_lock(ROOT)


def holds_secret(option: dict[str, Any]) -> bool:
    """Tell whether a variable is, or has somewhere inside, a secret."""
    return bool(option.get("no_log")) or any(map(holds_secret, option.get("options", {}).values()))


def as_spec(option: dict[str, Any]) -> dict[str, Any]:
    """Return a documented option in the form in which Ansible validates."""
    spec = {key: value for key, value in option.items() if key not in ("description", "default", "options", "no_log")}
    # What may hold a secret is judged by the role's own code, which never shows one.
    if "options" in option and not holds_secret(option):
        spec["options"] = {name: as_spec(inner) for name, inner in option["options"].items()}
    return spec


class ActionModule(ActionBase):
    """Check the host's variables and return its components in the order of a rollout.

    Those in `early` go first, on all hosts; the others are in `later`.
    """

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with every problem at once, or return `components` and `warnings`."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        values, mistyped = self._values(SHARED_ROLE, variables)
        mapping = values.get("watchkeeper_groups")
        problems = validation.check_groups(PROJECT, variables["groups"], mapping) if isinstance(mapping, dict) else []
        # Without it nobody can tell which components, and so which variables, are this host's.
        if not isinstance(mapping, dict) or not all(isinstance(group, str) for group in mapping.values()):
            raise AnsibleActionFail(self._report(problems + mistyped))
        components = PROJECT.components_of(variables["group_names"], mapping)
        for component in components:
            own, wrong = self._values(component, variables)
            mistyped += wrong
            values.update(own)
        roles = (SHARED_ROLE, *PROJECT.components)
        known = {name for role in roles for name in documented(ROOT, role)}
        problems += validation.check_tags(variables.get("ansible_run_tags") or [], PROJECT.components)
        problems += validation.check_names(variables, known, roles, RENAMED) + mistyped
        warnings: list[str] = []
        if not mistyped:
            wrong, warnings = self._meaning(components, values)
            unread, notes = self._logs(components, values, variables)
            problems += wrong + unread
            warnings += notes
        if problems:
            raise AnsibleActionFail(self._report(problems))
        chosen = self._chosen(components, variables)
        early = [name for name in chosen if PROJECT.entry(name).early]
        later = [name for name in chosen if name not in early]
        return {"changed": False, "components": chosen, "early": early, "later": later, "notes": warnings}

    def _values(self, role: str, variables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the role's variables as its tasks will see them, and what is wrong with each by itself."""
        path = str(ROOT / "roles" / role / "defaults" / "main.yml")
        defaults = self._loader.load_from_file(path, trusted_as_template=True) or {}
        templar = self._templar.copy_with_new_env(available_variables={**defaults, **variables})
        values: dict[str, Any] = {}
        problems = []
        for name in documented(ROOT, role):
            if name in variables or name in defaults:
                try:
                    values[name] = templar.template(variables[name] if name in variables else defaults[name])
                except AnsibleUndefinedVariable as error:
                    problems.append(f"{name} needs a variable that is not set: {error.message}; {validation.WHERE}")
        return values, problems + self._typed(role, values)

    @staticmethod
    def _typed(role: str, values: dict[str, Any]) -> list[str]:
        """Check types, choices and formats; put converted values back."""
        problems = []
        for name, option in documented(ROOT, role).items():
            if name not in values:
                continue
            hidden = holds_secret(option)
            result = ArgumentSpecValidator({name: as_spec(option)}).validate({name: values[name]})
            if result.error_messages:
                allowed = f"of type {option.get('type', 'str')}"
                if "choices" in option:
                    allowed = f"one of {', '.join(option['choices'])}"
                detail = "" if hidden else f" ({'; '.join(result.error_messages)})"
                problems.append(validation.problem(name, values[name], allowed, hidden) + detail)
                continue
            # Lists and mappings stay as they are: the validator adds an empty value for every option left out.
            if option.get("type", "str") not in ("list", "dict"):
                values[name] = result.validated_parameters[name]
            wrong = validation.check_format(name, values[name], option)
            problems += [wrong] if wrong else []
        return problems

    def _meaning(self, components: list[str], values: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Check what only the values together can tell."""
        own_ports = dict(values)
        if values["watchkeeper_error_tracker"] != "self_hosted":
            own_ports.pop("sentry_self_hosted_port", None)
        problems = validation.check_ports(components, own_ports)
        problems += validation.check_labels("watchkeeper_labels", values["watchkeeper_labels"])
        warnings: list[str] = []
        for component in components:
            if PROJECT.entry(component).kind != "host" and values[f"{component}_state"] != "absent":
                try:
                    PROJECT.artefact(component, values[f"{component}_version"], values)
                except CatalogueError as error:
                    problems.append(str(error))
        for name in values["watchkeeper_allow_unpinned"]:
            try:
                PROJECT.entry(name)
            except CatalogueError as error:
                problems.append(f"watchkeeper_allow_unpinned: {error}")
        if "prometheus" in components:
            own = dict.fromkeys(job for entry in PROJECT.components.values() for job in entry.jobs)
            jobs = [*own, PING_JOB, PROBE_JOB]
            problems += validation.check_slos(values, jobs)
            rules = [TARGET_RULES, PRICE_RULES]
            try:
                rules += alert_rules(PROJECT, values)
            except AlertError as error:
                problems.append(str(error))
            problems += validation.check_prometheus(values, jobs, rules)
        if "blackbox_exporter" in components:
            own = self._loader.load_from_file(str(ROOT / "roles/blackbox_exporter/vars/main.yml"))
            modules = {**own["__blackbox_exporter_modules"], **values["blackbox_exporter_modules"]}
            problems += validation.check_probes(values["watchkeeper_probes"], modules)
        for component, check in component_checks.CHECKS.items():
            if component in components and values[f"{component}_state"] != "absent":
                problems += check(values, documented(ROOT, component))
        if "alertmanager" in components and values.get("alertmanager_state") != "absent":
            try:
                warnings += receivers.render(values).warnings
            except receivers.ReceiverError as error:
                problems.append(str(error))
        return problems, warnings

    @staticmethod
    def _logs(components: list[str], values: dict[str, Any], variables: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Check the sources of a host's logs, where an agent is to read them."""
        agent = values["watchkeeper_log_agent"]
        if agent not in components or values.get(f"{agent}_state") == "absent":
            return [], []
        url = log_sources.push_url(
            PROJECT,
            variables["inventory_hostname"],
            variables["groups"],
            variables["hostvars"],
            values["watchkeeper_groups"],
        )
        logs = log_sources.variables_of(values, variables["inventory_hostname"], url)
        # Where data lies that must not be read.
        logs.update({name: values[name] for name in values if name.endswith("_data_dir")})
        wrong = log_sources.problems(logs)
        return wrong, [] if wrong else log_sources.warnings(logs)

    @staticmethod
    def _report(problems: list[str]) -> str:
        unique = list(dict.fromkeys(problems))
        if len(unique) == 1:
            return unique[0]
        return "\n".join(
            [f"{len(unique)} things are wrong; nothing has been changed:", *(f"- {item}" for item in unique)]
        )

    @staticmethod
    def _chosen(components: list[str], variables: dict[str, Any]) -> list[str]:
        """Return the components that --tags and --skip-tags leave; a component's name is its tag."""
        wanted = set(variables.get("ansible_run_tags") or ["all"])
        skipped = set(variables.get("ansible_skip_tags") or [])
        everything = bool(wanted & {"all", "tagged"})
        return [name for name in components if (everything or name in wanted) and name not in skipped]
