#!/usr/bin/python
"""Writes the files of a role that owns them, and removes those that it owns no longer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owned_files
short_description: Write a set of files, and remove what was in the set before
version_added: "0.2.0"
description:
  - Writes all files in one execution on the host, each in one rename, and removes those that an earlier run wrote and
    that are no longer in the set. A record on the host tells which ones.
  - A file that is there already and that was not written this way is never overwritten; the task fails and names it.
options:
  record:
    description: Path of the record. Each set has one of its own.
    type: path
    required: true
  paths:
    description: The whole set. What has a content is a file, what has none is a directory.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - Absolute path. Directories above a file are made where they are missing, and go with the last file in them.
            A directory that is named itself is made where it is missing, and nobody changes or removes it later.
        type: path
        required: true
      content:
        description: What the file holds.
        type: str
      secret:
        description: What the file holds, when nobody may see it, whatever the verbosity.
        type: str
      owner:
        description: Account that owns it. Empty is the one that the task runs as.
        type: str
        default: ""
      group:
        description: Its group. Empty is the one that the task runs as.
        type: str
        default: ""
      mode:
        description: Permissions, in octal.
        type: str
        required: true
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It tells what it would do, and does nothing.
    support: full
  diff_mode:
    description: Every file before and after; of a secret file only that it changes.
    support: full
"""

EXAMPLES = r"""
- name: Write the settings of the shop
  owned_files:
    record: /etc/watchkeeper/shop/files.json
    paths:
      - path: /etc/watchkeeper/shop/shop.env
        secret: "TOKEN={{ vault_shop_token }}\n"
        group: shop
        mode: "0640"
"""

RETURN = r"""
msg:
  description: What was changed, in one line.
  returned: changed
  type: str
actions:
  description: The changes, one by one.
  returned: success
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.owned_files import HostFile, HostPath, OwnedFilesError, converge

ARGUMENTS: dict[str, Any] = {
    "record": {"type": "path", "required": True},
    "paths": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "secret": {"type": "str", "no_log": True},
            "owner": {"type": "str", "default": ""},
            "group": {"type": "str", "default": ""},
            "mode": {"type": "str", "required": True},
        },
        "mutually_exclusive": [("content", "secret")],
    },
}


def host_path(item: dict[str, Any]) -> HostPath:
    """Return what one item of the set declares."""
    place = (item["path"], item["owner"], item["group"], int(item["mode"], 8))
    if item["secret"] is not None:
        return HostFile(*place, content=item["secret"], secret=True)
    return HostPath(*place) if item["content"] is None else HostFile(*place, content=item["content"])


def main() -> None:
    """Converge and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)
    try:
        paths = [host_path(item) for item in module.params["paths"]]
        outcome = converge(module.params["record"], paths, module.check_mode)
    except (OwnedFilesError, ValueError) as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {"changed": bool(outcome.actions), "actions": outcome.actions}
    if outcome.actions:
        result["msg"] = ", ".join(outcome.actions)
    if module._diff:
        result["diff"] = outcome.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
