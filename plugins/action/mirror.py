"""Fill or list a mirror of the release files that the inventory's hosts use; all of it on the controller."""

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
from ansible.module_utils.watchkeeper.mirroring import fill, plan, versions_in_use
from ansible.module_utils.watchkeeper.release import ReleaseError, without_login
from ansible.module_utils.watchkeeper.settings import read_settings
from ansible.module_utils.watchkeeper.wheels import choose, locks_of, publish

ARGUMENTS = {
    "folder": {"type": "path", "required": True},
    "components": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "listed"], "default": "present"},
}


class ActionModule(ActionBase):
    """`components` narrows the catalogue; `state: listed` fetches no file. The settings are those of this host.

    The Python applications share one package index: narrowed to one of them, the mirror has the packages of all.
    """

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `files` (url, sha256, path below the folder), `notes`, and what `changed`."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        settings = read_settings(ROOT, variables, self._templar.template)
        project = Project.load(ROOT)
        hosts = {name: variables["hostvars"][name] for name in variables["groups"]["all"]}
        opener = functools.partial(open_url, http_agent="watchkeeper", follow_redirects="all")
        timeout = int(settings["watchkeeper_download_timeout"])
        folder = Path(args["folder"])
        wheels = None
        try:
            used = versions_in_use(project, hosts, variables["groups"], settings["watchkeeper_groups"])
            wanted = {project.entry(name).name: used[name] for name in args["components"] or used}
            archives, notes = plan(project, wanted, settings)
            versions = [str(version) for version in settings["watchkeeper_mirror_python_versions"]]
            application = next((name for name in wanted if project.entry(name).kind == "python"), "")
            if application and versions:
                index = project.artefact(application, "", settings).index
                wheels = choose(folder, locks_of(project), index, versions, timeout, opener)
                archives, notes = [*archives, *wheels.archives(index)], [*notes, *wheels.notes]
            changed: list[str] = []
            if args["state"] == "present":
                changed = fill(archives, folder, timeout, opener, self._task.check_mode)
                changed += publish(wheels, folder, self._task.check_mode) if wheels else []
        except (CatalogueError, ReleaseError) as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename or args['folder']}: {error.strerror}") from error
        files = [{"url": without_login(item.url), "sha256": item.sha256, "path": item.path} for item in archives]
        result: dict[str, Any] = {"changed": bool(changed), "files": files, "notes": notes}
        if changed:
            result["msg"] = ", ".join(changed)
        return result
