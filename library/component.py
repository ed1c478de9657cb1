#!/usr/bin/python
"""The host's half of the component engine; the action plugin of the same name is the other one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: component
short_description: Run one program as a proven systemd service, or leave the old one running
version_added: "0.1.0"
description:
  - Installs a pinned release, writes the files that the component owns, has them checked by the candidate version's own
    checker, swaps binary, configuration and unit in one rename, reloads or restarts as needed, and waits for the
    program to prove itself ready. If it does not, the state that was last proven comes back and the task fails with the
    program's words.
  - A component that is already as declared costs one remote execution and no network.
  - The catalogue (C(files/components.yml)) says where a component's release comes from; the lock file
    (C(files/lock.yml)) pins its SHA-256 for each architecture.
  - The tokens C({config}), C({release}) and C({data}) in commands, in the environment and (C({config}/) only) in files
    stand for the component's configuration directory, its unpacked release and its first data directory.
options:
  name:
    description: Name of the component in the catalogue, and of its unit.
    type: str
    required: true
  state:
    description:
      - V(present) converges the component, V(absent) stops and removes it and leaves its data, V(rolled_back) returns
        to the state that was proven before the present one.
    type: str
    choices: [present, absent, rolled_back]
    default: present
  purge_data:
    description: With O(state=absent), remove the data directories too.
    type: bool
    default: false
  version:
    description: Version to run; empty takes the catalogue's.
    type: str
    default: ""
  account:
    description: System account of the program; created when missing. Empty takes the component's name.
    type: str
    default: ""
  replaces:
    description:
      - Other components of the catalogue that do the same work. They stop completely before this one starts, start
        again when it does not become ready, and are removed as by O(state=absent), without their data, once it is
        proven.
    type: list
    elements: str
    default: []
  data:
    description: Directories in which the program keeps its data. They are created when missing and never touched again.
    type: list
    elements: path
    default: []
  files:
    description: All files of the component's configuration directory. What is not listed disappears.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path relative to the configuration directory.
        type: str
        required: true
      template:
        description: A template of the role, rendered on the controller.
        type: str
      content:
        description: The content itself.
        type: str
      yaml:
        description: Data to be written as YAML.
        type: raw
      restart:
        description: Whether the program reads this file at its start only.
        type: bool
        default: false
  secrets:
    description:
      - Secret files by path relative to the configuration directory (below C(secrets/)) with their contents. They are
        never shown, whatever the verbosity.
    type: dict
    default: {}
  generate:
    description:
      - Secrets (below C(secrets/)) that the host makes itself, once, unless O(secrets) gives them. They are kept like
        data, readable by root alone, below C(/var/lib/watchkeeper/<component>/).
    type: list
    elements: str
    default: []
  start_secrets:
    description: Those of the secrets that the program reads at its start only; a change of one is a restart.
    type: list
    elements: str
    default: []
  unit:
    description: The service. Needed for O(state=present).
    type: dict
    suboptions:
      description:
        description: One line for systemd; empty takes the catalogue's title.
        type: str
        default: ""
      documentation:
        description: A URL.
        type: str
        default: ""
      command:
        description: Program and arguments, one word each.
        type: list
        elements: str
        required: true
      environment:
        description: Environment variables. Not for secrets.
        type: dict
        default: {}
      capabilities:
        description: Linux capabilities that the program needs.
        type: list
        elements: str
        default: []
      settings:
        description: Further settings of the unit's C([Service]) section; they win over the engine's sandbox.
        type: dict
        default: {}
  check:
    description: Commands that judge the candidate configuration; each is a list of words.
    type: list
    elements: list
    default: []
  reload:
    description: How the program re-reads its configuration; left out, every change is a restart.
    type: dict
    suboptions:
      prefix:
        description:
          - What stands before C(_successful) and C(_success_timestamp_seconds) in the two metrics of the program's own
            that prove a reload.
        type: str
        default: ""
  ready:
    description: The readiness probe. Path and address come from the catalogue and the first of O(listen).
    type: dict
    default: {}
    suboptions:
      url:
        description: Another URL on this host.
        type: str
        default: ""
      status:
        description: HTTP status of a ready program.
        type: int
        default: 200
      timeout:
        description: Seconds until the swap counts as failed. The default is C(watchkeeper_ready_timeout).
        type: int
  listen:
    description: TCP addresses on which the program listens, each C(address:port) with an IPv6 address in brackets.
    type: list
    elements: str
    default: []
  url:
    description: Path of the program's page for people, for the closing table; empty takes the catalogue's.
    type: str
    default: ""
  login:
    description: How a person logs in there, for the closing table; empty means that there is no login.
    type: str
    default: ""
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: Says what would change, on a bare host too; the checker judges when the release is on the host.
    support: full
  diff_mode:
    description: Shows every file; secrets are masked.
    support: full
"""

EXAMPLES = r"""
- name: Converge node_exporter
  component:
    name: node_exporter
    unit:
      command: ["{release}/node_exporter", "--web.listen-address=0.0.0.0:9100"]
    listen: ["0.0.0.0:9100"]
    ready:
      url: http://127.0.0.1:9100/metrics

- name: Remove node_exporter and leave its data
  component:
    name: node_exporter
    state: absent
"""

RETURN = r"""
component:
  description: What the closing table shows.
  returned: always
  type: dict
  contains:
    name: {description: Name of the component., type: str, returned: always}
    version: {description: Version that runs., type: str, returned: always}
    state: {description: C(ready) or C(absent)., type: str, returned: always}
    actions: {description: "What changed, in words.", type: list, elements: str, returned: always}
    previous_version: {description: Version that was proven before., type: str, returned: always}
    url: {description: Where a person finds it., type: str, returned: always}
    login: {description: How a person logs in there., type: str, returned: always}
"""

import os
from typing import IO

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible.module_utils.watchkeeper.declaration import Declaration, Layout
from ansible.module_utils.watchkeeper.engine import ComponentError, Engine
from ansible.module_utils.watchkeeper.release import architecture
from ansible.module_utils.watchkeeper.systemd import Systemd


def fetch(url: str, *, timeout: int) -> IO[bytes]:
    """Open a release archive, by way of the host's proxy settings."""
    answer: IO[bytes] = open_url(url, timeout=timeout, http_agent="watchkeeper", follow_redirects="all")
    return answer


def main() -> None:
    """Carry out what the action plugin made of the task."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "rolled_back"], "default": "present"},
            "declaration": {"type": "dict"},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "layout": {"type": "dict", "default": {}},
            "data": {"type": "list", "elements": "str", "default": []},
            "purge_data": {"type": "bool", "default": False},
            "archive": {"type": "path", "default": ""},
            "pull": {"type": "bool", "default": True},
        },
        required_if=[("state", "present", ["declaration"])],
        supports_check_mode=True,
        # The declaration holds whole files: it has no place in the host's log.
        no_log=True,
    )
    os.umask(0o022)
    layout = Layout(**module.params["layout"])
    engine = Engine(layout, Systemd(layout), fetch, module.check_mode, module.tmpdir)
    name = module.params["name"]
    try:
        if module.params["state"] == "absent":
            outcome = engine.remove(name, tuple(module.params["data"]), module.params["purge_data"])
        elif module.params["state"] == "rolled_back":
            outcome = engine.rollback(name)
        else:
            want = Declaration.from_dict(module.params["declaration"], module.params["secrets"])
            outcome = engine.converge(want, module.params["archive"], module.params["pull"])
    except ComponentError as error:
        module.fail_json(msg=str(error))
    result = {
        "changed": outcome.changed,
        "component": {
            "name": name,
            "version": outcome.version,
            "state": outcome.state,
            "actions": outcome.actions,
            "previous_version": outcome.previous_version,
        },
    }
    if outcome.needs_archive:
        result["needs_archive"] = architecture()
    if module._diff:
        result["diff"] = outcome.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
