#!/usr/bin/python
"""Bring a dashboard of Grafana to what is declared, without losing what people made of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_dashboard
short_description: Save and remove dashboards in Grafana
version_added: "0.3.0"
description:
  - Saves a dashboard through Grafana's API, where people can then change it. Dashboards that nobody is to change are
    better kept in files; the role C(grafana) does that.
  - Takes the classic form of the JSON only, with C(title), C(uid) and C(panels) at the top. Schema v2, the envelope of
    an API answer and resources are refused with the reason.
  - A dashboard is found by its uid. The numbers C(id), C(version) and C(iteration) belong to one Grafana's database and
    are not compared.
  - A dashboard that file provisioning manages is refused.
extends_documentation_fragment: [grafana]
options:
  content:
    description: The dashboard. One of this and O(path) is needed for O(state=present).
    type: dict
  path:
    description: File with the dashboard's JSON, on the host where the module runs.
    type: path
  uid:
    description: Uid of the dashboard to remove; the one in O(content) or O(path) otherwise.
    type: str
  folder_uid:
    description: Uid of the folder it is to be in; empty is the top. With neither this nor O(folder), it stays where it
      is, and a new one is saved at the top.
    type: str
  folder:
    description: Title of a folder at the top, instead of O(folder_uid). C(grafana_folder) makes one.
    type: str
  overwrite:
    description:
      - Whether a dashboard that differs is replaced. V(if_ours) does so as long as it is as this module saved it last,
        and otherwise leaves it, with a warning. V(never) leaves every dashboard that is there. V(always) replaces it.
    type: str
    choices: [never, if_ours, always]
    default: if_ours
  message:
    description: What the dashboard's history says.
    type: str
    default: Saved by Ansible
  state:
    description: Whether it is to be there.
    type: str
    choices: [present, absent]
    default: present
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change, where Grafana is to be on this host and does not run yet, too.
    support: full
  diff_mode:
    description: It shows the JSON and the folder.
    support: full
"""

EXAMPLES = r"""
- name: Save the shop's dashboard
  grafana_dashboard:
    token: "{{ vault_grafana_token }}"
    content: "{{ lookup('ansible.builtin.file', 'shop.json') }}"
    folder_uid: shop
    message: "Release {{ shop_version }}"

- name: Remove one
  grafana_dashboard:
    token: "{{ vault_grafana_token }}"
    uid: shop-old
    state: absent
"""

RETURN = r"""
uid:
  description: Uid of the dashboard.
  returned: success
  type: str
url:
  description: Path of its page; empty when it is not there.
  returned: success
  type: str
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.dashboard_form import problems
from ansible.module_utils.watchkeeper.grafana import (
    CONNECTION,
    LOGINS,
    Grafana,
    GrafanaError,
    grafana_not_there,
)
from ansible.module_utils.watchkeeper.grafana_datasources import same
from ansible.module_utils.watchkeeper.http_api import quoted, rendered

DASHBOARDS = "/api/dashboards"
DIGEST = "watchkeeperDigest"
# Of one database, or of this module.
NOT_COMPARED = ("id", "version", "iteration", DIGEST)


class RefusedError(Exception):
    """What the task asks for cannot be; nothing was written."""


def comparable(content: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard without what tells nothing of it."""
    return {key: value for key, value in content.items() if key not in NOT_COMPARED}


def digest(content: dict[str, Any]) -> str:
    """Return what tells a dashboard as it was saved from one that was changed since."""
    text = json.dumps(comparable(content), sort_keys=True)
    return f"1:{hashlib.sha256(text.encode()).hexdigest()}"


def load(params: dict[str, Any]) -> Any:
    """Return the declared dashboard."""
    if params["content"] is not None:
        return params["content"]
    path = params["path"]
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusedError(f"path {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RefusedError(f"path {path} is not JSON in UTF-8: {error}") from None


def checked(content: Any, known_uids: set[str] | None) -> dict[str, Any]:
    """Return a dashboard that Grafana takes, or raise RefusedError with all that is wrong with it."""
    data = comparable(content) if isinstance(content, dict) else content
    title = data.get("title") if isinstance(data, dict) else None
    wrong = problems(data, known_uids, f"dashboard {title or '(without a title)'}")
    if wrong:
        raise RefusedError("\n".join(wrong))
    return dict(data)


class Dashboard:
    """One dashboard."""

    def __init__(self, client: Grafana, params: dict[str, Any], check_mode: bool) -> None:
        self.client = client
        self.params = params
        self.check_mode = check_mode
        self.actions: list[str] = []
        self.warnings: list[str] = []
        self.url = ""

    def find(self, uid: str) -> dict[str, Any] | None:
        """Return `dashboard` and `meta` as they are, None where there is none."""
        found: dict[str, Any] | None = self.client.find(f"{DASHBOARDS}/uid/{quoted(uid)}")
        self.url = str(found["meta"].get("url") or "") if found else ""
        return found

    def folder(self) -> str | None:
        """Return the uid of the folder that is asked for, None where any will do."""
        title = self.params["folder"]
        if title is None:
            uid: str | None = self.params["folder_uid"]
            return uid
        for one in self.client.pages("/api/folders?", "limit"):
            if one["title"] == title:
                return str(one["uid"])
        if self.check_mode:
            self.warnings.append(f"there is no folder {title} yet")
            return f"({title})"
        raise RefusedError(f"folder is {title!r}, and Grafana has no folder of this title at the top: make it first")

    def known_uids(self) -> set[str] | None:
        """Return what panels may name as their data source, None where this account may not know."""
        try:
            return {str(one[key]) for one in self.client.get("/api/datasources") for key in ("uid", "name")}
        except GrafanaError as error:
            if error.status == 403:
                return None
            raise

    def is_differing(self, content: dict[str, Any], live: dict[str, Any], folder: str | None) -> bool:
        """Tell whether a live dashboard is not what is declared."""
        elsewhere = folder is not None and folder != (live["meta"].get("folderUid") or "")
        return elsewhere or not same(content, comparable(live["dashboard"]))

    def may_replace(self, live: dict[str, Any], title: str) -> bool:
        """Tell whether a dashboard may be replaced."""
        if live["meta"].get("provisioned"):
            raise RefusedError(f"dashboard {title} {_provisioned(live)}")
        if self.params["overwrite"] == "always":
            return True
        if self.params["overwrite"] == "if_ours":
            if live["dashboard"].get(DIGEST) == digest(live["dashboard"]):
                return True
            self.warnings.append(
                f"dashboard {title} was changed since this module saved it, or saved by somebody else: it stays as it "
                "is; overwrite: always would replace it"
            )
        return False

    def save(self, content: dict[str, Any], folder: str | None) -> tuple[Any, Any]:
        """Save a dashboard if it differs and may be replaced; return it before and after, for the diff."""
        title = str(content["title"])
        for last in (False, True):
            live = self.find(content["uid"])
            if live and (not self.is_differing(content, live, folder) or not self.may_replace(live, title)):
                return None, None
            checked(content, self.known_uids())
            place = folder if folder is not None else (live["meta"].get("folderUid") or "" if live else "")
            before = {"folder": live["meta"].get("folderUid") or "", **comparable(live["dashboard"])} if live else None
            if not self.check_mode:
                version = {"version": live["dashboard"].get("version")} if live else {}
                body = {
                    "dashboard": {**content, **version, DIGEST: digest(content)},
                    "folderUid": place,
                    "message": self.params["message"],
                    "overwrite": self.params["overwrite"] == "always",
                }
                try:
                    self.url = self.client.send("POST", f"{DASHBOARDS}/db", body).get("url") or ""
                except GrafanaError as error:
                    if error.status == 412 and not last:
                        continue
                    raise
            self.actions.append(f"{'replaced' if live else 'created'} dashboard {title}")
            return before, {"folder": place, **content}
        raise AssertionError("the last attempt returns or raises")

    def remove(self, uid: str) -> Any:
        """Take a dashboard away; return it for the diff."""
        live = self.find(uid)
        if live is None:
            return None
        if live["meta"].get("provisioned"):
            raise RefusedError(f"dashboard {uid} {_provisioned(live)}")
        if not self.check_mode:
            self.client.delete(f"{DASHBOARDS}/uid/{quoted(uid)}")
            self.url = ""
        self.actions.append(f"removed dashboard {live['dashboard'].get('title') or uid}")
        return comparable(live["dashboard"])


def _provisioned(live: dict[str, Any]) -> str:
    file = live["meta"].get("provisionedExternalId")
    return (
        f"is managed by file provisioning{f' ({file})' if file else ''}, which would bring it back: change its file, "
        "or take it out of the files and let this task have it"
    )


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "content": {"type": "dict"},
            "path": {"type": "path"},
            "uid": {"type": "str"},
            "folder_uid": {"type": "str"},
            "folder": {"type": "str"},
            "overwrite": {"type": "str", "choices": ["never", "if_ours", "always"], "default": "if_ours"},
            "message": {"type": "str", "default": "Saved by Ansible"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        mutually_exclusive=[LOGINS, ("content", "path"), ("folder", "folder_uid")],
        required_one_of=[LOGINS, ("content", "path", "uid")],
        required_if=[("state", "present", ("content", "path"), True)],
        supports_check_mode=True,
    )
    params = module.params
    absent = params["state"] == "absent"
    actions: list[str] = []
    before = after = None
    try:
        content = {"uid": params["uid"]} if absent and params["uid"] else checked(load(params), None)
        bare = module.check_mode and grafana_not_there(params)
        if bare:
            module.warn(f"Grafana does not run at {params['url']} yet: the dashboard would be created")
            params = {**params, "password": params["password"] or "none yet"}
        board = Dashboard(Grafana.from_params(params), params, module.check_mode)
        actions = board.actions
        if bare and not absent:
            actions.append(f"created dashboard {content['title']}")
            after = content
        elif absent and not bare:
            before = board.remove(content["uid"])
        elif not absent:
            before, after = board.save(content, board.folder())
    except (RefusedError, GrafanaError) as error:
        module.fail_json(msg=str(error), actions=actions)
    for warning in board.warnings:
        module.warn(warning)
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions, "uid": content["uid"], "url": board.url}
    if module._diff and actions:
        header = f"dashboard {content['uid']}"
        result["diff"] = {
            "before_header": header,
            "after_header": header,
            "before": rendered(before),
            "after": rendered(after),
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
