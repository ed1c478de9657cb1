"""From inventory to error tracker: which one there is, how it is asked, and which projects the applications need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalogue import Project, group_of
from .settings import documented

SETTING = "watchkeeper_error_tracker"
KINDS = ("external", "bugsink", "self_hosted")
LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "localhost": "127.0.0.1"}  # noqa: S104 - compared, not bound
# Made on the host by the role, as roles/sentry/tasks/self_hosted.yml says.
SELF_HOSTED_TOKEN = "/var/lib/watchkeeper/sentry/secrets/token"  # noqa: S105 - the path of a file
PAGES = "-browser"


@dataclass(frozen=True)
class Tracker:
    """An error tracker as the module `sentry_project` needs it; without a `url` there is none to be asked.

    `host` is where it is asked from, `localhost` being the controller. `dsns` are given in the inventory.
    """

    kind: str = "none"
    api: str = "sentry"
    host: str = ""
    url: str = ""
    organization: str = ""
    token: str = ""
    token_file: str = ""
    manage: tuple[str, ...] = ()
    validate_certs: bool = True
    ca_path: str = ""
    timeout: int = 30
    team: str = ""
    alert: Mapping[str, Any] = field(default_factory=dict)
    projects: tuple[Mapping[str, Any], ...] = ()
    dsns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """What the functions here read: the groups, every host's variables, and the names of the groups for each part."""

    project: Project
    groups: Mapping[str, list[str]]
    hostvars: Mapping[str, Mapping[str, Any]]
    mapping: Mapping[str, str]

    def running(self, component: str) -> Iterator[str]:
        """Yield the hosts that run a component."""
        entry = self.project.entry(component)
        for host in self.groups.get(group_of(entry.group, self.mapping), []):
            if entry.wanted(self.hostvars[host]):
                yield host

    def value(self, host: str, name: str) -> Any:
        """Return a variable of a host, with its role's default where it has a plain one."""
        variables = self.hostvars[host]
        if name in variables:
            return variables[name]
        roles = ("watchkeeper", *self.project.components)
        role = next(role for role in roles if name.startswith(f"{role}_"))
        return documented(self.project.root, role)[name].get("default", "")


def find(inventory: Inventory) -> Tracker:
    """Return the error tracker of an inventory. What the first monitoring host says counts."""
    host = next(inventory.running("sentry"), "")
    kind = inventory.value(host, SETTING) if host else "none"
    if kind == "bugsink":
        host = next(inventory.running("bugsink"), "")
    if kind not in KINDS or not host:
        return Tracker()

    def say(name: str) -> Any:
        return inventory.value(host, name)

    common: dict[str, Any] = {
        "kind": kind,
        "timeout": int(say("sentry_request_timeout")),
        "team": say("sentry_team"),
        "alert": dict(say("sentry_alert")),
        "projects": tuple(say("sentry_projects")),
        "dsns": dict(say("sentry_dsns")),
    }
    if kind == "bugsink":
        data = say("bugsink_data_dir")
        return Tracker(
            api="bugsink",
            host=host,
            url=_local(say("bugsink_listen_address"), say("bugsink_port")),
            token_file=f"{data}/api_token",
            manage=("runuser", "-u", "bugsink", "--", f"{data}/manage"),
            **common,
        )
    if kind == "self_hosted":
        return Tracker(
            host=host,
            url=_local(say("sentry_self_hosted_listen_address"), say("sentry_self_hosted_port")),
            organization=say("sentry_organization") or "sentry",
            token_file=SELF_HOSTED_TOKEN,
            **common,
        )
    return Tracker(
        api=say("sentry_api"),
        host="localhost",
        url=say("sentry_url"),
        organization=say("sentry_organization"),
        token=say("sentry_token"),
        validate_certs=say("sentry_validate_certs"),
        ca_path=say("sentry_ca_path"),
        **common,
    )


def _local(listen: str, port: Any) -> str:
    return f"http://{LOOPBACK.get(listen, listen)}:{port}"


def applications(inventory: Inventory) -> dict[str, str]:
    """Return name and platform of each application of the inventory that has no DSN of its own."""
    found: dict[str, str] = {}
    for host in inventory.running("health_app"):
        if not inventory.value(host, "health_app_sentry_dsn"):
            found[str(inventory.value(host, "health_app_service"))] = "python-fastapi"
    for host in inventory.running("app_observability"):
        for item in inventory.hostvars[host].get("app_observability_applications") or []:
            if not item.get("sentry_dsn"):
                found.setdefault(str(item["name"]), "")
            if not item.get("sentry_browser_dsn"):
                found.setdefault(f"{item['name']}{PAGES}", "javascript")
    return found


def projects(tracker: Tracker, needed: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the projects in the form of the module: those of the applications, and what the inventory says beyond."""
    own = {str(item["name"]): item for item in tracker.projects}
    found = []
    for name in dict.fromkeys([*needed, *own]):
        if name in tracker.dsns:
            continue
        item = {"name": name, "team": tracker.team, "platform": needed.get(name, ""), "alert": dict(tracker.alert)}
        item.update(own.get(name, {}))
        found.append({key: value for key, value in item.items() if value})
    return found


def dsn(tracker: Tracker, name: str, made: Any) -> str:
    """Return the DSN of an application: the one that is given, else that of the project that this run has found."""
    if tracker.kind == "none":
        return ""
    if name in tracker.dsns:
        return str(tracker.dsns[name])
    found = made.get("projects") if isinstance(made, Mapping) else None
    return str(found[name]["dsn"]) if found and name in found else ""
