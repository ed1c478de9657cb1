#!/usr/bin/python
"""See to it that the administrator of Grafana logs in with the password that is in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_admin_password
short_description: Make the password in a file the one of Grafana's administrator
version_added: "0.3.0"
description:
  - Logs in to the Grafana of this host with the password in a file. If Grafana refuses it, the password of the first
    account is reset by Grafana's own program, which gets it over its standard input, and the login is tried again.
  - Grafana takes the password of its configuration file for an empty database only; this module makes later changes
    true.
options:
  url:
    description: Where Grafana answers on this host.
    type: str
    default: http://127.0.0.1:3000
  username:
    description: Login of the account that was made at Grafana's first start.
    type: str
    default: admin
  password_file:
    description: File with the password, on the host where the module runs.
    type: path
    required: true
  homepath:
    description: Directory of Grafana's release.
    type: path
    required: true
  config:
    description: Grafana's configuration file.
    type: path
    required: true
  account:
    description: System account that Grafana runs as. Its program works as this account, too.
    type: str
    default: grafana
  kept_in:
    description: Where the password lies for people, when the host made it. The closing notes of a run then say so.
    type: path
    default: ""
  timeout:
    description: Seconds that one request, or Grafana's program, may take.
    type: int
    default: 60
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It tries the login and says whether the password would be reset. Where Grafana does not run yet there
      is nothing to reset.
    support: full
  diff_mode:
    description: A password is never shown.
    support: none
"""

EXAMPLES = r"""
- name: Make the administrator's password the one in the file
  grafana_admin_password:
    password_file: /etc/watchkeeper/grafana/current/config/secrets/admin_password
    homepath: /opt/watchkeeper/grafana/13.2.3
    config: /etc/watchkeeper/grafana/current/config/grafana.ini
"""

RETURN = r"""
username:
  description: Login of the account.
  returned: success
  type: str
password_file:
  description: Where the password lies.
  returned: success
  type: str
actions:
  description: What changed, or would change.
  returned: success
  type: list
  elements: str
notes:
  description: How to log in, where the host made the password itself.
  returned: success
  type: list
  elements: str
"""

import os
import pwd
import subprocess
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as UrlError
from ansible.module_utils.urls import open_url
from ansible.module_utils.watchkeeper.grafana import (
    Grafana,
    GrafanaError,
    checked_url,
    grafana_not_there,
    read_secret,
)
from ansible.module_utils.watchkeeper.http_api import is_loopback

# What tells a locked account from a wrong password in Grafana's answer.
LOCKED = '"login-attempt.blocked"'
# How much of what the program said goes into a message.
LAST_LINES = 5


class PasswordError(Exception):
    """Why the password could not be made the administrator's; the message holds no secret."""


def logs_in(params: dict[str, Any], password: str) -> bool:
    """Tell whether Grafana takes the password; raise PasswordError when it does not say because of a locked account."""
    try:
        with open_url(
            f"{checked_url(params['url'])}/api/user",
            url_username=params["username"],
            url_password=password,
            force_basic_auth=True,
            use_proxy=not is_loopback(params["url"]),
            use_netrc=False,
            follow_redirects="none",
            timeout=params["timeout"],
        ):
            return True
    except HTTPError as error:
        with error:
            if error.code == 401:
                if LOCKED in error.read().decode("utf-8", "replace"):
                    raise PasswordError(
                        f"Grafana has locked the account {params['username']} after five wrong passwords, which "
                        "somebody else may have tried. It opens by itself within five minutes: run again then"
                    ) from None
                return False
    except (OSError, HTTPException, UrlError):
        pass
    # It knows what may be repeated, and how to say what is wrong.
    Grafana(params["url"], username=params["username"], password=password, timeout=params["timeout"]).get("/api/user")
    return True


def reset(params: dict[str, Any], password: str) -> str:
    """Have Grafana's own program write the password into the database; return the last that it said."""
    program = Path(params["homepath"], "bin", "grafana")
    command = [
        str(program),
        "cli",
        "--homepath",
        params["homepath"],
        "--config",
        params["config"],
        "admin",
        "reset-admin-password",
        "--password-from-stdin",
    ]
    try:
        account = pwd.getpwnam(params["account"])
    except KeyError:
        raise PasswordError(f"there is no account {params['account']} on this host") from None
    identity: dict[str, Any] = {}
    if os.geteuid() != account.pw_uid:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        done = subprocess.run(
            command,
            input=f"{password}\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=params["timeout"],
            cwd=params["homepath"],
            # Nothing of the caller's: an environment variable GF_... would win over the configuration.
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": account.pw_dir, "LANG": "C.UTF-8"},
            umask=0o027,
            **identity,
        )
    except subprocess.TimeoutExpired:
        raise PasswordError(f"{program} did not end within {params['timeout']} s") from None
    except OSError as error:
        raise PasswordError(f"{program} cannot be started as {params['account']}: {error.strerror}") from None
    lines = f"{done.stdout}\n{done.stderr}".replace(password, "********").split("\n")
    said = " / ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:]) or "nothing"
    if done.returncode:
        raise PasswordError(f"{program} reset-admin-password failed: {said}")
    return said


def converge(params: dict[str, Any], check_mode: bool) -> list[str]:
    """Make the password in the file the administrator's; return what changed, or would change."""
    if check_mode and grafana_not_there(params):
        return []
    password = read_secret(params["password_file"], "password_file")
    if not password:
        raise PasswordError(f"password_file {params['password_file']} is empty")
    if logs_in(params, password):
        return []
    action = f"password of {params['username']} reset"
    if check_mode:
        return [action]
    said = reset(params, password)
    if not logs_in(params, password):
        raise PasswordError(
            f"Grafana still refuses the login of {params['username']} after its password was reset (its program said: "
            f"{said}). If the account that was made at the first start has another login by now, set "
            "grafana_admin_user to that"
        )
    return [action]


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:3000"},
            "username": {"type": "str", "default": "admin"},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "homepath": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "account": {"type": "str", "default": "grafana"},
            "kept_in": {"type": "path", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        actions = converge(params, module.check_mode)
    except (GrafanaError, PasswordError) as error:
        module.fail_json(msg=f"Administrator of Grafana at {params['url']}: {error}")
    notes = []
    if params["kept_in"]:
        where = f"its password was made on the host and lies in {params['kept_in']}, for root alone"
        how = "Set grafana_admin_password in the vault of your inventory to choose one."
        notes = [f"Grafana's login is {params['username']}; {where}. {how}"]
    module.exit_json(
        changed=bool(actions),
        username=params["username"],
        password_file=params["password_file"],
        actions=actions,
        notes=notes,
    )


if __name__ == "__main__":
    main()
