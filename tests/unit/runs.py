"""Runs site.yml in a real ansible-playbook. What would go to a host is written down instead of being carried out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

# Takes the place of library/component.py and library/targets.py. Its own path tells for which host it runs.
STAND_IN = r"""#!/usr/bin/python
# WANT_JSON
import hashlib, json, os, sys

with open(sys.argv[1]) as handle:
    arguments = json.load(handle)
module = os.path.basename(sys.argv[0]).replace("AnsiballZ_", "").replace(".py", "")
host = os.path.relpath(sys.argv[0], os.environ["WATCHKEEPER_TEST_HOSTS"]).split(os.sep)[0]
archive = arguments.get("archive") or ""
if archive:
    with open(archive, "rb") as handle:
        archive = hashlib.sha256(handle.read()).hexdigest()
line = {"module": module, "host": host, "arguments": arguments, "archive": archive}
with open(os.environ["WATCHKEEPER_TEST_SENT"], "a") as handle:
    handle.write(json.dumps(line) + "\n")
answer = {"changed": False, "invocation": {"module_args": arguments}}
if module == "component":
    version = arguments.get("declaration", {}).get("manifest", {}).get("version", "")
    if arguments.get("pull") is False and not archive:
        answer["needs_archive"] = "amd64"
    answer["component"] = {"name": arguments["name"], "version": version, "state": "ready", "actions": []}
if module == "sentry_project":
    names = [item["name"] for item in arguments["projects"]]
    answer["projects"] = {name: {"dsn": f"https://made@errors.example.com/{names.index(name) + 1}"} for name in names}
print(json.dumps(answer))
"""

RECORDER = '''"""Writes every result down."""

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: recorder
type: notification
short_description: Writes every result down
description: For tests.
"""


class CallbackModule(CallbackBase):
    """Writes every result down."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "recorder"

    def _note(self, what, result):
        line = {
            "what": what,
            "host": result.host.get_name(),
            "task": result.task.get_name(),
            "action": result.task.action,
            "result": self._dump_results(result.result),
        }
        with open(os.environ["WATCHKEEPER_TEST_RESULTS"], "a") as handle:
            handle.write(json.dumps(line) + "\\n")

    def v2_runner_on_ok(self, result):
        self._note("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note("failed", result)

    def v2_playbook_on_play_start(self, play):
        with open(os.environ["WATCHKEEPER_TEST_RESULTS"], "a") as handle:
            handle.write(json.dumps({"what": "play", "host": "", "action": play.get_name(), "result": "{}"}) + "\\n")
'''


@dataclass(frozen=True)
class Sent:
    """One execution on a host: which module, its arguments, and the SHA-256 of the archive that came along."""

    module: str
    host: str
    arguments: dict[str, Any]
    archive: str = ""

    def file(self, path: str) -> str:
        """Return the content of a file of the declaration."""
        found: dict[str, str] = {item["path"]: item["content"] for item in self.arguments["declaration"]["files"]}
        return found[path]

    def data(self, path: str) -> Any:
        """Return what a YAML or JSON file of the declaration says."""
        return yaml.safe_load(self.file(path))

    def command(self) -> list[str]:
        """Return the command line of the unit, without quotes."""
        line = re.search(r"^ExecStart=(.*)$", self.arguments["declaration"]["unit"], re.MULTILINE)
        assert line
        return [word.strip('"') for word in line[1].split()]


@dataclass(frozen=True)
class Run:
    """What a run did and said."""

    code: int
    output: str
    sent: list[Sent]
    results: list[dict[str, Any]]

    @property
    def plays(self) -> list[str]:
        """Return the plays that started."""
        return [item["action"] for item in self.results if item["what"] == "play"]

    @property
    def errors(self) -> dict[str, str]:
        """Return the message of each host that failed."""
        return {item["host"]: str(item["result"].get("msg")) for item in self.results if item["what"] == "failed"}

    def of(self, action: str, host: str) -> dict[str, Any]:
        """Return the result of an action on a host."""
        found: list[dict[str, Any]] = [
            item["result"] for item in self.results if item["action"] == action and item["host"] == host
        ]
        assert found, self.output
        return found[-1]

    def component(self, name: str, host: str) -> Sent:
        """Return what a host was sent for a component; there is exactly one execution for it."""
        found = [item for item in self.sent if item.host == host and item.arguments.get("name") == name]
        assert len(found) == 1, f"{len(found)} executions of {name} on {host}\n{self.output}"
        return found[0]

    def stopped_before_any_change(self) -> bool:
        """Tell whether the run failed in its first play, and nothing reached a host."""
        return self.code != 0 and self.plays == ["Check the inventory"] and self.sent == []


def inventory(
    monitoring: Mapping[str, Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
    groups: Mapping[str, list[str]] | None = None,
    **shared: Any,
) -> dict[str, Any]:
    """Return an inventory: hosts with their variables, further groups, and variables of all hosts."""
    every: dict[str, Any] = {
        "hosts": {**monitoring, **(nodes or {})},
        "vars": shared,
        "children": {name: {"hosts": dict.fromkeys(hosts)} for name, hosts in (groups or {}).items()},
    }
    if monitoring:
        every["children"]["monitoring"] = {"hosts": dict.fromkeys(monitoring)}
    return {"all": every}


# Modules that would look at, or change, the machine that runs the tests.
STAND_INS = {
    "component",
    "targets",
    "nginx_stub_status",
    "postgres_account",
    "docker_metrics",
    "grafana_admin_password",
    "grafana_datasource",
    "sentry_project",
    "sentry_self_hosted",
}


def run_site(
    folder: Path,
    hosts: Path | Mapping[str, Any],
    *arguments: str,
    playbook: str | None = None,
    real: tuple[str, ...] = (),
    **environment: str,
) -> Run:
    """Run site.yml (or the text of another playbook) against an inventory, as a user would.

    `hosts` is an inventory as data or the path of one; `real` are modules that run instead of being written down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.yml").write_text(playbook or (ROOT / "site.yml").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("library", "callbacks", "hosts"):
        (folder / name).mkdir(exist_ok=True)
    # A playbook's own library goes before the one of ansible.cfg.
    for name in STAND_INS - set(real):
        (folder / "library" / f"{name}.py").write_text(STAND_IN, encoding="utf-8")
    (folder / "callbacks" / "recorder.py").write_text(RECORDER, encoding="utf-8")
    sent, results = folder / "sent", folder / "results"
    for path in (sent, results):
        path.write_text("", encoding="utf-8")
    if isinstance(hosts, Mapping):
        path = folder / "hosts.yml"
        path.write_text(yaml.safe_dump(hosts, sort_keys=False), encoding="utf-8")
        hosts = path
    own = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(folder / "hosts") + "/{{ inventory_hostname }}",
        "__app_observability_folder": str(folder / "observability"),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CI"))}
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            str(folder / "site.yml"),
            f"--inventory={hosts}",
            f"--extra-vars={json.dumps(own)}",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **clean,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT / 'plugins' / 'callback'}:{folder / 'callbacks'}",
            "ANSIBLE_HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NO_COLOR": "1",
            "WATCHKEEPER_TEST_HOSTS": str(folder / "hosts"),
            "WATCHKEEPER_TEST_SENT": str(sent),
            "WATCHKEEPER_TEST_RESULTS": str(results),
            **environment,
        },
    )
    noted = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    for item in noted:
        item["result"] = json.loads(item["result"])
    return Run(
        done.returncode,
        done.stdout + done.stderr,
        [Sent(**json.loads(line)) for line in sent.read_text(encoding="utf-8").splitlines()],
        noted,
    )
