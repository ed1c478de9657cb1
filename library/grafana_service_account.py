#!/usr/bin/python
"""Bring a service account of Grafana, and the one token of it that a program uses, to what is declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_service_account
short_description: Create service accounts in Grafana, and keep a token of each in a file
version_added: "0.3.0"
description:
  - An account is found by its name. Only what the task names is compared.
  - With O(token_name) the account has exactly one token of that name, which a time is added to. Grafana tells a token's
    key once, so it is written to O(token_file) at once, or returned to a task that has C(no_log).
  - A new token is made when there is none, when the key in the file does not log in, and when it is to be rotated. The
    new one is made and written first; then the old one is deleted.
  - A service account belongs to one organisation, which O(organization) chooses.
extends_documentation_fragment: [grafana]
options:
  name:
    description: Name of the account.
    type: str
    required: true
  role:
    description: What it may do. A new account is a V(Viewer) unless this says otherwise.
    type: str
    choices: [None, Viewer, Editor, Admin]
  disabled:
    description: Whether it is locked. Its tokens stay, and do not log in.
    type: bool
  state:
    description: V(absent) removes the account, its tokens and O(token_file).
    type: str
    choices: [present, absent]
    default: present
  token_name:
    description: Name of the token to keep.
    type: str
  token_file:
    description: File for the key on the host where the module runs, made for its owner alone. Without it, a new key
      is the result C(key) of the task, which then needs C(no_log=true).
    type: path
  token_seconds_to_live:
    description: Seconds after which a new token expires; 0 is never.
    type: int
    default: 0
  token_rotate_before_days:
    description: Rotate when the token expires in fewer days than this.
    type: int
    default: 0
  token_rotate_after_days:
    description: Rotate when the token is older than this; 0 is never.
    type: int
    default: 0
  token_rotate:
    description: Rotate now, in each run that says so.
    type: bool
    default: false
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change, where Grafana is to be on this host and does not run yet, too.
    support: full
  diff_mode:
    description: It shows the account and the names of its tokens, never a key.
    support: full
"""

EXAMPLES = r"""
- name: Give the deployment an account that may write annotations
  grafana_service_account:
    password_file: /etc/watchkeeper/grafana/current/config/secrets/admin_password
    name: deployment
    role: Editor
    token_name: deployment
    token_file: /etc/deployment/grafana_token
    token_seconds_to_live: 7776000
    token_rotate_before_days: 14

- name: Remove an account
  grafana_service_account:
    password_file: /etc/watchkeeper/grafana/current/config/secrets/admin_password
    name: deployment-old
    state: absent
"""

RETURN = r"""
account:
  description: The account.
  returned: success
  type: dict
  contains:
    name: {description: Its name., type: str, returned: always}
    login: {description: "Its login, as histories show it.", type: str, returned: when it is there}
    role: {description: Its role., type: str, returned: when it is there}
    disabled: {description: Whether it is locked., type: bool, returned: when it is there}
key:
  description: The new token's key.
  returned: when a token was made and there is no O(token_file)
  type: str
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
"""

import contextlib
import datetime
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.grafana import (
    CONNECTION,
    LOGINS,
    Grafana,
    GrafanaError,
    grafana_not_there,
)
from ansible.module_utils.watchkeeper.http_api import quoted, rendered

ACCOUNTS = "/api/serviceaccounts"
DAY = 86400
STAMP = r"-\d{8}T\d{6}Z-[0-9a-f]{4}"


def moment(text: str) -> datetime.datetime:
    """Return a moment of Grafana's, which may have more decimals than Python reads."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?", text)
    if not found:
        raise GrafanaError(f"Grafana tells a time that cannot be read: {text!r}")
    zone = found[2] if found[2] and found[2] != "Z" else "+00:00"
    return datetime.datetime.fromisoformat(found[1] + zone)


class Account:
    """One service account."""

    def __init__(self, module: AnsibleModule, client: Grafana, there: bool) -> None:
        self.client = client
        self.there = there
        self.check_mode: bool = module.check_mode
        self.params: dict[str, Any] = module.params
        self.name: str = module.params["name"]
        self.live: dict[str, Any] | None = None
        self.tokens: list[dict[str, Any]] = []
        self.actions: list[str] = []
        self.key = ""

    @property
    def path(self) -> str:
        """Its place in the API, once it is there."""
        return f"{ACCOUNTS}/{(self.live or {})['id']}"

    def look(self) -> None:
        """Find the account and those of its tokens that are ours."""
        if self.there:
            found = self.client.pages(f"{ACCOUNTS}/search?query={quoted(self.name)}&", "perpage", "serviceAccounts")
            self.live = next((one for one in found if one.get("name") == self.name), None)
        if self.live and self.params["token_name"]:
            ours = re.compile(re.escape(self.params["token_name"]) + f"(?:{STAMP})?")
            tokens = self.client.get(f"{self.path}/tokens")
            self.tokens = sorted((one for one in tokens if ours.fullmatch(one["name"])), key=lambda one: one["id"])

    def shown(self) -> dict[str, Any] | None:
        """Return the account as the diff shows it."""
        if self.live is None:
            return None
        return {**self.described(), "tokens": [one["name"] for one in self.tokens]}

    def described(self) -> dict[str, Any]:
        """Return the account as the result tells it."""
        live = self.live or {}
        facts = {"login": live.get("login"), "role": live.get("role"), "disabled": live.get("isDisabled")}
        return {"name": self.name, **({key: value for key, value in facts.items() if value is not None})}

    # Writing

    def converge(self) -> None:
        """Create or change the account, then see to its token."""
        role, disabled = self.params["role"], self.params["disabled"]
        if self.live is None:
            body = {"name": self.name, "role": role or "Viewer", "isDisabled": bool(disabled)}
            # A repetition would meet the account that the first attempt has made.
            made = {} if self.check_mode else self.client.send("POST", ACCOUNTS, body, repeatable=False)
            self.live = {**body, **made}
            self.actions.append(f"created service account {self.name}")
        wanted = {"role": role, "isDisabled": disabled}
        change = {
            key: value for key, value in wanted.items() if value is not None and value != (self.live or {}).get(key)
        }
        if change:
            if not self.check_mode:
                self.client.send("PATCH", self.path, change)
            self.live = {**(self.live or {}), **change}
            self.actions.append(f"changed {', '.join(change)} of service account {self.name}")
        if self.params["token_name"]:
            self.keep_token()

    def keep_token(self) -> None:
        """Make a new token if one is needed, and delete every other one of ours."""
        reason = self.reason()
        if not reason:
            return
        self.actions.append(f"made a token of service account {self.name}: {reason}")
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        name = f"{self.params['token_name']}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        old, self.tokens = self.tokens, [{"name": name}]
        if self.check_mode:
            return
        body = {"name": name, "secondsToLive": self.params["token_seconds_to_live"]}
        # A repetition could leave a token behind whose key nobody knows.
        self.key = self.client.send("POST", f"{self.path}/tokens", body, repeatable=False)["key"]
        if self.params["token_file"]:
            self.write(self.params["token_file"], self.key)
        for one in old:
            self.client.delete(f"{self.path}/tokens/{one['id']}")

    def reason(self) -> str:
        """Return why a new token is needed, nothing if it is not."""
        valid = [one for one in self.tokens if not one.get("hasExpired")]
        if not valid:
            return "it had expired" if self.tokens else "there was none"
        if self.params["token_rotate"]:
            return "the task says so"
        if len(self.tokens) > 1:
            return "a run that did not end well had left several"
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        (token,) = valid
        before, after = self.params["token_rotate_before_days"], self.params["token_rotate_after_days"]
        if token.get("expiration") and (moment(token["expiration"]) - now).total_seconds() < before * DAY:
            return "it would have expired soon"
        if after and (now - moment(token["created"])).total_seconds() > after * DAY:
            return f"it was older than {after} days"
        return self.unusable()

    def unusable(self) -> str:
        """Return what is wrong with the file, nothing if its key logs in."""
        path = self.params["token_file"]
        if not path:
            return ""
        try:
            key = Path(path).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            key = ""
        if not key:
            return f"{path} held no key"
        if (self.live or {}).get("isDisabled"):
            return ""
        try:
            self.client.with_token(key).get("/api/org")
        except GrafanaError as error:
            if error.status == 401:
                return f"the key in {path} did not log in"
            if not error.status or error.status >= 500:
                raise
        return ""

    def write(self, path: str, key: str) -> None:
        """Put the key into its file at once; nobody else can read it."""
        handle, candidate = tempfile.mkstemp(prefix=".", dir=os.path.dirname(os.path.abspath(path)))
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(key + "\n")
                file.flush()
                os.fsync(file.fileno())
            # Its owner, and whom that has let read the old one, may read the new one.
            with contextlib.suppress(FileNotFoundError):
                old = os.stat(path)
                os.chown(candidate, old.st_uid, old.st_gid)
                os.chmod(candidate, old.st_mode & 0o770)
            os.replace(candidate, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(candidate)

    def guard(self) -> None:
        """See to it that only the file's owner and group can read it."""
        path = self.params["token_file"]
        if path and os.path.exists(path) and (mode := os.stat(path).st_mode) & 0o007:
            if not self.check_mode:
                os.chmod(path, mode & 0o770)
            self.actions.append(f"took {path} away from others than its owner and its group")

    def remove(self) -> None:
        """Take the account away, and the file with a key that is worth nothing then."""
        if self.live is not None:
            if not self.check_mode:
                self.client.delete(self.path)
            self.actions.append(f"removed service account {self.name}")
            self.live, self.tokens = None, []
        path = self.params["token_file"]
        if path and os.path.exists(path):
            if not self.check_mode:
                os.unlink(path)
            self.actions.append(f"removed {path}")


def refusal(module: AnsibleModule) -> str:
    """Return what is wrong with the task, nothing if all is well."""
    params = module.params
    if params["token_file"] and not params["token_name"] and params["state"] == "present":
        return "token_file needs token_name"
    if params["token_name"] and not params["token_file"] and not module.no_log and not module.check_mode:
        return "a new key would be shown by this task: set token_file, or no_log: true on the task"
    path = params["token_file"]
    if path and params["state"] == "present" and not module.check_mode:
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(path) or not os.access(folder, os.W_OK):
            return f"token_file {path} cannot be written: it is a folder, or there is no folder {folder} to write to"
    lifetime, before = params["token_seconds_to_live"], params["token_rotate_before_days"]
    if lifetime < 0:
        return f"token_seconds_to_live is {lifetime}; it must be 0 or more"
    if lifetime and before * DAY >= lifetime:
        return (
            f"token_rotate_before_days is {before}, which is not less than token_seconds_to_live ({lifetime} s): each "
            "run would rotate"
        )
    return ""


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "name": {"type": "str", "required": True},
            "role": {"type": "str", "choices": ["None", "Viewer", "Editor", "Admin"]},
            "disabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "token_name": {"type": "str", "no_log": False},
            "token_file": {"type": "path", "no_log": False},
            "token_seconds_to_live": {"type": "int", "default": 0, "no_log": False},
            "token_rotate_before_days": {"type": "int", "default": 0, "no_log": False},
            "token_rotate_after_days": {"type": "int", "default": 0, "no_log": False},
            "token_rotate": {"type": "bool", "default": False, "no_log": False},
        },
        mutually_exclusive=[LOGINS],
        required_one_of=[LOGINS],
        supports_check_mode=True,
    )
    wrong = refusal(module)
    if wrong:
        module.fail_json(msg=wrong, actions=[])
    params = module.params
    actions: list[str] = []
    try:
        bare = module.check_mode and grafana_not_there(params)
        if bare:
            module.warn(f"Grafana does not run at {params['url']} yet: the account would be created")
            params = {**params, "password": params["password"] or "none yet"}
        account = Account(module, Grafana.from_params(params), not bare)
        actions = account.actions
        account.look()
        before = account.shown()
        if params["state"] == "absent":
            account.remove()
        else:
            account.converge()
            account.guard()
    except (GrafanaError, OSError) as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions, "account": account.described()}
    if account.key and not params["token_file"]:
        result["key"] = account.key
    if module._diff and actions:
        header = f"service account {account.name}"
        texts = {"before": rendered(before), "after": rendered(account.shown())}
        result["diff"] = {"before_header": header, "after_header": header, **texts}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
