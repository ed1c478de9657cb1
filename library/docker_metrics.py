#!/usr/bin/python
"""Have the Docker engine serve its own metrics, and never a configuration with which it does not start."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_metrics
short_description: Have the Docker engine serve its own metrics, or stop that
version_added: "0.2.0"
description:
  - Sets the one key C(metrics-addr) in the engine's C(daemon.json). Every other key stays, in its place.
  - C(dockerd --validate) judges the new file together with the command line of the running engine before the file is
    replaced. Engines older than 23 have no such check; then only a metrics address on the command line is looked for.
  - The engine reads the key when it starts, and at no other time. A restart stops its containers unless live-restore is
    on, so it is done on request only. If the engine does not come back healthy and with its metrics, the file is put
    back as it was, the engine is restarted once more, and the task fails with its words.
  - What was written, and what stood there before, is recorded on the host; O(state=absent) goes by that.
options:
  state:
    description: V(absent) takes back what an earlier run wrote. A key that was not written this way stays.
    type: str
    choices: [present, absent]
    default: present
  address:
    description: IP address on which the engine serves its metrics; an IPv6 address stands in brackets.
    type: str
    default: 0.0.0.0
  port:
    description: TCP port.
    type: int
    default: 9323
  restart_allowed:
    description: Whether the engine may be restarted when its metrics are not there (or are to go).
    type: bool
    default: false
  timeout:
    description: Seconds in which a restarted engine has to prove itself.
    type: int
    default: 60
  path:
    description: The engine's configuration file. What the running engine was started with wins.
    type: path
    default: /etc/docker/daemon.json
  record:
    description: Where to remember what was written.
    type: path
    default: /etc/watchkeeper/docker_engine.json
  socket:
    description: The engine's socket, through which it has to answer after a restart.
    type: path
    default: /run/docker.sock
  program:
    description: The engine's program, by name or path.
    type: str
    default: dockerd
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: Says what would change, on a host without Docker too.
    support: full
  diff_mode:
    description: Shows the one key; the others may hold passwords of proxies and log drivers.
    support: full
"""

EXAMPLES = r"""
- name: Have the engine serve its metrics from its next restart on
  docker_metrics:
    port: 9323

- name: Have the engine serve its metrics now, whatever that does to its containers
  docker_metrics:
    port: 9323
    restart_allowed: true
"""

RETURN = r"""
component:
  description: What the closing table shows.
  returned: always
  type: dict
  contains:
    name: {description: C(docker_engine)., type: str, returned: always}
    version: {description: Version of the running engine., type: str, returned: always}
    state: {description: C(ready) or C(absent)., type: str, returned: always}
    actions: {description: "What changed, in words.", type: list, elements: str, returned: always}
notes:
  description: What a person should know.
  returned: success
  type: list
  elements: str
"""

import ipaddress
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.declaration import Layout
from ansible.module_utils.watchkeeper.probe import http_get, port_taken
from ansible.module_utils.watchkeeper.systemd import ServiceError, Systemd

KEY = "metrics-addr"
FLAG = f"--{KEY}"
UNIT = "docker"
MEND = "The engine would not start with it; mend it first."
POLL_SECONDS = 0.2
VERSION = re.compile(r'^engine_daemon_engine_info\{.*\bversion="([^"]*)"', re.MULTILINE)


class RefusedError(Exception):
    """The engine cannot be brought to serve its metrics; the message is for the person who reads the run."""


@dataclass(frozen=True)
class Record:
    """What was written: the file, the address, and what the key said before (None: it was not there)."""

    path: str
    wrote: str
    before: Any


@dataclass(frozen=True)
class Content:
    """The configuration file: its text, None where there is no file, and what it says."""

    text: str | None
    data: dict[str, Any]

    def with_key(self, value: Any) -> Content:
        """Return it with another value of the key, or without the key; all else stays as it is."""
        data = {**self.data, KEY: value}
        if value is None:
            del data[KEY]
        indented = re.search(r"^([ \t]+)\S", self.text or "  {}", re.MULTILINE)
        return Content(json.dumps(data, indent=indented and indented[1], ensure_ascii=False) + "\n", data)


def read(path: str) -> Content:
    """Return what the configuration file says."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Content(None, {})
    except UnicodeDecodeError as error:
        raise RefusedError(f"{path} is not text in UTF-8: {error}. {MEND}") from error
    try:
        # An empty file is an empty configuration to the engine.
        data = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise RefusedError(f"{path} is not valid JSON: {error}. {MEND}") from error
    if not isinstance(data, dict):
        raise RefusedError(f"{path} holds no JSON object. {MEND}")
    return Content(text, data)


def listens(address: str, port: int) -> bool:
    """Tell whether somebody listens on exactly this address of this host."""
    wanted = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address.strip("[]"))
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _number, local, _remote, state = row.split()[:4]
            digits, _colon, listening = local.partition(":")
            if state != "0A" or int(listening, 16) != port:
                continue
            words = (bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8))
            found = ipaddress.ip_address(b"".join(words))
            # The engine listens on :: where it is told 0.0.0.0.
            if found == wanted or (found.is_unspecified and wanted.is_unspecified):
                return True
    return False


class Docker:
    """The engine of this host."""

    def __init__(self, module: AnsibleModule) -> None:
        given = module.params
        self.module = module
        self.address: str = given["address"]
        self.port: int = given["port"]
        self.timeout: int = given["timeout"]
        self.socket: str = given["socket"]
        self.place = Path(given["record"])
        self.runtime = Systemd(Layout())
        self.program: str = module.get_bin_path(given["program"], opt_dirs=["/usr/sbin", "/usr/local/sbin"]) or ""
        self.notes: list[str] = []

    @cached_property
    def pid(self) -> int:
        """Process of the running engine, 0 when it does not run."""
        return self.runtime.status(UNIT).pid

    @cached_property
    def words(self) -> list[str]:
        """The running engine's command line, without the program."""
        try:
            text = Path(f"/proc/{self.pid}/cmdline").read_text(encoding="utf-8") if self.pid else ""
        except OSError:
            text = ""
        return text.rstrip("\0").split("\0")[1:]

    @cached_property
    def path(self) -> str:
        """The configuration file."""
        return os.path.realpath(self.flag("--config-file") or self.module.params["path"])

    def flag(self, name: str) -> str:
        """Return the value of an option of the running engine's command line."""
        for word, following in zip(self.words, [*self.words[1:], ""]):
            if word == name:
                return following
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return ""

    @property
    def target(self) -> str:
        """The value of the key."""
        return f"{self.address}:{self.port}"

    def version(self) -> str:
        """Return the version of the engine that serves its metrics where it should, or nothing."""
        if not listens(self.address, self.port):
            return ""
        own = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
        try:
            status, body = http_get(f"http://{own.get(self.address, self.address)}:{self.port}/metrics")
        except OSError:
            return ""
        found = VERSION.search(body) if status == 200 else None
        return found[1] if found else ""

    # What is written.

    def write(self, path: Path, text: str | None) -> None:
        """Put a file in place at once, or remove it."""
        if text is None:
            path.unlink()
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        candidate = Path(self.module.tmpdir, path.name)
        candidate.write_text(text, encoding="utf-8")
        candidate.chmod(0o644)
        # Owner and permissions of a file that is there already stay.
        self.module.atomic_move(str(candidate), str(path))

    def recorded(self) -> Record | None:
        """Return what an earlier run wrote, if any."""
        try:
            return Record(**json.loads(self.place.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def remember(self, record: Record | None) -> None:
        """Record what is about to be written, or forget it."""
        if record is not None or self.place.exists():
            self.write(self.place, json.dumps(asdict(record)) + "\n" if record else None)

    # What is checked before.

    def check(self, new: Content) -> None:
        """Make sure that the engine would start with this file."""
        address = self.address.strip("[]")
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
                trial.bind((address, 0))
        except OSError as error:
            raise RefusedError(
                f"docker_engine_listen_address is {self.address}, on which nothing can listen on this host "
                f"({error.strerror}): the engine would not start"
            ) from error
        holder = port_taken(address, self.port)
        if holder and not (self.pid and holder.endswith(f"(process {self.pid})")):
            raise RefusedError(
                f"port {self.port} is taken by {holder}: the engine would not start; set docker_engine_port to another"
            )
        candidate = Path(self.module.tmpdir, "daemon.json")
        candidate.write_text(new.text or "", encoding="utf-8")
        command = [self.program, *self.words, "--validate", "--config-file", str(candidate)]
        code, output, errors = self.module.run_command(command)
        said = (errors or output).strip().replace(str(candidate), self.path)
        if not code:
            return
        if "unknown flag: --validate" not in said:
            raise RefusedError(f"the engine would not start with {KEY} in {self.path}:\n{said}")
        if self.flag(FLAG):
            raise RefusedError(
                f"the engine's command line says {FLAG} {self.flag(FLAG)}, and with {KEY} in {self.path} as well it "
                "would not start; take it out of the unit"
            )

    # What is proven after.

    def answers(self) -> bool:
        """Tell whether the engine answers at its socket, where it has one."""
        if not os.path.exists(self.socket):
            return True
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(self.socket)
                connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return connection.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    def restart(self, metrics: bool) -> None:
        """Restart the engine; raise RefusedError with its words unless it comes back, with its metrics if so wished."""
        start = time.time()
        try:
            self.runtime.restart(UNIT)
            deadline = time.monotonic() + self.timeout
            while time.monotonic() < deadline:
                status = self.runtime.status(UNIT)
                if status.failed:
                    raise ServiceError(f"it stopped after its start ({status.words})")
                if status.active and self.answers() and (not metrics or self.version()):
                    return
                time.sleep(POLL_SECONDS)
            missing = f"serve its metrics on {self.target}" if status.active and self.answers() else "answer"
            raise ServiceError(f"it did not {missing} within {self.timeout} s")
        except ServiceError as error:
            raise RefusedError(f"{error}\n{self.runtime.logs(UNIT, start)}") from error

    def restart_or_return(self, old: Content, record: Record | None) -> None:
        """Restart the engine with its metrics; if that fails, put the old file back and restart it once more."""
        try:
            self.restart(metrics=True)
        except RefusedError as error:
            self.write(Path(self.path), old.text)
            self.remember(record)
            end = f"{self.path} is as it was, and the engine is back."
            try:
                self.restart(metrics=False)
            except RefusedError as again:
                end = f"{self.path} is as it was, but the engine does not come back: {again}"
            raise RefusedError(f"the engine was restarted for {KEY} {self.target}, but {error}\n{end}") from error


def present(docker: Docker, answer: dict[str, Any]) -> None:
    """Write the key, and see the metrics served."""
    component, check = answer["component"], docker.module.check_mode
    old = read(docker.path)
    said = old.data.get(KEY)
    new = old if docker.target in (docker.flag(FLAG), said) else old.with_key(docker.target)
    if not docker.program and not check:
        raise RefusedError("this host has no Docker engine (no program dockerd): one is set up here, not installed")
    component["version"], record = docker.version(), docker.recorded()
    if docker.program and not (new is old and component["version"]):
        docker.check(new)
    if new is not old:
        component["actions"].append(f"{KEY} {docker.target} in {docker.path}")
        answer.update(changed=True, diff=_diff(docker.path, said, docker.target))
        if not check:
            # What stood there before the first run of ours, whatever we have written since.
            first = record.before if record and record.wrote == said else said
            docker.remember(Record(docker.path, docker.target, first))
            docker.write(Path(docker.path), new.text)
    if component["version"]:
        return
    if check and not docker.program:
        docker.notes.append("this host has no Docker engine yet: nothing could be checked, and a run would fail")
    elif docker.module.params["restart_allowed"]:
        component["actions"].append("restart")
        answer["changed"] = True
        if not check:
            if new is old:
                # An earlier run has written the file.
                old, record = old.with_key(record.before if record else None), None
            docker.restart_or_return(old, record)
            component["version"] = docker.version()
    else:
        later = (
            f"the engine takes {KEY} from {docker.path} when it is started the next time. A restart stops its "
            "containers unless live-restore is on: set docker_engine_restart_allowed to true, or do it yourself "
            "(systemctl restart docker)"
        )
        if not check:
            raise RefusedError(
                f"{docker.path} says {KEY} {docker.target} now, but the engine does not serve its metrics there yet: "
                f"{later}, and run this again"
            )
        docker.notes.append(later)


def absent(docker: Docker, answer: dict[str, Any]) -> None:
    """Take back what an earlier run wrote, if it is still there."""
    record, actions = docker.recorded(), answer["component"]["actions"]
    if record is None:
        return
    check = docker.module.check_mode
    docker.path = record.path
    docker.address, _colon, port = record.wrote.rpartition(":")
    docker.port = int(port)
    old = read(record.path)
    ours = old.data.get(KEY) == record.wrote
    answer["changed"] = True
    if ours:
        actions.append(f"{KEY} {record.before or 'removed'} in {record.path}")
        answer["diff"] = _diff(record.path, record.wrote, record.before)
        new = old.with_key(record.before)
        if not check:
            docker.write(Path(record.path), new.text if new.data else None)
    if not check:
        docker.remember(None)
    if not ours or not docker.version():
        return
    if not docker.module.params["restart_allowed"]:
        docker.notes.append(f"the Docker engine serves its metrics on {record.wrote} until it is restarted")
        return
    actions.append("restart")
    if check:
        return
    try:
        docker.restart(metrics=False)
    except RefusedError as error:
        raise RefusedError(f"the engine was restarted without its metrics, but {error}") from error


def _diff(path: str, before: Any, after: Any) -> dict[str, str]:
    texts = ["" if value is None else f"{json.dumps(KEY)}: {json.dumps(value)}\n" for value in (before, after)]
    header = f"{path} (this key only)"
    return {"before": texts[0], "after": texts[1], "before_header": header, "after_header": header}


def main() -> None:
    """Do it, or say why not."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "address": {"type": "str", "default": "0.0.0.0"},  # noqa: S104 - the monitoring host comes from elsewhere
            "port": {"type": "int", "default": 9323},
            "restart_allowed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "record": {"type": "path", "default": "/etc/watchkeeper/docker_engine.json"},
            "socket": {"type": "path", "default": "/run/docker.sock"},
            "program": {"type": "str", "default": "dockerd"},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    module.run_command_environ_update = {"LC_ALL": "C"}
    state = "ready" if module.params["state"] == "present" else "absent"
    component = {"name": "docker_engine", "version": "", "state": state, "actions": []}
    answer: dict[str, Any] = {"changed": False, "component": component}
    try:
        docker = Docker(module)
        (present if state == "ready" else absent)(docker, answer)
    except (RefusedError, ServiceError, OSError) as error:
        module.fail_json(msg=str(error), **answer)
    module.exit_json(**answer, notes=docker.notes)


if __name__ == "__main__":
    main()
