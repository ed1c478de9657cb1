"""Take the checksums that upstream publishes into the lock file; all of it on the controller."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper.catalogue import CatalogueError, Project
from ansible.module_utils.watchkeeper.locking import LockError, refresh, write
from ansible.module_utils.watchkeeper.release import ReleaseError
from ansible.module_utils.watchkeeper.settings import read_settings

ARGUMENTS = {
    "component": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Pin `version` of `component`; without them, the catalogue's version of every component."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was pinned; a value that contradicts the lock file fails the task and changes nothing."""
        super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        # Plain strings: what Ansible hands over carries marks that have no place in a lock file.
        name, version = str(args["component"]), str(args["version"])
        if version and not name:
            raise AnsibleActionFail("a version needs the component that it belongs to")
        settings = read_settings(ROOT, task_vars or {}, self._templar.template)
        other = settings["watchkeeper_lock_file"]
        file = Path(other).expanduser() if other else ROOT / "files" / "lock.yml"
        project = Project.load(ROOT)
        archives = [entry.name for entry in project.components.values() if entry.released]
        opener = functools.partial(open_url, http_agent="watchkeeper", follow_redirects="all")
        try:
            wanted = [(name, version)] if name else [(known, "") for known in archives]
            before, after, told = refresh(project, file, wanted, opener)
            if told and not self._task.check_mode:
                write(file, after)
        except (CatalogueError, LockError, ReleaseError) as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename or file}: {error.strerror}") from error
        result: dict[str, Any] = {"changed": bool(told)}
        if told:
            result["msg"] = ", ".join(told)
            headers = {"before_header": str(file), "after_header": str(file)}
            result["diff"] = [{"before": before, "after": after, **headers}]
        return result
