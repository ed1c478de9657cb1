#!/usr/bin/python
"""Tell an error tracker of a release, and of where it was deployed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sentry_release
short_description: Announce releases and deployments to Sentry, and releases to Bugsink
version_added: "0.3.0"
description:
  - An error that is new in a release is then told with it, and one that is resolved in the next release comes back only
    as a regression.
  - A release that the tracker knows already, from an event or from an earlier run, is no change.
  - Bugsink knows no deployments, references and addresses of releases; a task that names one there is refused.
extends_documentation_fragment: [error_tracker]
options:
  version:
    description: Name of the release as the application tells it with its events, such as V(shop@1.4.2). Up to 200
      characters without slash, backslash, tab and line end.
    type: str
    required: true
  projects:
    description: Projects that the release is of, each by slug or by name.
    type: list
    elements: str
    required: true
  reference:
    description: Commit or tag that the release was built from.
    type: str
  release_url:
    description: Page that tells about the release.
    type: str
  released:
    description: Whether the release is out, from the first run that says so. Bugsink takes each for one that is.
    type: bool
    default: true
  environment:
    description: Environment that the release was deployed to, as the application tells it with its events. Left out, no
      deployment is told.
    type: str
  deploy_name:
    description: Name of the deployment. One release is told once for each environment, unless this differs from that of
      the last time.
    type: str
  deploy_url:
    description: Page that tells about the deployment.
    type: str
  started:
    description: When the deployment began, in ISO 8601.
    type: str
  finished:
    description: When it ended, in ISO 8601. Left out, it is the moment of the task.
    type: str
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would be told.
    support: full
  diff_mode:
    description: It shows nothing; the actions say it all.
    support: none
"""

EXAMPLES = r"""
- name: Tell of the shop's rollout
  sentry_release:
    url: https://sentry.io
    organization: acme
    token: "{{ vault_sentry_token }}"
    version: shop@1.4.2
    projects: [shop]
    environment: production
  run_once: true

- name: Tell the host's own Bugsink of a release
  sentry_release:
    kind: bugsink
    url: http://127.0.0.1:8010
    token_file: /etc/watchkeeper/bugsink.token
    version: shop@1.4.2
    projects: [shop]
"""

RETURN = r"""
version:
  description: The release.
  returned: success
  type: str
projects:
  description: Slugs of its projects that the task names.
  returned: success
  type: list
  elements: str
actions:
  description: What was told, one by one; in check mode what would be.
  returned: always
  type: list
  elements: str
"""

import datetime
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.error_tracker import (
    CONNECTION,
    TOKENS,
    Bugsink,
    ErrorTrackerError,
    Project,
    Sentry,
    only,
    tracker,
)

LONGEST_VERSION = 200
# What Sentry alone has.
OF_SENTRY = ("reference", "release_url", "environment", "deploy_name", "deploy_url", "started", "finished")
OF_DEPLOYS = ("deploy_name", "deploy_url", "started", "finished")


class Announcement:
    """What one task tells."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.write = not check_mode
        self.version: str = params["version"]
        self.projects: list[Project] = []
        self.actions: list[str] = []

    def look(self, client: Sentry | Bugsink) -> None:
        """Find the projects."""
        every = client.projects()
        for name in self.params["projects"]:
            found = [one for one in every if one.slug == name] or [one for one in every if one.name == name]
            project = only(client, found, name)
            if project not in self.projects:
                self.projects.append(project)

    def tell_bugsink(self, client: Bugsink) -> None:
        """Make the release known to each project."""
        for project in self.projects:
            if self.version not in client.releases(project):
                if self.write:
                    client.create_release(project, self.version)
                self.actions.append(f"created release {self.version} of project {project.name}")

    def tell_sentry(self, client: Sentry) -> None:
        """Make the release known to the organisation, then its deployment."""
        wanted = {"ref": self.params["reference"], "url": self.params["release_url"]}
        fields = {key: value for key, value in wanted.items() if value}
        live = client.release(self.version)
        slugs = {project.slug for project in self.projects}
        missing = slugs - {item["slug"] for item in (live or {}).get("projects") or ()}
        if missing:
            body: dict[str, Any] = {"version": self.version, "projects": sorted(missing), **fields}
            if live is None and self.params["released"]:
                body["dateReleased"] = now()
            if self.write:
                client.create_release(body)
            for slug in sorted(missing):
                self.actions.append(f"created release {self.version} of project {slug}")
        if live is not None:
            change = {key: value for key, value in fields.items() if live.get(key) != value}
            if self.params["released"] and not live.get("dateReleased"):
                change["dateReleased"] = now()
            if change:
                if self.write:
                    client.change_release(self.version, change)
                self.actions.append(f"changed {', '.join(change)} of release {self.version}")
        if self.params["environment"]:
            self.tell_deploy(client, live is not None, missing)

    def tell_deploy(self, client: Sentry, known: bool, missing: set[str]) -> None:
        """Tell of a deployment, of those projects whose last one it is not yet."""
        environment = self.params["environment"]
        untold = []
        for project in self.projects:
            # Sentry lists the last one of each project and environment.
            told = client.deploys(self.version, project) if known and project.slug not in missing else []
            same = [
                one
                for one in told
                if one.get("environment") == environment
                and (one.get("name") or "") == (self.params["deploy_name"] or "")
            ]
            if not same:
                untold.append(project.slug)
        if not untold:
            return
        wanted = {
            "environment": environment,
            "name": self.params["deploy_name"],
            "url": self.params["deploy_url"],
            "dateStarted": self.params["started"],
            "dateFinished": self.params["finished"],
        }
        body = {**{key: value for key, value in wanted.items() if value}, "projects": untold}
        if self.write:
            client.create_deploy(self.version, body)
        self.actions.append(f"told of a deployment of {self.version} to {environment} ({', '.join(untold)})")


def now() -> str:
    """Return the moment, in ISO 8601."""
    return datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="seconds")


def refusal(params: dict[str, Any]) -> str:
    """Return what is wrong with the task, nothing if all is well."""
    version = params["version"]
    if (
        not version.strip()
        or version in (".", "..")
        or version.lower() == "latest"
        or len(version) > LONGEST_VERSION
        or re.search(r"[\r\n\f\t/\\]", version)
    ):
        return (
            f"version is {version!r}; it has 1 to {LONGEST_VERSION} characters, is not '.', '..' or 'latest', and "
            "holds no slash, backslash, tab and line end"
        )
    if not params["projects"]:
        return "projects is empty; a release is of one project at least"
    if params["kind"] == "bugsink":
        there = [name for name in OF_SENTRY if params[name]]
        if there:
            return f"{', '.join(there)}: Bugsink's API knows releases alone, without this: leave it out"
    elif not params["environment"]:
        there = [name for name in OF_DEPLOYS if params[name]]
        if there:
            return f"{', '.join(there)}: there is no deployment without environment: set environment"
    for name in ("started", "finished"):
        value = params[name]
        if value and not moment(value):
            return f"{name} is {value!r}; it must be a moment in ISO 8601, like 2026-05-04T12:00:00Z"
    return ""


def moment(text: str) -> bool:
    """Tell whether a text is a moment in ISO 8601."""
    try:
        datetime.datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError:
        return False
    return True


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "version": {"type": "str", "required": True},
            "projects": {"type": "list", "elements": "str", "required": True},
            "reference": {"type": "str"},
            "release_url": {"type": "str"},
            "released": {"type": "bool", "default": True},
            "environment": {"type": "str"},
            "deploy_name": {"type": "str"},
            "deploy_url": {"type": "str"},
            "started": {"type": "str"},
            "finished": {"type": "str"},
        },
        mutually_exclusive=[TOKENS],
        required_one_of=[TOKENS],
        supports_check_mode=True,
    )
    wrong = refusal(module.params)
    if wrong:
        module.fail_json(msg=wrong, actions=[])
    announcement = Announcement(module.params, module.check_mode)
    actions = announcement.actions
    try:
        client = tracker(module.params)
        announcement.look(client)
        if isinstance(client, Sentry):
            announcement.tell_sentry(client)
        else:
            announcement.tell_bugsink(client)
    except ErrorTrackerError as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    slugs = [project.slug for project in announcement.projects]
    module.exit_json(changed=bool(actions), actions=actions, version=announcement.version, projects=slugs)


if __name__ == "__main__":
    main()
