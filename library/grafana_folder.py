#!/usr/bin/python
"""Bring a folder of Grafana to what is declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_folder
short_description: Create, rename, move and remove folders in Grafana
version_added: "0.3.0"
description:
  - A folder is found by its uid, or by its title below O(parent) when the task gives no uid.
  - Folders of dashboards that come from files are made by Grafana itself; this module is for all others.
extends_documentation_fragment: [grafana]
options:
  uid:
    description: Identity, 1 to 40 letters, digits, - and _. Left out, the title is the identity.
    type: str
  title:
    description: What people see. Needed, unless a folder is removed by its uid.
    type: str
  parent:
    description: Uid of the folder that this one is in; empty is the top. Left out, a folder stays where it is, and a
      new one is made at the top.
    type: str
  state:
    description: Whether it is to be there.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: Whether a folder that holds something may be removed, and all that with it.
    type: bool
    default: false
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change, where Grafana is to be on this host and does not run yet, too.
    support: full
  diff_mode:
    description: It shows title and parent.
    support: full
"""

EXAMPLES = r"""
- name: Make a folder for the shop
  grafana_folder:
    token: "{{ vault_grafana_token }}"
    uid: shop
    title: Shop

- name: Remove the old one, whatever it holds
  grafana_folder:
    token: "{{ vault_grafana_token }}"
    uid: shop-old
    state: absent
    force: true
"""

RETURN = r"""
uid:
  description: Uid of the folder; empty in check mode as long as Grafana has not made one up.
  returned: success
  type: str
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.grafana import (
    CONNECTION,
    LOGINS,
    UID,
    UID_RULE,
    Grafana,
    GrafanaError,
    grafana_not_there,
)
from ansible.module_utils.watchkeeper.http_api import quoted, rendered

FOLDERS = "/api/folders"


class Folder:
    """One folder."""

    def __init__(self, client: Grafana, params: dict[str, Any], check_mode: bool) -> None:
        self.client = client
        self.params = params
        self.check_mode = check_mode
        self.actions: list[str] = []
        self.uid: str = params["uid"] or ""
        self.title = f"folder {params['title'] or params['uid']}"

    def find(self) -> dict[str, Any] | None:
        """Return the folder as it is, None where there is none."""
        uid = self.uid
        if not uid:
            parent = self.params["parent"] or ""
            below = self.client.pages(f"{FOLDERS}?parentUid={quoted(parent)}&", "limit")
            uid = next((one["uid"] for one in below if one["title"] == self.params["title"]), "")
        live: dict[str, Any] | None = self.client.find(f"{FOLDERS}/{quoted(uid)}") if uid else None
        return live

    def remove(self, live: dict[str, Any] | None) -> None:
        """Take the folder away, unless it holds something."""
        if live is None:
            return
        path = f"{FOLDERS}/{quoted(live['uid'])}"
        counts: dict[str, Any] = self.client.find(f"{path}/counts") or {}
        held = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()) if number)
        if held and not self.params["force"]:
            raise GrafanaError(f"{self.title} is not empty ({held}): move that away, or set force to true to lose it")
        if not self.check_mode:
            self.client.delete(f"{path}?forceDeleteRules={'true' if self.params['force'] else 'false'}")
        self.actions.append(f"removed {self.title}")

    def converge(self, live: dict[str, Any] | None) -> None:
        """Create, rename or move the folder."""
        title, parent = self.params["title"], self.params["parent"]
        if live is None:
            body = {"title": title, "uid": self.params["uid"], "parentUid": parent}
            if not self.check_mode:
                body = {key: value for key, value in body.items() if value}
                self.uid = self.client.send("POST", FOLDERS, body)["uid"]
            self.actions.append(f"created {self.title}")
            return
        self.uid = live["uid"]
        if live["title"] != title:
            if not self.check_mode:
                self.rename(live)
            self.actions.append(f"renamed {self.title}, which was {live['title']}")
        if parent is not None and (live.get("parentUid") or "") != parent:
            if not self.check_mode:
                self.client.send("POST", f"{FOLDERS}/{quoted(self.uid)}/move", {"parentUid": parent})
            self.actions.append(f"moved {self.title}")

    def rename(self, live: dict[str, Any]) -> None:
        """Give the folder its title, going by a fresh look once if somebody else was quicker."""
        path = f"{FOLDERS}/{quoted(live['uid'])}"
        for last in (False, True):
            try:
                self.client.send("PUT", path, {"title": self.params["title"], "version": live.get("version")})
            except GrafanaError as error:
                if error.status != 412 or last:
                    raise
                live = self.client.get(path)
            else:
                return


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "uid": {"type": "str"},
            "title": {"type": "str"},
            "parent": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force": {"type": "bool", "default": False},
        },
        mutually_exclusive=[LOGINS],
        required_one_of=[LOGINS, ("uid", "title")],
        required_if=[("state", "present", ("title",))],
        supports_check_mode=True,
    )
    params = module.params
    for option in ("uid", "parent"):
        if params[option] and not UID.fullmatch(params[option]):
            module.fail_json(msg=f"{option} is {params[option]!r}; Grafana allows {UID_RULE}", actions=[])
    actions: list[str] = []
    try:
        bare = module.check_mode and grafana_not_there(params)
        if bare:
            module.warn(f"Grafana does not run at {params['url']} yet: the folder would be created")
            params = {**params, "password": params["password"] or "none yet"}
        folder = Folder(Grafana.from_params(params), params, module.check_mode)
        actions = folder.actions
        live = None if bare else folder.find()
        before = {"title": live["title"], "parent": live.get("parentUid") or ""} if live else None
        if params["state"] == "absent":
            folder.remove(live)
            after = None
        else:
            folder.converge(live)
            place = (before or {}).get("parent") if params["parent"] is None else params["parent"]
            after = {"title": params["title"], "parent": place or ""}
    except GrafanaError as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions, "uid": folder.uid}
    if module._diff and actions:
        header = {"before_header": folder.title, "after_header": folder.title}
        result["diff"] = {**header, "before": rendered(before), "after": rendered(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
